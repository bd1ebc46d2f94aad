//! The certificate chain the server shows inside the handshake.
//!
//! A root of the sandbox's own signs it, so clients that pin WhatsApp's root reject it; that is
//! intended, only a client told to trust the sandbox connects.

use prost::Message;
use serde::{Deserialize, Serialize};

use super::NoiseError;
use crate::signal::KeyPair;
use crate::signal::keys::xeddsa_verify;
use crate::wire::proto::{CertChain, CertificateDetails, NoiseCertificate};

const INTERMEDIATE_SERIAL: u32 = 1;
const LEAF_SERIAL: u32 = 2;
/// The root has no certificate; its serial is fixed.
const ROOT_SERIAL: u32 = 0;
const VALID_BEFORE_S: u64 = 24 * 3600;
const VALID_AFTER_S: u64 = 10 * 365 * 24 * 3600;

/// The server's static key and the chain that vouches for it.
#[derive(Serialize, Deserialize)]
pub struct CertificateAuthority {
    #[serde(with = "serde_bytes")]
    root: [u8; 32],
    server_key: KeyPair,
    #[serde(with = "serde_bytes")]
    chain: Vec<u8>,
}

impl CertificateAuthority {
    /// New keys and a chain valid around `now_s`, in unix seconds.
    pub fn generate(now_s: u64) -> Self {
        let (root, intermediate, server_key) =
            (KeyPair::generate(), KeyPair::generate(), KeyPair::generate());
        let chain = CertChain {
            leaf: Some(issue(
                &intermediate,
                LEAF_SERIAL,
                INTERMEDIATE_SERIAL,
                server_key.public(),
                now_s,
            )),
            intermediate: Some(issue(
                &root,
                INTERMEDIATE_SERIAL,
                ROOT_SERIAL,
                intermediate.public(),
                now_s,
            )),
        };
        Self {
            root: *root.public(),
            server_key,
            chain: chain.encode_to_vec(),
        }
    }

    pub fn root(&self) -> &[u8; 32] {
        &self.root
    }

    pub(super) fn server_key(&self) -> &KeyPair {
        &self.server_key
    }

    pub(super) fn chain(&self) -> &[u8] {
        &self.chain
    }
}

fn issue(issuer: &KeyPair, serial: u32, issuer_serial: u32, key: &[u8; 32], now_s: u64) -> NoiseCertificate {
    let details = CertificateDetails {
        serial: Some(serial),
        issuer_serial: Some(issuer_serial),
        key: Some(key.to_vec()),
        not_before: Some(now_s.saturating_sub(VALID_BEFORE_S)),
        not_after: Some(now_s.saturating_add(VALID_AFTER_S)),
    }
    .encode_to_vec();
    NoiseCertificate {
        signature: Some(issuer.sign(&details).to_vec()),
        details: Some(details),
    }
}

/// Checks a chain as a strict client does: both signatures, the serials' links, the server's key.
pub fn verify_chain(chain: &[u8], root: &[u8; 32], server_key: &[u8; 32]) -> Result<(), NoiseError> {
    let chain = CertChain::decode(chain)?;
    let intermediate = verify(chain.intermediate, root)?;
    let signer = key_of(&intermediate)?;
    let leaf = verify(chain.leaf, &signer)?;
    if intermediate.issuer_serial != Some(ROOT_SERIAL) || leaf.issuer_serial != intermediate.serial {
        return Err(NoiseError::Certificate("serials do not link"));
    }
    if key_of(&leaf)? != *server_key {
        return Err(NoiseError::Certificate("leaf key is not the server's"));
    }
    Ok(())
}

fn verify(
    certificate: Option<NoiseCertificate>,
    signer: &[u8; 32],
) -> Result<CertificateDetails, NoiseError> {
    let certificate = certificate.ok_or(NoiseError::Missing("certificate"))?;
    let details = certificate
        .details
        .ok_or(NoiseError::Missing("certificate details"))?;
    let signature: [u8; 64] = certificate
        .signature
        .and_then(|signature| signature.try_into().ok())
        .ok_or(NoiseError::Certificate("signature has the wrong length"))?;
    if !xeddsa_verify(signer, &details, &signature) {
        return Err(NoiseError::Certificate("signature does not verify"));
    }
    Ok(CertificateDetails::decode(details.as_slice())?)
}

fn key_of(details: &CertificateDetails) -> Result<[u8; 32], NoiseError> {
    details
        .key
        .as_deref()
        .and_then(|key| key.try_into().ok())
        .ok_or(NoiseError::Certificate("key has the wrong length"))
}
