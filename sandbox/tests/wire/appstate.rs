//! App state between a phone and its companions, with real keys.

use roost_sandbox::server::SandboxConfig;
use roost_sandbox::signal::media::{self, MediaKind};
use roost_sandbox::signal::proto::{
    AppStateSyncKeyId, AppStateSyncKeyRequest, ExternalBlobReference, Message, ProtoMessage, ProtocolMessage,
    ProtocolType, SyncActionValue, SyncdMutations, SyncdOperation, SyncdPatch, SyncdPatchVersion,
    SyncdSnapshot,
};
use roost_sandbox::signal::syncd::{Change, Replica};
use roost_sandbox::wire::node::Node;
use serde_json::{Value, json};

use crate::client::{Companion, Wire};
use crate::media::Host;
use crate::stage::{Stage, eventually};

const ADA: &str = "15550000001";
const ADA_JID: &str = "15550000001@s.whatsapp.net";
const BOB: &str = "15550000002";
const BOB_JID: &str = "15550000002@s.whatsapp.net";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    stage
}

/// Asks for a collection from `version` on, or adds a patch to it.
pub async fn sync(wire: &mut Wire, name: &str, version: u64, patch: Option<Vec<u8>>) -> Node {
    let collection = Node::new("collection")
        .attr("name", name.to_owned())
        .attr("version", version.to_string())
        .child_opt(patch.map(|patch| Node::new("patch").bytes(patch)));
    let answer = wire
        .query("set", "w:sync:app:state", Node::new("sync").child(collection))
        .await;
    answer.find("sync").unwrap().find("collection").unwrap().clone()
}

/// Brings a replica up to date, in as many answers as it takes.
async fn pull(wire: &mut Wire, companion: &Companion, name: &str, replica: &mut Replica) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        let answer = sync(wire, name, replica.version(), None).await;
        for patch in answer.find("patches").map(Node::children).unwrap_or_default() {
            let patch = SyncdPatch::decode(patch.data().unwrap()).unwrap();
            changes.extend(replica.apply(name, &patch, &companion.keyring).unwrap());
        }
        if !answer.is("has_more_patches", "true") {
            return changes;
        }
    }
}

/// Writes a change as a companion does.
async fn push(wire: &mut Wire, companion: &Companion, name: &str, replica: &mut Replica, change: Change) {
    let patch = replica.compose(name, &[change], &companion.keyring).unwrap();
    let answer = sync(wire, name, replica.version(), Some(patch.clone())).await;
    assert_eq!(answer.get("type"), None, "{answer:?}");
    let stamped = SyncdPatchVersion::stamp(patch, replica.version() + 1);
    let stamped = SyncdPatch::decode(stamped.as_slice()).unwrap();
    replica.apply(name, &stamped, &companion.keyring).unwrap();
}

async fn act(stage: &Stage, action: Value) {
    let (status, body) = stage.post(&format!("/accounts/{ADA}/app-state"), action).await;
    assert_eq!(status, 204, "{body}");
}

/// What the phone of Ada sees of a collection.
async fn seen(stage: &Stage, name: &str) -> Value {
    let (status, body) = stage.get(&format!("/accounts/{ADA}/app-state")).await;
    assert_eq!(status, 200);
    let collections = body["data"].as_array().unwrap().iter();
    let mut named = collections.filter(|collection| collection["name"] == name);
    named.next().cloned().unwrap_or(Value::Null)
}

fn pin(chat: &str, pinned: bool) -> Change {
    use roost_sandbox::signal::proto::FlagAction;
    Change {
        operation: SyncdOperation::Set,
        index: vec!["pin_v1".into(), chat.into()],
        value: SyncActionValue {
            timestamp: Some(1_700_000_000_000),
            pin_action: Some(FlagAction { flag: Some(pinned) }),
            ..SyncActionValue::default()
        },
        version: 5,
    }
}

#[tokio::test]
async fn what_the_phone_writes_every_companion_reads() {
    let stage = stage().await;
    let mut first = Companion::paired(&stage, ADA).await;
    let mut second = Companion::paired(&stage, ADA).await;
    let mut at_first = first.open(&stage).await;
    let mut at_second = second.open(&stage).await;
    let actions = [
        json!({"action": "archive", "chat": BOB, "archived": true}),
        json!({"action": "mute", "chat": BOB, "muted": true, "until_ms": 1_800_000_000_000_i64}),
        json!({"action": "star", "chat": BOB, "whatsapp_id": "M1", "from_me": false, "starred": true}),
        json!({"action": "mark_read", "chat": BOB, "read": false}),
        json!({"action": "contact", "chat": BOB, "full_name": "Bob B.", "first_name": "Bob"}),
        json!({"action": "label_edit", "label_id": "1", "name": "Paid", "color": 3}),
        json!({"action": "label_chat", "label_id": "1", "chat": BOB, "labeled": true}),
        json!({"action": "clear_chat", "chat": BOB}),
        json!({"action": "delete_chat", "chat": BOB_JID, "delete_media": true}),
    ];
    for action in actions {
        act(&stage, action).await;
    }
    for (companion, wire) in [(&first, &mut at_first), (&second, &mut at_second)] {
        wire.expect(|node| {
            let collection = node.find("collection");
            node.is("type", "server_sync") && collection.unwrap().is("name", "regular_low")
        })
        .await;
        let mut read = Vec::new();
        for name in ["critical_unblock_low", "regular_low", "regular_high", "regular"] {
            read.extend(pull(wire, companion, name, &mut Replica::default()).await);
        }
        let mut indexes: Vec<_> = read.iter().map(|change| change.index.join(" ")).collect();
        indexes.sort();
        let mut expected = [
            format!("archive {BOB_JID}"),
            format!("clearChat {BOB_JID} 0 0"),
            format!("contact {BOB_JID}"),
            format!("deleteChat {BOB_JID} 1"),
            "label_edit 1".to_owned(),
            format!("label_jid 1 {BOB_JID}"),
            format!("markChatAsRead {BOB_JID}"),
            format!("mute {BOB_JID}"),
            format!("star {BOB_JID} M1 0 0"),
        ];
        expected.sort();
        assert_eq!(indexes, expected);
        let mute = read.iter().find_map(|change| change.value.mute_action.clone());
        assert_eq!(mute.unwrap().mute_end_timestamp, Some(1_800_000_000_000));
    }
    // A contact is removed again.
    act(&stage, json!({"action": "remove_contact", "chat": BOB})).await;
    let mut contacts = Replica::default();
    pull(&mut at_first, &first, "critical_unblock_low", &mut contacts).await;
    assert_eq!((contacts.version(), contacts.entries().count()), (2, 0));
}

#[tokio::test]
async fn what_a_companion_writes_the_phone_decrypts_and_the_others_read() {
    let stage = stage().await;
    let mut first = Companion::paired(&stage, ADA).await;
    let mut second = Companion::paired(&stage, ADA).await;
    let mut at_first = first.open(&stage).await;
    let mut at_second = second.open(&stage).await;
    let mut replica = Replica::default();
    push(
        &mut at_first,
        &first,
        "regular_low",
        &mut replica,
        pin(BOB_JID, true),
    )
    .await;
    let entry = &seen(&stage, "regular_low").await["entries"][0];
    assert_eq!(
        (&entry["action"], &entry["chat"], &entry["pinned"]),
        (&json!("pin"), &json!(BOB_JID), &json!(true))
    );
    at_second.expect(|node| node.is("type", "server_sync")).await;
    let mut theirs = Replica::default();
    let read = pull(&mut at_second, &second, "regular_low", &mut theirs).await;
    assert_eq!(read, [pin(BOB_JID, true)]);

    // Both write at once: the later one is told what it lacks, and tries again.
    act(
        &stage,
        json!({"action": "archive", "chat": BOB, "archived": true}),
    )
    .await;
    let patch = theirs
        .compose("regular_low", &[pin(BOB_JID, false)], &second.keyring)
        .unwrap();
    let conflict = sync(&mut at_second, "regular_low", 1, Some(patch)).await;
    assert!(conflict.find("error").unwrap().is("code", "409"));
    for patch in conflict.find("patches").unwrap().children() {
        let patch = SyncdPatch::decode(patch.data().unwrap()).unwrap();
        theirs.apply("regular_low", &patch, &second.keyring).unwrap();
    }
    push(
        &mut at_second,
        &second,
        "regular_low",
        &mut theirs,
        pin(BOB_JID, false),
    )
    .await;
    let collection = seen(&stage, "regular_low").await;
    assert_eq!(
        (&collection["version"], &collection["fault"]),
        (&json!(3), &Value::Null)
    );
    assert_eq!(collection["entries"][1]["pinned"], json!(false));
}

#[tokio::test]
async fn a_name_set_by_either_side_is_what_others_see() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    // The phone has written the name before the companion came.
    let mut names = Replica::default();
    let read = pull(&mut at_ada, &ada, "critical_block", &mut names).await;
    let name = |change: &Change| change.value.push_name_setting.clone().unwrap().name.unwrap();
    assert_eq!(name(&read[0]), "Test");
    act(&stage, json!({"action": "push_name", "name": "Ada L."})).await;
    at_ada.expect(|node| node.is("type", "server_sync")).await;
    let read = pull(&mut at_ada, &ada, "critical_block", &mut names).await;
    assert_eq!(name(&read[0]), "Ada L.");

    let mut renamed = read[0].clone();
    renamed.value.push_name_setting.as_mut().unwrap().name = Some("Countess".to_owned());
    push(&mut at_ada, &ada, "critical_block", &mut names, renamed).await;
    assert_eq!(stage.get(&format!("/accounts/{ADA}")).await.1["name"], "Countess");
    stage.phone_sends(ADA, BOB, "hi").await;
    let message = at_bob
        .expect(|node| node.tag == "message" && !node.is("category", "peer"))
        .await;
    assert_eq!(message.get("notify"), Some("Countess"));
}

#[tokio::test]
async fn a_patch_with_a_wrong_mac_is_shown_as_a_fault_and_stops_its_collection() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let replica = Replica::default();
    let patch = replica
        .compose("regular_low", &[pin(BOB_JID, true)], &ada.keyring)
        .unwrap();
    let mut forged = SyncdPatch::decode(patch.as_slice()).unwrap();
    forged.patch_mac = Some(vec![0; 32]);
    let answer = sync(&mut wire, "regular_low", 0, Some(forged.encode_to_vec())).await;
    assert_eq!(answer.get("version"), Some("1"), "the server cannot tell");
    let collection = seen(&stage, "regular_low").await;
    assert_eq!(
        collection["fault"],
        json!({"version": 1, "detail": "the patch's MAC is wrong"})
    );
    let path = format!("/accounts/{ADA}/app-state");
    let (status, problem) = stage
        .post(&path, json!({"action": "pin", "chat": BOB, "pinned": true}))
        .await;
    assert_eq!((status, &problem["code"]), (409, &json!("collection_broken")));
    // Other collections go on.
    act(&stage, json!({"action": "mute", "chat": BOB, "muted": true})).await;
    assert_eq!(seen(&stage, "regular_high").await["version"], 1);
}

#[tokio::test]
async fn a_new_key_is_shared_and_any_key_is_shared_again_on_request() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    act(&stage, json!({"action": "pin", "chat": BOB, "pinned": true})).await;
    let (status, key) = stage
        .post(&format!("/accounts/{ADA}/app-state/key"), json!({}))
        .await;
    assert_eq!(status, 201);
    let shared = wire.expect(|node| node.is("category", "peer")).await;
    let content = ada.read(&shared);
    assert_eq!(ada.learn_keys(&content), 1);
    act(&stage, json!({"action": "pin", "chat": BOB, "pinned": false})).await;
    // Patches of the old key and of the new one make one collection: what was said under the old one
    // is taken out.
    let mut replica = Replica::default();
    assert_eq!(pull(&mut wire, &ada, "regular_low", &mut replica).await.len(), 3);
    assert_eq!(replica.entries().count(), 1);

    let id = key["key_id"].as_str().unwrap();
    let id = (0..6)
        .map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap())
        .collect::<Vec<_>>();
    let request = AppStateSyncKeyRequest {
        key_ids: vec![AppStateSyncKeyId { key_id: Some(id) }],
    };
    let request = Message::of_protocol(ProtocolMessage {
        r#type: Some(ProtocolType::AppStateSyncKeyRequest.into()),
        app_state_sync_key_request: Some(request),
        ..ProtocolMessage::default()
    });
    let request = ada
        .sealed(&mut wire, ADA_JID, &[ADA_JID], "K1", &request)
        .await
        .attr("category", "peer");
    wire.send(&request).await;
    let shared = wire
        .expect(|node| node.is("category", "peer") && node.get("id") != shared.get("id"))
        .await;
    let content = ada.read(&shared);
    assert_eq!(ada.learn_keys(&content), 1);
}

#[tokio::test]
async fn many_patches_come_in_several_answers() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    for turn in 0..230 {
        act(
            &stage,
            json!({"action": "pin", "chat": BOB, "pinned": turn % 2 == 0}),
        )
        .await;
    }
    let first = sync(&mut wire, "regular_low", 0, None).await;
    assert!(first.is("has_more_patches", "true"));
    assert_eq!(first.get("version"), Some("100"));
    let mut replica = Replica::default();
    assert_eq!(
        pull(&mut wire, &ada, "regular_low", &mut replica).await.len(),
        230
    );
    assert_eq!((replica.version(), replica.entries().count()), (230, 1));
}

#[tokio::test]
async fn wrong_actions_are_refused_with_their_place() {
    let stage = stage().await;
    let path = format!("/accounts/{ADA}/app-state");
    for (action, pointer) in [
        (
            json!({"action": "pin", "chat": "x@nowhere", "pinned": true}),
            "/chat",
        ),
        (json!({"action": "pin", "chat": "12", "pinned": true}), "/chat"),
        (json!({"action": "push_name", "name": ""}), "/name"),
        (
            json!({"action": "label_edit", "label_id": "", "name": "x"}),
            "/label_id",
        ),
        (json!({"action": "fly", "chat": BOB}), "/action"),
        (json!({"action": "other"}), "/action"),
    ] {
        let (status, problem) = stage.post(&path, action.clone()).await;
        assert_eq!(status, 422, "{action} {problem}");
        assert_eq!(
            problem["errors"][0]["pointer"].as_str().unwrap_or(""),
            pointer,
            "{action}"
        );
    }
}

#[tokio::test]
async fn app_state_and_its_keys_survive_a_kill() {
    let mut stage = Stage::process();
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let mut replica = Replica::default();
    push(&mut wire, &ada, "regular_low", &mut replica, pin(BOB_JID, true)).await;
    stage
        .post(&format!("/accounts/{ADA}/app-state/key"), json!({}))
        .await;
    let shared = wire.expect(|node| node.is("category", "peer")).await;
    let content = ada.read(&shared);
    ada.learn_keys(&content);
    act(
        &stage,
        json!({"action": "archive", "chat": BOB, "archived": true}),
    )
    .await;
    let before = seen(&stage, "regular_low").await;
    stage.kill();
    stage.restart();
    assert_eq!(seen(&stage, "regular_low").await, before);
    act(&stage, json!({"action": "pin", "chat": BOB, "pinned": false})).await;
    let mut wire = ada.connect(&stage).await;
    let read = pull(&mut wire, &ada, "regular_low", &mut replica).await;
    assert_eq!((read.len(), replica.entries().count()), (3, 2));
    eventually(|| async { (seen(&stage, "regular_low").await["version"] == 3).then_some(()) }).await;
}

/// Asks for all of a collection, as a snapshot if there is one.
async fn sync_all(wire: &mut Wire, name: &str) -> Node {
    let collection = Node::new("collection")
        .attr("name", name.to_owned())
        .attr("return_snapshot", "true");
    let answer = wire
        .query("set", "w:sync:app:state", Node::new("sync").child(collection))
        .await;
    answer.find("sync").unwrap().find("collection").unwrap().clone()
}

#[tokio::test]
async fn a_companion_that_has_nothing_of_a_long_collection_gets_a_snapshot() {
    let config = SandboxConfig {
        app_state_snapshot_min: 4,
        ..SandboxConfig::default()
    };
    let stage = Stage::with(config).await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let archive = |archived: bool| json!({"action": "archive", "chat": BOB, "archived": archived});
    for archived in [true, false, true] {
        act(&stage, archive(archived)).await;
    }
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let answer = sync_all(&mut wire, "regular_low").await;
    assert_eq!(answer.find("snapshot"), None, "three patches are not many");
    act(&stage, json!({"action": "pin", "chat": BOB, "pinned": true})).await;

    let answer = sync_all(&mut wire, "regular_low").await;
    assert_eq!((answer.get("version"), answer.find("patches")), (Some("4"), None));
    let reference = answer.find("snapshot").unwrap().data().unwrap().to_vec();
    let reference = ExternalBlobReference::decode(reference.as_slice()).unwrap();
    let host = Host::of(&stage, &mut wire).await;
    let blob = host.get(reference.direct_path()).await.bytes().await.unwrap();
    let media_key = reference.media_key().try_into().unwrap();
    let snapshot = media::open(MediaKind::AppState, &media_key, &blob).unwrap();
    let snapshot = SyncdSnapshot::decode(snapshot.as_slice()).unwrap();
    let mut replica = Replica::restore("regular_low", &snapshot, &ada.keyring).unwrap();
    assert_eq!((replica.version(), replica.entries().count()), (4, 2));

    act(&stage, archive(false)).await;
    let answer = sync_all(&mut wire, "regular_low").await;
    let same = answer.find("snapshot").unwrap().data().unwrap();
    assert_eq!(ExternalBlobReference::decode(same).unwrap(), reference);
    assert_eq!(answer.find("patches").unwrap().children().len(), 1);
    pull(&mut wire, &ada, "regular_low", &mut replica).await;
    assert_eq!(replica.version(), 5);
}

#[tokio::test]
async fn the_phone_reads_a_patch_whose_changes_are_in_an_external_blob() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    let patch = Replica::default()
        .compose("regular_low", &[pin(BOB_JID, true)], &ada.keyring)
        .unwrap();
    let mut patch = SyncdPatch::decode(patch.as_slice()).unwrap();
    let mutations = SyncdMutations {
        mutations: std::mem::take(&mut patch.mutations),
    };
    let sealed = media::seal(MediaKind::AppState, &mutations.encode_to_vec());
    patch.external_mutations = Some(ExternalBlobReference {
        media_key: Some(sealed.media_key.to_vec()),
        direct_path: Some(host.uploaded("md-app-state", &sealed.blob).await),
        file_size_bytes: Some(sealed.file_bytes),
        file_sha256: Some(sealed.file_sha256.to_vec()),
        file_enc_sha256: Some(sealed.file_enc_sha256.to_vec()),
        ..ExternalBlobReference::default()
    });
    let answer = sync(&mut wire, "regular_low", 0, Some(patch.encode_to_vec())).await;
    assert_eq!(answer.get("type"), None, "{answer:?}");
    let seen = seen(&stage, "regular_low").await;
    assert_eq!(
        (&seen["fault"], seen["entries"].as_array().unwrap().len()),
        (&Value::Null, 1)
    );
    assert_eq!(seen["entries"][0]["action"], "pin");
}
