//! The end-to-end cryptography of the virtual phones.
//!
//! A simulated WhatsApp account owns a [`phone::Phone`]: the Signal endpoint of its device 0, which
//! exchanges real X3DH and double-ratchet messages with the companions linked to it and with the
//! phones and companions of other accounts. Around it sit the pieces a phone needs to link a
//! companion (`pairing`, `link_code`, `adv`) and to write what it sends (`proto`, `padding`, `media`).
//!
//! Everything here is plain computation on owned values: no input/output, no clock. The server calls
//! it and decides what is kept; `Phone` is serde-serialisable, so what is stored after a call is what
//! a restart continues from. Written from the published specifications and independent of the
//! engine's own Signal code, so that an error on either side shows as a failed decryption.

pub mod addon;
mod address;
pub mod adv;
#[cfg(test)]
mod fixture;
pub mod keys;
pub mod link_code;
pub mod media;
pub mod padding;
pub mod pairing;
pub mod phone;
mod primitive;
pub mod proto;
pub mod sender_key;
pub mod session;
pub mod syncd;

pub use address::{Address, AddressError};
pub use keys::KeyPair;
pub use phone::{Bundle, Ciphertext, CiphertextKind, OneTimePrekey, Phone, PhoneCore, SignedPrekey};
pub use sender_key::{OwnSenderKey, ReceivedSenderKeys, SenderKeyError};
pub use session::{Session, SessionError};
