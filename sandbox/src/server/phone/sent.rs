//! What a phone sent, remembered for those who could not read it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Outgoing, State};
use crate::server::persist::{PersistError, SavedAccount, Table};
use crate::signal::proto::{Message, ProtoMessage};
use crate::wire::jid::Domain;

/// A message that may be asked for again.
#[derive(Clone)]
pub(super) struct Sent {
    pub peer: Arc<str>,
    pub domain: Domain,
    pub outgoing: Outgoing,
    /// Unix seconds.
    pub at_s: u64,
}

impl Sent {
    /// About what it takes.
    pub(super) fn weight(&self) -> usize {
        self.outgoing.message.encoded_len()
    }
}

/// A sent message as it is kept.
#[derive(Serialize, Deserialize)]
struct SentRow {
    id: Box<str>,
    peer: Box<str>,
    by_lid: bool,
    #[serde(with = "serde_bytes")]
    message: Vec<u8>,
    kind: String,
    edit: Option<String>,
    #[serde(default)]
    at_s: u64,
}

impl State {
    pub(super) fn remember_sent(&mut self, id: &str, sent: Sent) {
        let row = self.shelf.is_durable().then(|| SentRow {
            id: id.into(),
            peer: (&*sent.peer).into(),
            by_lid: sent.domain == Domain::Lid,
            message: sent.outgoing.message.encode_to_vec(),
            kind: sent.outgoing.kind.clone().into_owned(),
            edit: sent.outgoing.edit.clone().map(Into::into),
            at_s: sent.at_s,
        });
        if let Some((placed, row)) = self.sent.set(id, sent).zip(row) {
            self.shelf.keep(|rows| {
                rows.put(Table::Sent, placed.at, "", &row);
                placed
                    .forgotten
                    .for_each(|position| rows.delete(Table::Sent, position, ""));
            });
        }
    }

    pub(super) fn restore_sent(&mut self, saved: &mut SavedAccount) -> Result<(), PersistError> {
        for row in saved.take(Table::Sent, 0) {
            let kept: SentRow = row.value()?;
            let outgoing = Outgoing {
                message: Message::decode(kept.message.as_slice()).map_err(|error| row.corrupt(error))?,
                kind: kept.kind.into(),
                edit: kept.edit.map(Into::into),
            };
            let sent = Sent {
                peer: kept.peer.into(),
                domain: if kept.by_lid { Domain::Lid } else { Domain::Pn },
                outgoing,
                at_s: kept.at_s,
            };
            self.sent.restore(row.item, kept.id, sent);
        }
        Ok(())
    }
}
