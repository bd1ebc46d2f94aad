//! The places where something can go wrong, and what the rest of the service asks there.

use std::time::Duration;

use super::kind::{BundlePart, FaultKind, MediaAction, On};
use super::registry::Faults;
use crate::server::link::{Link, stream_error};
use crate::server::queue::Class;
use crate::signal::{Bundle, KeyPair};
use crate::wire::node::{Content, Node};

/// A set of places, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Place {
    Login = 1,
    FrameIn = 1 << 1,
    FrameOut = 1 << 2,
    Ack = 1 << 3,
    Delivery = 1 << 4,
    Send = 1 << 5,
    Bundle = 1 << 6,
    Media = 1 << 7,
}

/// Whose connection or transfer it is; nobody's before a client is linked.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::server) struct Who<'a> {
    pub account: Option<&'a str>,
    pub device: Option<u16>,
}

impl<'a> Who<'a> {
    pub(in crate::server) fn new(account: &'a str, device: u16) -> Self {
        Self {
            account: Some(account),
            device: Some(device),
        }
    }
}

/// How a connection is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum Cut {
    Drop,
    /// Until the fault with this number is gone.
    Silence(u64),
    /// A last stanza.
    Say(Node),
}

impl Cut {
    fn of(kind: &FaultKind, fault: u64) -> Option<Self> {
        match kind {
            FaultKind::DropConnection { .. } => Some(Self::Drop),
            FaultKind::Silence { .. } => Some(Self::Silence(fault)),
            FaultKind::ConflictReplaced { .. } => Some(Self::Say(stream_error(None, Some("replaced")))),
            FaultKind::StreamError { code, .. } => Some(Self::Say(
                Node::new("stream:error").attr("code", code.to_string()),
            )),
            _ => kind.refusal().map(Self::Say),
        }
    }

    /// Whether the connection is over; a silent one is not.
    pub(in crate::server) fn is_end(&self) -> bool {
        !matches!(self, Self::Silence(_))
    }

    /// For the ledger.
    pub(in crate::server) fn reason(&self) -> String {
        match self {
            Self::Say(last) => match last.get("reason").or_else(|| last.get("code")) {
                Some(code) => format!("fault {code}"),
                None => "fault conflict".to_owned(),
            },
            Self::Drop | Self::Silence(_) => "fault".to_owned(),
        }
    }

    /// Cuts a connection.
    pub(in crate::server) fn apply(&self, link: &Link) {
        match self {
            Self::Drop => link.abort("fault"),
            Self::Silence(fault) => link.silence(*fault),
            Self::Say(last) => {
                link.because("fault");
                link.end_with(last);
            }
        }
    }
}

/// What happens to one frame to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum FrameFault {
    Drop,
    Corrupt,
}

/// What happens to one stanza that is delivered or acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Delivery {
    Swallow,
    Delay(Duration),
    Duplicate,
    /// Written after the next one, or alone after this time.
    Reorder(Duration),
}

/// What happens to one upload or download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum MediaFault {
    Slow {
        bytes_per_second: u64,
    },
    /// The connection ends when half of the body has been read.
    Half,
    Status(u16),
}

/// How long a reordered stanza waits for the next one.
const REORDER_WITHIN_MS: u64 = 1_000;

impl FaultKind {
    /// Where it strikes after it was made.
    pub(super) fn place(&self) -> Option<Place> {
        Some(match self {
            Self::DropConnection { on, .. }
            | Self::Silence { on, .. }
            | Self::ConflictReplaced { on, .. }
            | Self::StreamError { on, .. } => match on {
                On::Now => return None,
                On::Login => Place::Login,
                On::Frame => Place::FrameIn,
            },
            Self::RefuseLogins { .. } | Self::TemporaryBan { .. } => Place::Login,
            Self::SwallowAcks { .. } | Self::DelayAcks { .. } => Place::Ack,
            Self::DelayDeliveries { .. }
            | Self::DuplicateDeliveries { .. }
            | Self::ReorderDeliveries { .. }
            | Self::MissingDeviceIdentity {} => Place::Delivery,
            Self::RejectSends { .. } => Place::Send,
            Self::DropFrame {} | Self::CorruptFrame {} => Place::FrameOut,
            Self::WrongPrekeys { .. } => Place::Bundle,
            Self::SlowMedia { .. } | Self::HalfUpload {} | Self::MediaStatus { .. } => Place::Media,
        })
    }
}

impl Faults {
    /// A client is about to be logged in, or to be registered.
    pub(in crate::server) fn at_login(&self, who: Who<'_>) -> Option<Cut> {
        self.strike(Place::Login, who, Cut::of)
    }

    /// The `number`th frame of a connection has been read.
    pub(in crate::server) fn at_frame(&self, who: Who<'_>, number: u64) -> Option<Cut> {
        self.strike(Place::FrameIn, who, |kind, fault| {
            let (_, nth) = kind.cuts()?;
            nth.is_none_or(|nth| nth == number)
                .then(|| Cut::of(kind, fault))
                .flatten()
        })
    }

    pub(in crate::server) fn at_write(&self, who: Who<'_>) -> Option<FrameFault> {
        self.strike(Place::FrameOut, who, |kind, _| match kind {
            FaultKind::DropFrame {} => Some(FrameFault::Drop),
            FaultKind::CorruptFrame {} => Some(FrameFault::Corrupt),
            _ => None,
        })
    }

    pub(in crate::server) fn at_ack(&self, who: Who<'_>, ack: &Node) -> Option<Delivery> {
        self.strike(Place::Ack, who, |kind, _| match kind {
            FaultKind::SwallowAcks { class } if is_of(*class, ack.get("class")) => Some(Delivery::Swallow),
            FaultKind::DelayAcks { delay_ms, class } if is_of(*class, ack.get("class")) => {
                Some(Delivery::Delay(Duration::from_millis(*delay_ms)))
            }
            _ => None,
        })
    }

    /// Whether anything can happen to what is delivered.
    pub(in crate::server) fn touch_deliveries(&self) -> bool {
        self.are_armed(Place::Delivery)
    }

    /// A queued stanza is about to be written. It may lose its device identity here.
    pub(in crate::server) fn at_delivery(&self, who: Who<'_>, stanza: &mut Node) -> Option<Delivery> {
        let class = Some(stanza.tag.as_ref());
        // The marks around what had gathered offline are no deliveries.
        class.and_then(Class::parse)?;
        if stanza.find("device-identity").is_some() {
            let stripped = self.strike(Place::Delivery, who, |kind, _| {
                matches!(kind, FaultKind::MissingDeviceIdentity {}).then_some(())
            });
            if let (Some(()), Content::Nodes(children)) = (stripped, &mut stanza.content) {
                children.retain(|child| child.tag != "device-identity");
            }
        }
        let class = Some(stanza.tag.as_ref());
        self.strike(Place::Delivery, who, |kind, _| match kind {
            FaultKind::DelayDeliveries {
                delay_ms,
                class: wanted,
            } if is_of(*wanted, class) => Some(Delivery::Delay(Duration::from_millis(*delay_ms))),
            FaultKind::DuplicateDeliveries { class: wanted } if is_of(*wanted, class) => {
                Some(Delivery::Duplicate)
            }
            FaultKind::ReorderDeliveries {
                within_ms,
                class: wanted,
            } if is_of(*wanted, class) => {
                let within_ms = within_ms.unwrap_or(REORDER_WITHIN_MS);
                Some(Delivery::Reorder(Duration::from_millis(within_ms)))
            }
            _ => None,
        })
    }

    /// The error a message is refused with.
    pub(in crate::server) fn at_send(&self, who: Who<'_>) -> Option<u16> {
        self.strike(Place::Send, who, |kind, _| match kind {
            FaultKind::RejectSends { error } => Some(*error),
            _ => None,
        })
    }

    /// A client fetches a bundle.
    pub(in crate::server) fn at_bundle(&self, who: Who<'_>, bundle: &mut Bundle) {
        let part = self.strike(Place::Bundle, who, |kind, _| match kind {
            FaultKind::WrongPrekeys { part } => Some(*part),
            _ => None,
        });
        match part {
            Some(BundlePart::Signature) => bundle.signed_prekey.signature[0] ^= 1,
            Some(BundlePart::Identity) => bundle.identity = *KeyPair::generate().public(),
            Some(BundlePart::OneTimeKey) => {
                if let Some(prekey) = &mut bundle.prekey {
                    prekey.public = *KeyPair::generate().public();
                }
            }
            None => {}
        }
    }

    /// Whether any fault may strike an upload or a download.
    pub(in crate::server) fn strike_media(&self) -> bool {
        self.are_armed(Place::Media)
    }

    /// An upload or a download begins; `account` is whose it is, where that is known.
    pub(in crate::server) fn media(&self, account: Option<&str>, action: MediaAction) -> Option<MediaFault> {
        let who = Who {
            account,
            device: None,
        };
        let is_it = |wanted: Option<MediaAction>| wanted.is_none_or(|wanted| wanted == action);
        self.strike(Place::Media, who, |kind, _| match kind {
            FaultKind::SlowMedia {
                bytes_per_second,
                action,
            } if is_it(*action) => Some(MediaFault::Slow {
                bytes_per_second: *bytes_per_second,
            }),
            FaultKind::HalfUpload {} if action == MediaAction::Upload => Some(MediaFault::Half),
            FaultKind::MediaStatus { status, action } if is_it(*action) => Some(MediaFault::Status(*status)),
            _ => None,
        })
    }
}

fn is_of(wanted: Option<Class>, name: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| name.and_then(Class::parse) == Some(wanted))
}

/// How the live connections of a fault that strikes at once are cut.
pub(super) fn at_once(kind: &FaultKind, fault: u64) -> Option<Cut> {
    match kind.cuts() {
        Some((On::Now, _)) => Cut::of(kind, fault),
        _ => None,
    }
}
