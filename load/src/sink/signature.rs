//! The signature of a delivery, as the Standard Webhooks specification describes it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Whether one of the signatures in `signatures` is that of the key.
pub fn verify(key: &[u8], id: &str, timestamp: &str, body: &[u8], signatures: &str) -> bool {
    let mut texts = signatures.split(' ').filter_map(|text| text.strip_prefix("v1,"));
    texts.any(|text| {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
            return false;
        };
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        STANDARD
            .decode(text)
            .is_ok_and(|signature| mac.verify_slice(&signature).is_ok())
    })
}

/// The bytes of a secret `whsec_…`.
pub fn key(secret: &str) -> Option<Vec<u8>> {
    STANDARD.decode(secret.strip_prefix("whsec_")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_fits_its_key_id_time_and_body_only() {
        // The example of the specification's libraries.
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, time) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330");
        let body = br#"{"test": 2432232314}"#;
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert!(verify(&key, id, time, body, signature));
        let rotated = format!("v1,AAAA {signature}");
        assert!(verify(&key, id, time, body, &rotated));
        assert!(!verify(&key, id, "1614265331", body, signature));
        assert!(!verify(&key, id, time, b"{}", signature));
        assert!(!verify(b"another key", id, time, body, signature));
        assert!(!verify(&key, id, time, body, ""));
    }
}
