//! What nodes tell each other without being asked: the contents of notes.
//!
//! News is a hint and may be lost: whoever acts on it also looks for itself now and then. A body that this
//! release cannot read is passed over, as another release may say more.

use bytes::Bytes;
use roost_domain::peer::{Note, NoteKind};
use roost_domain::{ApiKeyId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

/// Something that happened on one node and that others had better know soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A tenant's log has grown, up to this `seq`.
    Committed {
        /// The tenant.
        tenant: TenantId,
        /// `seq` of the last event.
        seq: i64,
        /// When it was made, by the clock of the node that made it.
        at: Timestamp,
    },
    /// A key was changed or removed.
    KeyChanged {
        /// The key.
        key: ApiKeyId,
        /// Whether what it holds open ends.
        ends: bool,
    },
    /// A tenant was changed.
    TenantChanged {
        /// The tenant.
        tenant: TenantId,
        /// Whether it was suspended, taken back or deleted.
        turned: bool,
    },
}

/// What is told of what happens on other nodes.
pub trait Listener: Send + Sync {
    /// Takes note. Must not wait.
    fn told(&self, news: News);
}

#[derive(Serialize, Deserialize)]
struct Commit {
    tenant: TenantId,
    seq: i64,
    at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct OfKey {
    key: ApiKeyId,
    ends: bool,
}

#[derive(Serialize, Deserialize)]
struct OfTenant {
    tenant: TenantId,
    turned: bool,
}

impl News {
    /// As it travels. A later note replaces one of the same key that has not gone out: what must not be
    /// lost behind a lesser thing has a key of its own.
    pub(crate) fn note(&self) -> Note {
        match self {
            Self::Committed { tenant, seq, at } => Note {
                kind: NoteKind::COMMIT,
                key: key(tenant.to_u128(), false),
                body: body(&Commit {
                    tenant: *tenant,
                    seq: *seq,
                    at: *at,
                }),
            },
            Self::KeyChanged { key: id, ends } => Note {
                kind: NoteKind::KEY,
                key: key(id.to_u128(), *ends),
                body: body(&OfKey {
                    key: *id,
                    ends: *ends,
                }),
            },
            Self::TenantChanged { tenant, turned } => Note {
                kind: NoteKind::TENANT,
                key: key(tenant.to_u128(), *turned),
                body: body(&OfTenant {
                    tenant: *tenant,
                    turned: *turned,
                }),
            },
        }
    }

    /// Reads a note. None, if it is of another kind or cannot be read.
    pub(crate) fn read(note: &Note) -> Option<Self> {
        let body = &note.body;
        match note.kind {
            NoteKind::COMMIT => {
                let Commit { tenant, seq, at } = rmp_serde::from_slice(body).ok()?;
                Some(Self::Committed { tenant, seq, at })
            }
            NoteKind::KEY => {
                let OfKey { key, ends } = rmp_serde::from_slice(body).ok()?;
                Some(Self::KeyChanged { key, ends })
            }
            NoteKind::TENANT => {
                let OfTenant { tenant, turned } = rmp_serde::from_slice(body).ok()?;
                Some(Self::TenantChanged { tenant, turned })
            }
            _ => None,
        }
    }
}

fn key(id: u128, urgent: bool) -> Bytes {
    let mut key = id.to_be_bytes().to_vec();
    key.push(u8::from(urgent));
    key.into()
}

fn body(says: &impl Serialize) -> Bytes {
    // Structs of texts and numbers: MessagePack can always write them.
    rmp_serde::to_vec_named(says).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<News> {
        let (tenant, id) = (TenantId::from_parts(1, 2), ApiKeyId::from_parts(3, 4));
        let keys = [true, false].map(|ends| News::KeyChanged { key: id, ends });
        let tenants = [true, false].map(|turned| News::TenantChanged { tenant, turned });
        let committed = News::Committed {
            tenant,
            seq: i64::MAX,
            at: Timestamp::from_unix_ms(1_700_000_000_000),
        };
        [committed].into_iter().chain(keys).chain(tenants).collect()
    }

    #[test]
    fn news_arrives_as_it_was_told() {
        for news in all() {
            assert_eq!(News::read(&news.note()), Some(news));
        }
    }

    #[test]
    fn what_ends_something_is_never_replaced_by_what_does_not() {
        let mut keys: Vec<_> = all()
            .iter()
            .map(News::note)
            .map(|note| (note.kind, note.key))
            .collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        for kind in [NoteKind::COMMIT, NoteKind::KEY, NoteKind::TENANT, NoteKind(999)] {
            for body in ["", "{}", "null", "{\"key\":1}", "\u{0}"] {
                let note = Note {
                    kind,
                    key: Bytes::new(),
                    body: Bytes::copy_from_slice(body.as_bytes()),
                };
                assert_eq!(News::read(&note), None, "{body}");
            }
        }
    }
}
