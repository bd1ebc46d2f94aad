//! The greeting: what two nodes say to each other before `ractor_cluster` sees the connection.
//!
//! ```text
//! dialer                                   acceptor
//!   Hello {versions, node, to, …, nonce} ──>
//!                          <── Hello {…} or Refused
//!   Proof ──>
//!                          <── Welcome {proof} or Refused
//! ```
//! A proof is a MAC, under the cluster's cookie, of both hellos and of the TLS channel. So nobody can
//! pass on what another has proven, and each link has its own. Whether the peer may come in is said only
//! after its proof: a stranger learns nothing.

use hmac::{Hmac, KeyInit, Mac};
use roost_domain::cluster::NodeName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::Cookie;
use crate::stream::Io;

/// Versions of the link's protocol that this release speaks, the lowest and the highest.
const VERSIONS: (u16, u16) = (1, 1);

/// Longest message of a greeting.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// Keying material of the TLS channel; zeros without TLS.
pub(crate) type Channel = [u8; 32];

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub versions: (u16, u16),
    pub node: NodeName,
    /// Whom it takes the other for.
    pub to: Option<NodeName>,
    pub incarnation: i64,
    pub release: String,
    nonce: [u8; 32],
}

/// Why a node does not let another in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no version of the link's protocol is spoken by both")]
    Version,
    #[error("the certificate does not name the node")]
    Certificate,
    #[error("the cluster's cookie was not proven")]
    Cookie,
    #[error("another node was looked for")]
    NotMe,
    #[error("no node of this name is in the cluster as far as is known")]
    Unknown,
    #[error("a later life of the node is in the cluster")]
    Stale,
    #[error("of two nodes the one with the lower name dials")]
    Direction,
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Hello(Hello),
    Welcome([u8; 32]),
    Refused(Refusal),
}

/// Why a greeting came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetingError {
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("it says what cannot be read")]
    Garbage,
    #[error("the other node refused: {0}")]
    Refused(Refusal),
    #[error("refused: {0}")]
    Refuse(Refusal),
}

/// What this node brings to a greeting.
pub(crate) struct Me<'a> {
    pub node: &'a NodeName,
    pub incarnation: i64,
    pub release: &'a str,
    pub cookie: &'a Cookie,
    pub channel: Channel,
    pub nonce: [u8; 32],
}

impl Me<'_> {
    fn hello(&self, to: Option<NodeName>) -> Hello {
        Hello {
            versions: VERSIONS,
            node: self.node.clone(),
            to,
            incarnation: self.incarnation,
            release: self.release.to_owned(),
            nonce: self.nonce,
        }
    }

    fn mac(&self, role: &[u8], hellos: [&[u8]; 2]) -> Hmac<Sha256> {
        // A key of any length is taken.
        #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(self.cookie.bytes()).expect("any length");
        mac.update(b"roost link greeting 1\0");
        mac.update(role);
        mac.update(&self.channel);
        for hello in hellos {
            mac.update(&(hello.len() as u64).to_be_bytes());
            mac.update(hello);
        }
        mac
    }
}

/// The secret for `ractor_cluster`'s own handshake: derived, as that one is weaker.
pub(crate) fn inner_cookie(cookie: &Cookie) -> String {
    use std::fmt::Write as _;
    #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(cookie.bytes()).expect("any length");
    mac.update(b"roost link ractor_cluster 1\0");
    mac.finalize()
        .into_bytes()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Greets as the one that dialled. Returns what the peer says of itself.
pub(crate) async fn dial(
    io: &mut dyn Io,
    me: &Me<'_>,
    to: &NodeName,
    may: impl FnOnce(&Hello) -> Result<(), Refusal>,
) -> Result<Hello, GreetingError> {
    let mine = encode(&me.hello(Some(to.clone())))?;
    write(io, &mine).await?;
    let theirs = read(io).await?;
    let hello = match decode(&theirs)? {
        Reply::Hello(hello) => hello,
        Reply::Refused(refusal) => return Err(GreetingError::Refused(refusal)),
        Reply::Welcome(_) => return Err(GreetingError::Garbage),
    };
    if hello.node != *to {
        return Err(GreetingError::Refuse(Refusal::NotMe));
    }
    may(&hello).map_err(GreetingError::Refuse)?;
    let proof: [u8; 32] = me.mac(b"dialer", [&mine, &theirs]).finalize().into_bytes().into();
    write(io, &proof).await?;
    match decode(&read(io).await?)? {
        Reply::Welcome(proof) => me
            .mac(b"acceptor", [&mine, &theirs])
            .verify_slice(&proof)
            .map_err(|_| GreetingError::Refuse(Refusal::Cookie))?,
        Reply::Refused(refusal) => return Err(GreetingError::Refused(refusal)),
        Reply::Hello(_) => return Err(GreetingError::Garbage),
    }
    Ok(hello)
}

/// Greets as the one that was dialled. `named` says whether the peer's certificate has that name; `may`,
/// whether such a node may come in.
pub(crate) async fn accept(
    io: &mut dyn Io,
    me: &Me<'_>,
    named: impl FnOnce(&NodeName) -> bool,
    may: impl FnOnce(&Hello) -> Result<(), Refusal>,
) -> Result<Hello, GreetingError> {
    let theirs = read(io).await?;
    let hello: Hello = decode(&theirs)?;
    if hello.versions.0 > VERSIONS.1 || hello.versions.1 < VERSIONS.0 {
        return refuse(io, Refusal::Version).await;
    }
    if !named(&hello.node) {
        return refuse(io, Refusal::Certificate).await;
    }
    let mine = encode(&Reply::Hello(me.hello(None)))?;
    write(io, &mine).await?;
    let proof = read(io).await?;
    let right = me.mac(b"dialer", [&theirs, &mine]).verify_slice(&proof);
    if right.is_err() {
        return refuse(io, Refusal::Cookie).await;
    }
    if hello.to.as_ref() != Some(me.node) {
        return refuse(io, Refusal::NotMe).await;
    }
    if let Err(refusal) = may(&hello) {
        return refuse(io, refusal).await;
    }
    let welcome = me
        .mac(b"acceptor", [&theirs, &mine])
        .finalize()
        .into_bytes()
        .into();
    write(io, &encode(&Reply::Welcome(welcome))?).await?;
    Ok(hello)
}

async fn refuse(io: &mut dyn Io, refusal: Refusal) -> Result<Hello, GreetingError> {
    write(io, &encode(&Reply::Refused(refusal))?).await?;
    Err(GreetingError::Refuse(refusal))
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, GreetingError> {
    rmp_serde::to_vec_named(message).map_err(|_| GreetingError::Garbage)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, GreetingError> {
    rmp_serde::from_slice(bytes).map_err(|_| GreetingError::Garbage)
}

async fn write(io: &mut dyn Io, message: &[u8]) -> Result<(), GreetingError> {
    let length = u16::try_from(message.len()).map_err(|_| GreetingError::Garbage)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    io.write_all(&bytes).await?;
    io.flush().await?;
    Ok(())
}

async fn read(io: &mut dyn Io) -> Result<Vec<u8>, GreetingError> {
    let length = usize::from(io.read_u16().await?);
    if length > MESSAGE_BYTES_MAX {
        return Err(GreetingError::Garbage);
    }
    let mut bytes = vec![0; length];
    io.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
