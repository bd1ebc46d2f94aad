//! X25519 key pairs, XEdDSA signatures made with them, and the typed form of public keys.
//!
//! XEdDSA is written out here on curve25519-dalek: the published `xeddsa` crate (1.1) implements the
//! specification, which always signs with the even Edwards point, while Signal and WhatsApp carry
//! the sign bit in the last byte of the signature. Signatures of the one are rejected by the other.

use std::fmt;

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};

use super::primitive::random_bytes;

#[cfg(test)]
mod tests;

/// The type byte before every public key inside Signal messages and under their signatures.
pub const DJB_TYPE: u8 = 0x05;

/// A public key of the wrong length or type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a typed public key has 33 bytes, got {0}")]
    Length(usize),
    #[error("public key type {0:#04x} is not curve25519")]
    Type(u8),
}

/// An X25519 key pair. Its private half signs with XEdDSA too.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    #[serde(with = "serde_bytes")]
    private: [u8; 32],
    #[serde(with = "serde_bytes")]
    public: [u8; 32],
}

impl KeyPair {
    pub fn generate() -> Self {
        Self::from_private(random_bytes())
    }

    /// Clamps `private`, as X25519 would on use.
    pub fn from_private(private: [u8; 32]) -> Self {
        let private = clamp_integer(private);
        let public = PublicKey::from(&StaticSecret::from(private)).to_bytes();
        Self { private, public }
    }

    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The X25519 shared secret with `their` public key.
    pub fn agree(&self, their: &[u8; 32]) -> [u8; 32] {
        StaticSecret::from(self.private)
            .diffie_hellman(&PublicKey::from(*their))
            .to_bytes()
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        xeddsa_sign(&self.private, message)
    }
}

/// Shows the public half only.
impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair(")?;
        self.public.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ")")
    }
}

/// The 33-byte typed form of a public key.
pub fn typed(public: &[u8; 32]) -> [u8; 33] {
    let mut bytes = [DJB_TYPE; 33];
    bytes[1..].copy_from_slice(public);
    bytes
}

/// Reads the 33-byte typed form of a public key.
pub fn untyped(bytes: &[u8]) -> Result<[u8; 32], KeyError> {
    let typed: &[u8; 33] = bytes.try_into().map_err(|_| KeyError::Length(bytes.len()))?;
    match typed.split_first_chunk::<1>() {
        Some(([DJB_TYPE], rest)) => rest.try_into().map_err(|_| KeyError::Length(bytes.len())),
        _ => Err(KeyError::Type(typed[0])),
    }
}

/// Signs `message` with an X25519 private key.
pub fn xeddsa_sign(private: &[u8; 32], message: &[u8]) -> [u8; 64] {
    let a = Scalar::from_bytes_mod_order(clamp_integer(*private));
    let public = EdwardsPoint::mul_base(&a).compress();

    let mut domain = [0xff_u8; 32];
    domain[0] = 0xfe;
    let nonce = Sha512::new()
        .chain_update(domain)
        .chain_update(private)
        .chain_update(message)
        .chain_update(random_bytes::<64>());
    let r = Scalar::from_bytes_mod_order_wide(&nonce.finalize().into());
    let big_r = EdwardsPoint::mul_base(&r).compress();
    let s = r + challenge(big_r.as_bytes(), public.as_bytes(), message) * a;

    let mut signature = [0; 64];
    signature[..32].copy_from_slice(big_r.as_bytes());
    signature[32..].copy_from_slice(s.as_bytes());
    // A canonical scalar leaves the top bit free; it carries the sign of the Edwards public key,
    // which the X25519 public key does not have.
    signature[63] |= public.as_bytes()[31] & 0x80;
    signature
}

/// Whether `signature` over `message` was made with the private key of the X25519 key `public`.
pub fn xeddsa_verify(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let sign = signature[63] >> 7;
    let Some(a) = MontgomeryPoint(*public).to_edwards(sign) else {
        return false;
    };
    let mut big_r = [0; 32];
    let mut s = [0; 32];
    big_r.copy_from_slice(&signature[..32]);
    s.copy_from_slice(&signature[32..]);
    s[31] &= 0x7f;
    let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)) else {
        return false;
    };
    let h = challenge(&big_r, a.compress().as_bytes(), message);
    let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&h, &-a, &s).compress();
    expected.as_bytes().ct_eq(&big_r).into()
}

fn challenge(big_r: &[u8; 32], public: &[u8; 32], message: &[u8]) -> Scalar {
    let hash = Sha512::new()
        .chain_update(big_r)
        .chain_update(public)
        .chain_update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}
