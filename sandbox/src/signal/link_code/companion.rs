//! The companion's side of linking by code, for tests.

use aes_gcm::Nonce;
use aes_gcm::aead::Aead;

use super::{
    CODE_CHARACTERS, LinkCode, LinkCodeError, WRAPPED_KEY_BYTES, bundle_cipher, derive_secret, unwrap_key,
    wrap_key,
};
use crate::signal::keys::KeyPair;
use crate::signal::primitive::random_bytes;

/// A companion that shows a code and waits for a phone.
pub struct CompanionLink {
    code: LinkCode,
    ephemeral: KeyPair,
}

impl CompanionLink {
    /// Makes a code and the wrapped key to send with the request.
    pub fn hello() -> (Self, [u8; WRAPPED_KEY_BYTES]) {
        let code = LinkCode(random_bytes::<8>().map(|byte| CODE_CHARACTERS[usize::from(byte % 32)]));
        let ephemeral = KeyPair::generate();
        let wrapped = wrap_key(&code, ephemeral.public());
        (Self { code, ephemeral }, wrapped)
    }

    /// The code as it is shown.
    pub fn shown(&self) -> String {
        let code = String::from_utf8_lossy(&self.code.0);
        format!("{}-{}", &code[..4], &code[4..])
    }

    /// Answers the phone: the key bundle to send, and the secret.
    pub fn finish(
        &self,
        identity: &KeyPair,
        wrapped_primary: &[u8],
        primary_identity: &[u8; 32],
    ) -> Result<(Vec<u8>, [u8; 32]), LinkCodeError> {
        let primary = unwrap_key(&self.code, wrapped_primary)?;
        let shared = self.ephemeral.agree(&primary);
        let (salt, nonce) = (random_bytes::<32>(), random_bytes::<12>());
        let random = random_bytes::<32>();
        let keys = [*identity.public(), *primary_identity, random].concat();
        let sealed = bundle_cipher(&shared, &salt)
            .encrypt(&Nonce::from(nonce), keys.as_slice())
            .expect("a bundle is far below the size limit of AES-GCM");
        let secret = derive_secret(&shared, &identity.agree(primary_identity), &random);
        Ok(([salt.as_slice(), &nonce, &sealed].concat(), secret))
    }
}
