//! A sandbox that ends and is started again on what it has kept.

use roost_sandbox::server::{Sandbox, SandboxConfig};

use crate::baileys::Place;
use crate::ground::{CAROL, Ground};
use crate::world::BOB;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn baileys_finds_everything_again_after_a_restart_of_the_sandbox() {
    let mut ground = Ground::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = SandboxConfig {
        data_dir: Some(folder.path().to_owned()),
        ..SandboxConfig::default()
    };
    ground.move_to(config.clone()).await;
    let baileys = ground.linked("carol", CAROL).await;
    baileys.send_text(BOB, "before").await;
    ground.world.phone_has(BOB, "before").await;
    let place = baileys.quit().await;
    ground.world.phone_sends(BOB, CAROL, "while you were away").await;

    // It listens elsewhere now, as any free port is taken.
    let ended = std::mem::replace(
        &mut ground.world.sandbox,
        Sandbox::start(SandboxConfig::default()).await.unwrap(),
    );
    ended.shutdown().await;
    ground.world.sandbox = Sandbox::start(config).await.unwrap();
    let place = Place {
        websocket_url: ground.world.sandbox.websocket_url(),
        ..place
    };
    let baileys = Ground::reopened(place).await;
    baileys.has("while you were away").await;
    baileys.send_text(BOB, "after").await;
    ground.world.phone_has(BOB, "after").await;
    ground.world.phone_sends(BOB, CAROL, "as before").await;
    baileys.has("as before").await;
    let stats = ground.look("stats").await;
    assert_eq!(stats["retry_receipts"], 0, "{stats}");
    baileys.quit().await;
    ground.end().await;
}
