//! A build without the feature `sandbox` refuses the sandbox's certificate chain.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails where it panics, and runs on real time"
)]
#![cfg(not(feature = "sandbox"))]

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use roost_domain::engine::{Engine, LinkEnd, LinkFact, LinkSpec};
use roost_domain::instance::PairingMethod;
use roost_engine::{WebEngine, WebEngineConfig};
use roost_sandbox::server::{Sandbox, SandboxConfig};
use support::memory::{Memory, owner};
use support::{NoEntropy, Recorder, SystemClock};

#[tokio::test(flavor = "multi_thread")]
async fn the_sandboxs_chain_is_refused_in_the_handshake() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let config = WebEngineConfig {
        endpoint: sandbox.websocket_url(),
        ..WebEngineConfig::default()
    };
    let state = Arc::new(Memory::default());
    let engine = WebEngine::new(config, state, Arc::new(SystemClock), Arc::new(NoEntropy)).unwrap();
    let said = Arc::new(Recorder::default());
    let spec = LinkSpec {
        owner: owner(1, 1),
        proxy: None,
        pairing: Some(PairingMethod::Qr),
    };
    let link = engine.open(spec, Arc::clone(&said) as _).await.unwrap();
    let LinkEnd::Lost { reason } = said.end().await else {
        panic!("{:?}", said.facts())
    };
    assert!(reason.contains("handshake"), "{reason}");
    assert!(
        said.facts().iter().all(|fact| matches!(fact, LinkFact::Ended(_))),
        "nothing was shown to scan"
    );
    link.close().await;
}
