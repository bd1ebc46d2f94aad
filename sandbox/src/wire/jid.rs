//! Addresses on the wire: `user[:device]@server`.

use std::fmt;

/// The server part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// Phone number addressing, `s.whatsapp.net`.
    Pn,
    /// Hidden-number addressing, `lid`.
    Lid,
    Hosted,
    HostedLid,
    Group,
    Broadcast,
    Newsletter,
    Bot,
    Call,
    Legacy,
    Messenger,
    Interop,
}

impl Domain {
    const ALL: [Self; 12] = [
        Self::Pn,
        Self::Lid,
        Self::Hosted,
        Self::HostedLid,
        Self::Group,
        Self::Broadcast,
        Self::Newsletter,
        Self::Bot,
        Self::Call,
        Self::Legacy,
        Self::Messenger,
        Self::Interop,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pn => "s.whatsapp.net",
            Self::Lid => "lid",
            Self::Hosted => "hosted",
            Self::HostedLid => "hosted.lid",
            Self::Group => "g.us",
            Self::Broadcast => "broadcast",
            Self::Newsletter => "newsletter",
            Self::Bot => "bot",
            Self::Call => "call",
            Self::Legacy => "c.us",
            Self::Messenger => "msgr",
            Self::Interop => "interop",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|domain| domain.as_str() == text)
    }

    /// The domain byte of the device form; only four servers have one.
    pub(super) fn device_form(self) -> Option<u8> {
        match self {
            Self::Pn => Some(0),
            Self::Lid => Some(1),
            Self::Hosted => Some(128),
            Self::HostedLid => Some(129),
            _ => None,
        }
    }

    pub(super) fn from_device_form(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Pn),
            1 => Some(Self::Lid),
            129 => Some(Self::HostedLid),
            other if other & 0x81 == 0x80 => Some(Self::Hosted),
            _ => None,
        }
    }
}

/// A parsed address. Device 0 is the phone and is written without a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid {
    pub user: String,
    pub device: u16,
    pub domain: Domain,
}

impl Jid {
    pub fn new(user: impl Into<String>, device: u16, domain: Domain) -> Self {
        Self {
            user: user.into(),
            device,
            domain,
        }
    }

    /// Reads an address. A bare server (`s.whatsapp.net`, `@s.whatsapp.net`) has an empty user.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((user, server)) = text.rsplit_once('@') else {
            return Some(Self::new("", 0, Domain::parse(text)?));
        };
        let domain = Domain::parse(server)?;
        let (user, device) = match user.rsplit_once(':') {
            Some((user, device)) => (user, device.parse().ok()?),
            None => (user, 0),
        };
        Some(Self::new(user, device, domain))
    }

    /// The same user without a device.
    pub fn user_jid(&self) -> Self {
        Self::new(self.user.clone(), 0, self.domain)
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.user.is_empty() {
            return f.write_str(self.domain.as_str());
        }
        f.write_str(&self.user)?;
        if self.device != 0 {
            write!(f, ":{}", self.device)?;
        }
        write!(f, "@{}", self.domain.as_str())
    }
}
