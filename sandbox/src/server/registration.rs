//! A connection that is not paired yet: it shows references to scan, or asks for a link by code,
//! until the phone of an account accepts it.
//!
//! Nothing here survives a restart: an unpaired client simply registers again.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use tokio::sync::oneshot;

use super::account::Account;
use super::device::{About, Device, DeviceRow};
use super::link::{Link, stream_error};
use super::service::Service;
use super::stanza::error::StanzaError;
use super::stanza::{self, iq_error, iq_result};
use super::sync::{lock, now_s};
use crate::signal::keys::{typed, xeddsa_verify};
use crate::signal::link_code::{LinkCode, LinkCodeError, PrimaryLink, WRAPPED_KEY_BYTES};
use crate::signal::pairing::PairingQr;
use crate::signal::proto::{AdvSignedDeviceIdentity, ProtoMessage};
use crate::signal::{SignedPrekey, adv};
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::Node;
use crate::wire::proto::{DevicePairingData, DeviceProps};

/// Clients show the first reference for a minute and each later one for 20 seconds.
const REFERENCES: usize = 6;
/// Of what a client says of itself.
const ABOUT_CHARS_MAX: usize = 100;

/// Why a companion was not linked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PairingError {
    #[error("no unpaired client shows this code; it may have expired")]
    UnknownCode,
    #[error("the keys in the code are not those of the client that shows it")]
    KeyMismatch,
    #[error("the client is being linked already")]
    Busy,
    #[error("the account has its limit of companions")]
    TooManyCompanions,
    #[error("no client has asked to link this number with a code")]
    NoCodeRequested,
    #[error("the code is not the one the client shows")]
    WrongCode,
    #[error("the client sent a malformed key: {0}")]
    BadKey(String),
    #[error("the client went away before it was linked")]
    Gone,
    #[error("the client did not finish in time")]
    TimedOut,
    #[error("the client rejected the link")]
    Rejected,
}

/// The number of the new companion, once it is linked.
pub(super) type Linked = oneshot::Receiver<Result<u16, PairingError>>;

/// The keys a client registers with.
#[derive(Debug)]
pub(super) struct Candidate {
    registration_id: u32,
    identity: [u8; 32],
    signed_prekey: SignedPrekey,
    props: DeviceProps,
}

impl Candidate {
    /// Reads and checks registration data; the error names the field.
    pub(super) fn read(data: DevicePairingData) -> Result<Self, &'static str> {
        fn field<const N: usize>(
            bytes: Option<Vec<u8>>,
            name: &'static str,
        ) -> Result<[u8; N], &'static str> {
            bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(name)
        }
        let identity = field::<32>(data.e_ident, "eIdent")?;
        let [high, middle, low] = field::<3>(data.e_skey_id, "eSkeyId")?;
        let signed_prekey = SignedPrekey {
            id: u32::from_be_bytes([0, high, middle, low]),
            public: field(data.e_skey_val, "eSkeyVal")?,
            signature: field(data.e_skey_sig, "eSkeySig")?,
        };
        if !xeddsa_verify(&identity, &typed(&signed_prekey.public), &signed_prekey.signature) {
            return Err("eSkeySig");
        }
        let registration_id = u32::from_be_bytes(field(data.e_regid, "eRegid")?);
        Ok(Self {
            registration_id,
            identity,
            signed_prekey,
            // It is only shown; a client that says nothing, or nonsense, has no name.
            props: data.device_props.map_or_else(DeviceProps::default, |props| {
                DeviceProps::decode(props.as_slice()).unwrap_or_default()
            }),
        })
    }
}

impl Candidate {
    fn about(&self) -> About {
        let shown = |text: &str| {
            Some(text.chars().take(ABOUT_CHARS_MAX).collect()).filter(|text: &String| !text.is_empty())
        };
        About {
            platform: self.props.platform_name().map(str::to_owned),
            os: self.props.os.as_deref().and_then(shown),
            linked_at_s: now_s(),
        }
    }
}

pub(super) struct Registration {
    pub link: Arc<Link>,
    noise_key: [u8; 32],
    candidate: Candidate,
    references: Vec<String>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    code: Option<CodeRequest>,
    offer: Option<Offer>,
}

/// A link by code, from the client's request to its key bundle.
struct CodeRequest {
    account: Arc<Account>,
    reference: String,
    wrapped_ephemeral: [u8; WRAPPED_KEY_BYTES],
    primary: Option<(PrimaryLink, oneshot::Sender<Result<u16, PairingError>>)>,
}

/// A pair-success that waits for the companion's signature.
struct Offer {
    account: Arc<Account>,
    device: u16,
    identity: AdvSignedDeviceIdentity,
    query: String,
    done: oneshot::Sender<Result<u16, PairingError>>,
}

impl Registration {
    /// Starts the pairing of a client: it is sent references at once.
    pub(super) fn start(
        service: &Service,
        link: Arc<Link>,
        noise_key: [u8; 32],
        candidate: Candidate,
    ) -> Arc<Self> {
        let references: Vec<_> = (0..REFERENCES).map(|_| reference("2@")).collect();
        let shown = references
            .iter()
            .map(|text| Node::new("ref").bytes(text.clone()))
            .collect();
        let query = stanza::iq_from_server(service.stanza_id(), "set")
            .attr("xmlns", "md")
            .child(Node::new("pair-device").with_children(shown));
        link.send(&query);
        let registration = Arc::new(Self {
            link,
            noise_key,
            candidate,
            references,
            progress: Mutex::default(),
        });
        service.await_scan(&registration);
        registration
    }

    pub(super) fn references(&self) -> &[String] {
        &self.references
    }

    pub(super) fn handle(self: &Arc<Self>, service: &Service, node: &Node) {
        if node.tag != "iq" {
            // Clients send presences and the like before they are paired; nobody is there to read them.
            return;
        }
        let Some(id) = node.get("id") else { return };
        if let Some(signed) = node.find("pair-device-sign") {
            self.accept(service, id, signed.find("device-identity").and_then(Node::data));
        } else if node.is("type", "error") {
            self.fail_offer(id, PairingError::Rejected);
        } else if let Some(request) = node.find("link_code_companion_reg") {
            match request.get("stage") {
                Some("companion_hello") => self.link.send(&self.companion_hello(service, id, request)),
                Some("companion_finish") => self.companion_finish(service, id, request),
                _ => self.link.send(&iq_error(id, StanzaError::BadRequest)),
            }
        } else if matches!(node.get("type"), Some("get" | "set")) {
            self.link.send(&iq_result(id));
        }
    }

    /// Ends what waits for this client when its connection is gone.
    pub(super) fn end(&self, service: &Service) {
        service.end_waiting(self);
        let mut progress = lock(&self.progress);
        if let Some(offer) = progress.offer.take() {
            offer.account.withdraw_promise(offer.device);
        }
        progress.code = None;
    }

    /// The companion's answer to pair-success: now it is linked, and has to log in.
    fn accept(&self, service: &Service, id: &str, answer: Option<&[u8]>) {
        let Some(offer) = lock(&self.progress).offer.take_if(|offer| offer.query == id) else {
            self.link.send(&iq_error(id, StanzaError::BadRequest));
            return;
        };
        let proof = adv::accept_companion(
            &offer.identity,
            answer.unwrap_or_default(),
            &self.candidate.identity,
        );
        let Ok(proof) = proof else {
            offer.account.withdraw_promise(offer.device);
            self.link.send(&iq_error(id, StanzaError::SignatureMismatch));
            let _ = offer.done.send(Err(PairingError::Rejected));
            return;
        };
        let row = DeviceRow {
            registration_id: self.candidate.registration_id,
            identity: self.candidate.identity,
            noise_key: self.noise_key,
            proof: proof.encode_to_vec(),
            signed_prekey: self.candidate.signed_prekey.clone(),
            prekeys_uploaded: false,
            bootstrapped: false,
            about: self.candidate.about(),
        };
        let shelf = offer.account.shelf(offer.device);
        let device = Device::new(offer.device, row, shelf, &service.config);
        offer.account.add_device(Arc::new(device));
        service.counters.pairings.one();
        stanza::announce_devices(service, &offer.account, "add", offer.device);
        self.link
            .end_with(&stream_error(Some(StanzaError::Restart), None));
        let _ = offer.done.send(Ok(offer.device));
    }

    fn fail_offer(&self, query: &str, error: PairingError) {
        let offer = lock(&self.progress).offer.take_if(|offer| offer.query == query);
        if let Some(offer) = offer {
            offer.account.withdraw_promise(offer.device);
            let _ = offer.done.send(Err(error));
        }
    }

    /// Sends pair-success, vouched for by the account's phone. `done` hears how it ended.
    fn offer(
        &self,
        service: &Service,
        account: &Arc<Account>,
        adv_secret: &[u8; 32],
        done: oneshot::Sender<Result<u16, PairingError>>,
    ) {
        let mut progress = lock(&self.progress);
        if progress.offer.is_some() {
            let _ = done.send(Err(PairingError::Busy));
            return;
        }
        let Ok(device) = account.promise_device_id(service.config.companions_per_account_max) else {
            let _ = done.send(Err(PairingError::TooManyCompanions));
            return;
        };
        let companion = adv::Companion {
            identity: &self.candidate.identity,
            raw_id: account.adv_raw_id(),
            timestamp: now_s(),
            key_index: device.into(),
        };
        let identity = adv::sign_companion(&account.key(), &companion);
        let sealed = adv::seal_for_companion(&identity, adv_secret);
        let query = service.stanza_id();
        let success = Node::new("pair-success")
            .child(Node::new("device-identity").bytes(sealed))
            .child(Node::new("biz").attr("name", ""))
            .child(Node::new("platform").attr("name", "android"))
            .child(
                Node::new("device")
                    .attr("jid", account.jid(device, Domain::Pn).to_string())
                    .attr("lid", account.jid(device, Domain::Lid).to_string()),
            );
        let node = stanza::iq_from_server(query.clone(), "set")
            .attr("xmlns", "md")
            .child(success);
        progress.offer = Some(Offer {
            account: account.clone(),
            device,
            identity,
            query,
            done,
        });
        self.link.send(&node);
    }

    /// A client shows a code and asks the phone of a number to link it.
    fn companion_hello(self: &Arc<Self>, service: &Service, id: &str, request: &Node) -> Node {
        let account = request
            .get("jid")
            .and_then(Jid::parse)
            .and_then(|jid| service.account(&jid));
        let Some(account) = account else {
            return iq_error(id, StanzaError::NotFound);
        };
        let wrapped = request.find("link_code_pairing_wrapped_companion_ephemeral_pub");
        let Some(wrapped_ephemeral) = wrapped.and_then(Node::data_array::<WRAPPED_KEY_BYTES>) else {
            return iq_error(id, StanzaError::BadRequest);
        };
        let reference = reference("3@");
        let pn = account.pn.clone();
        lock(&self.progress).code = Some(CodeRequest {
            account,
            reference: reference.clone(),
            wrapped_ephemeral,
            primary: None,
        });
        service.await_code(pn, self);
        iq_result(id).child(
            Node::new("link_code_companion_reg")
                .attr("stage", "companion_hello")
                .child(Node::new("link_code_pairing_ref").bytes(reference)),
        )
    }

    /// The companion's key bundle: proof that both sides know the code.
    fn companion_finish(&self, service: &Service, id: &str, request: &Node) {
        let code = lock(&self.progress).code.take_if(|code| {
            code.primary.is_some()
                && request.find("link_code_pairing_ref").and_then(Node::data)
                    == Some(code.reference.as_bytes())
        });
        let Some(CodeRequest {
            account,
            primary: Some((primary, done)),
            ..
        }) = code
        else {
            return self.link.send(&iq_error(id, StanzaError::NotFound));
        };
        let bundle = request
            .find("link_code_pairing_wrapped_key_bundle")
            .and_then(Node::data);
        let identity = request
            .find("companion_identity_public")
            .and_then(Node::data_array::<32>);
        let secret = match (bundle, identity) {
            (Some(bundle), Some(identity)) if identity == self.candidate.identity => primary
                .finish(&account.key(), &identity, bundle)
                .map_err(pairing_error),
            _ => Err(PairingError::KeyMismatch),
        };
        let secret = match secret {
            Ok(secret) => secret,
            Err(error) => {
                self.link.send(&iq_error(id, StanzaError::BadRequest));
                let _ = done.send(Err(error));
                return;
            }
        };
        // The query is answered before pair-success goes out.
        self.link.send(&iq_result(id));
        self.offer(service, &account, &secret, done);
    }
}

/// An opaque name for a pairing; it holds no comma, which would split the QR text.
fn reference(prefix: &str) -> String {
    format!("{prefix}{}", STANDARD.encode(rand::random::<[u8; 30]>()))
}

fn pairing_error(error: LinkCodeError) -> PairingError {
    match error {
        LinkCodeError::WrongCode => PairingError::WrongCode,
        LinkCodeError::OtherCompanion | LinkCodeError::OtherPrimary => PairingError::KeyMismatch,
        other => PairingError::BadKey(other.to_string()),
    }
}

/// Scans the QR text of a client with the phone of `account`.
pub(super) fn scan(
    service: &Service,
    account: &Arc<Account>,
    code: &PairingQr,
) -> Result<Linked, PairingError> {
    let registration = service
        .waiting_for_scan(&code.reference)
        .ok_or(PairingError::UnknownCode)?;
    if registration.noise_key != code.noise_key || registration.candidate.identity != code.identity_key {
        return Err(PairingError::KeyMismatch);
    }
    let (done, linked) = oneshot::channel();
    registration.offer(service, account, &code.adv_secret, done);
    Ok(linked)
}

/// Types a link code into the phone of `account`. Stretches the code: tens of milliseconds of CPU.
pub(super) fn enter_code(
    service: &Service,
    account: &Arc<Account>,
    code: &LinkCode,
) -> Result<Linked, PairingError> {
    let registration = service
        .waiting_for_code(&account.pn)
        .ok_or(PairingError::NoCodeRequested)?;
    let wrapped = match &lock(&registration.progress).code {
        Some(request) if request.primary.is_none() => request.wrapped_ephemeral,
        Some(_) => return Err(PairingError::Busy),
        None => return Err(PairingError::NoCodeRequested),
    };
    let (primary, answer) = PrimaryLink::answer(code, &wrapped).map_err(pairing_error)?;
    let (done, linked) = oneshot::channel();
    let reference = match &mut lock(&registration.progress).code {
        // The client may have asked anew while the code was being stretched.
        Some(request) if request.primary.is_none() && request.wrapped_ephemeral == wrapped => {
            request.primary = Some((primary, done));
            request.reference.clone()
        }
        _ => return Err(PairingError::NoCodeRequested),
    };
    let hello = Node::new("link_code_companion_reg")
        .attr("stage", "primary_hello")
        .child(Node::new("link_code_pairing_wrapped_primary_ephemeral_pub").bytes(answer.to_vec()))
        .child(Node::new("primary_identity_pub").bytes(account.key().public().to_vec()))
        .child(Node::new("link_code_pairing_ref").bytes(reference));
    let notification = Node::new("notification")
        .attr("from", "s.whatsapp.net")
        .attr("type", "link_code_companion_reg")
        .attr("id", service.stanza_id())
        .attr("t", now_s().to_string())
        .child(hello);
    registration.link.send(&notification);
    Ok(linked)
}
