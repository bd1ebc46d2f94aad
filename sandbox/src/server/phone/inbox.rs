//! What waits for a phone: kept with its order until the phone has worked it off.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::server::account::Account;
use crate::server::persist::{PersistError, SavedAccount, Shelf, Table, pack, unpack};
use crate::server::stanza::message::Sender;
use crate::wire::node::Node;

#[derive(Default)]
pub(super) struct Inbox {
    jobs: VecDeque<(u64, Job)>,
    next: u64,
    bytes: usize,
    /// A task is working it off.
    pub running: bool,
    pub shelf: Shelf,
}

pub(super) enum Job {
    Message {
        sender: Sender,
        node: Node,
    },
    Retry {
        reader: Sender,
        node: Node,
    },
    /// A companion asks for the file of a message.
    Reupload {
        reader: Sender,
        node: Node,
    },
    Bootstrap {
        device: u16,
    },
}

/// A job as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JobRow {
    Message { from: DeviceName, stanza: ByteBuf },
    Retry { from: DeviceName, stanza: ByteBuf },
    Reupload { from: DeviceName, stanza: ByteBuf },
    Bootstrap { device: u16 },
}

/// A device, by the number of its account.
#[derive(Serialize, Deserialize)]
struct DeviceName {
    account: u32,
    device: u16,
}

impl Job {
    fn weight(&self) -> usize {
        match self {
            Self::Message { node, .. } | Self::Retry { node, .. } | Self::Reupload { node, .. } => {
                node.weight()
            }
            Self::Bootstrap { .. } => 0,
        }
    }

    fn row(&self) -> JobRow {
        let name = |device: &Sender| DeviceName {
            account: device.account.raw_id,
            device: device.device,
        };
        match self {
            Self::Message { sender, node } => JobRow::Message {
                from: name(sender),
                stanza: pack(node),
            },
            Self::Retry { reader, node } => JobRow::Retry {
                from: name(reader),
                stanza: pack(node),
            },
            Self::Reupload { reader, node } => JobRow::Reupload {
                from: name(reader),
                stanza: pack(node),
            },
            Self::Bootstrap { device } => JobRow::Bootstrap { device: *device },
        }
    }
}

impl Inbox {
    pub fn new(shelf: Shelf) -> Self {
        Self {
            shelf,
            ..Self::default()
        }
    }

    pub fn is_full(&self, jobs_max: usize, bytes_max: usize) -> bool {
        self.jobs.len() >= jobs_max || self.bytes >= bytes_max
    }

    pub fn push(&mut self, job: Job) {
        let number = self.next;
        self.shelf
            .keep(|rows| rows.put(Table::Job, number, "", &job.row()));
        self.insert(number, job);
    }

    pub fn pop(&mut self) -> Option<Job> {
        let (number, job) = self.jobs.pop_front()?;
        self.bytes -= job.weight();
        self.shelf.keep(|rows| rows.delete(Table::Job, number, ""));
        Some(job)
    }

    pub fn restore(
        &mut self,
        saved: &mut SavedAccount,
        accounts: &BTreeMap<u32, Arc<Account>>,
    ) -> Result<(), PersistError> {
        let sender = |name: DeviceName| {
            let account = accounts.get(&name.account).cloned();
            let table = Table::Account.name();
            account
                .ok_or(PersistError::Incomplete { table })
                .map(|account| Sender {
                    account,
                    device: name.device,
                })
        };
        for row in saved.take(Table::Job, 0) {
            let node = |stanza| unpack(stanza).map_err(|error| row.corrupt(error));
            let job = match row.value()? {
                JobRow::Message { from, stanza } => Job::Message {
                    sender: sender(from)?,
                    node: node(stanza)?,
                },
                JobRow::Retry { from, stanza } => Job::Retry {
                    reader: sender(from)?,
                    node: node(stanza)?,
                },
                JobRow::Reupload { from, stanza } => Job::Reupload {
                    reader: sender(from)?,
                    node: node(stanza)?,
                },
                JobRow::Bootstrap { device } => Job::Bootstrap { device },
            };
            self.insert(row.item, job);
        }
        Ok(())
    }

    fn insert(&mut self, number: u64, job: Job) {
        self.next = number + 1;
        self.bytes += job.weight();
        self.jobs.push_back((number, job));
    }
}
