use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roost_domain::engine::{LinkEnd, LinkFact, LinkObserver, NotCommitted};
use roost_domain::message::{Inbound, InboundKey};
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::traits::{
    AppStateSyncKey, AppSyncStore, Backend as LibraryBackend, DeviceInfo, DeviceListRecord, DeviceStore,
    LidPnMappingEntry, MsgSecretEntry, MsgSecretStore, PendingInboundKey, PendingInboundRow, ProtocolStore,
    SignalStore, TcTokenEntry,
};

use super::*;

#[path = "../../../tests/support/memory.rs"]
mod memory;

mod durability;
mod kept;

use memory::{Memory, owner};

fn now() -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000)
}

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

struct Deaf;

#[async_trait::async_trait]
impl LinkObserver for Deaf {
    fn fact(&self, _: LinkFact) {}

    async fn inbound(&self, _: Vec<Inbound>) -> std::result::Result<(), NotCommitted> {
        Ok(())
    }

    async fn knows(&self, _: &InboundKey) -> std::result::Result<bool, NotCommitted> {
        Ok(true)
    }
}

struct Fixture {
    state: Arc<Memory>,
    reporter: Arc<Reporter>,
    backend: Arc<Backend>,
    owner: Owner,
}

fn fixture() -> Fixture {
    on(Arc::new(Memory::default()))
}

/// A new link on the same state: what a restart sees.
fn on(state: Arc<Memory>) -> Fixture {
    let reporter = Arc::new(Reporter::new(Arc::new(Deaf)));
    let owner = owner(1, 1);
    let backend = Arc::new(Backend::new(
        Arc::clone(&state) as _,
        owner,
        Arc::new(FixedClock),
        Arc::clone(&reporter),
        Arc::new(tokio::sync::Semaphore::new(super::LONG_READS_MAX)),
    ));
    // Also proves that every trait is there.
    let _: Arc<dyn LibraryBackend> = Arc::clone(&backend) as _;
    Fixture {
        state,
        reporter,
        backend,
        owner,
    }
}

fn arc(text: &str) -> Arc<str> {
    Arc::from(text)
}
