//! The Signal address of a device: its user and its device number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One device of one user. `user` is whatever name the sessions are kept under (a JID without its
/// device part, for example); device 0 is the phone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Address {
    pub user: String,
    pub device: u16,
}

/// A text that is not `user:device`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a signal address has the form user:device")]
pub struct AddressError;

impl Address {
    pub fn new(user: impl Into<String>, device: u16) -> Self {
        Self {
            user: user.into(),
            device,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.user, self.device)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (user, device) = text.rsplit_once(':').ok_or(AddressError)?;
        let device = device.parse().map_err(|_| AddressError)?;
        Ok(Self::new(user, device))
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}
