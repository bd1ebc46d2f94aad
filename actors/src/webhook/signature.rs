//! Signatures: Standard Webhooks, and for those who know nothing else the header of WebSub.
//!
//! The key of both is the bytes of the secret, that is what follows `whsec_`, decoded from base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use roost_domain::webhook::WebhookSecret;
use roost_domain::{EventId, Timestamp};
use sha2::Sha256;

type HmacSha256 = Hmac<Sha256>;

/// Header with the event's id: the same at every attempt.
pub(super) const ID: &str = "webhook-id";
/// Header with the second in which the attempt was made.
pub(super) const TIMESTAMP: &str = "webhook-timestamp";
/// Header with one signature for each secret that signs.
pub(super) const SIGNATURE: &str = "webhook-signature";
/// Header with the signature of the body alone.
pub(super) const LEGACY: &str = "x-hub-signature-256";

/// Signs for one webhook. Its keys are set up once.
pub(super) struct Signer {
    keys: Vec<(HmacSha256, Option<Timestamp>)>,
}

impl Signer {
    /// `secrets` begins with the current one.
    pub fn new(secrets: &[WebhookSecret]) -> Self {
        let keyed = secrets.iter().filter_map(|secret| {
            // HMAC takes keys of any length.
            let mac = HmacSha256::new_from_slice(&secret.key).ok()?;
            Some((mac, secret.expires_at))
        });
        Self {
            keys: keyed.collect(),
        }
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: EventId, at: Timestamp, body: &[u8]) -> String {
        let head = format!("{id}.{}.", seconds(at));
        let mut value = String::with_capacity(48 * self.keys.len());
        for (mac, _) in self.keys.iter().filter(|(_, end)| end.is_none_or(|end| at < end)) {
            let mut mac = mac.clone();
            mac.update(head.as_bytes());
            mac.update(body);
            if !value.is_empty() {
                value.push(' ');
            }
            value.push_str("v1,");
            STANDARD.encode_string(mac.finalize().into_bytes(), &mut value);
        }
        value
    }

    /// The value of `X-Hub-Signature-256`, by the current secret.
    pub fn sign_legacy(&self, body: &[u8]) -> Option<String> {
        use std::fmt::Write as _;
        let (mac, _) = self.keys.first()?;
        let mut mac = mac.clone();
        mac.update(body);
        let mut value = String::from("sha256=");
        for byte in mac.finalize().into_bytes() {
            // A text takes what is written to it.
            let _ = write!(value, "{byte:02x}");
        }
        Some(value)
    }
}

/// The value of `webhook-timestamp`.
pub(super) fn seconds(at: Timestamp) -> i64 {
    at.unix_ms().div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(key: &[u8], expires_at: Option<i64>) -> WebhookSecret {
        WebhookSecret {
            key: key.to_vec(),
            expires_at: expires_at.map(Timestamp::from_unix_seconds),
        }
    }

    /// Computed with Python's hmac module.
    #[test]
    fn a_signature_is_hmac_over_id_time_and_body() {
        let signer = Signer::new(&[secret(&[7; 32], None)]);
        let id = EventId::from_parts(0, 1);
        assert_eq!(id.to_string(), "evt_00000000000000000000000001");
        let at = Timestamp::from_unix_ms(1_700_000_000_999);
        assert_eq!(signer.sign(id, at, b"{\"a\":1}"), EXPECTED);
        assert_eq!(signer.sign_legacy(b"{\"a\":1}").unwrap(), EXPECTED_LEGACY);
    }

    const EXPECTED: &str = "v1,Y44VVTTvmtP8lkvJ84H2IKiOAcjDrYONsmY5vSAxiHI=";
    const EXPECTED_LEGACY: &str = "sha256=0d733feec304f131c0dcbceb873c317e2bcc4789397082bd429646222a2eb027";

    #[test]
    fn a_replaced_secret_signs_until_its_end() {
        let signer = Signer::new(&[secret(&[1; 24], None), secret(&[2; 24], Some(100))]);
        let id = EventId::from_parts(0, 1);
        let count = |second| {
            let at = Timestamp::from_unix_seconds(second);
            signer.sign(id, at, b"{}").split(' ').count()
        };
        assert_eq!((count(99), count(100)), (2, 1));
    }
}
