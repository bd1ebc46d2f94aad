//! The X3DH handshake, from both ends.

use super::chain::handshake_keys;
use super::state::{PendingPrekey, State};
use super::{LocalKeys, Remote};
use crate::signal::keys::KeyPair;

/// Precedes the agreements: it cannot be the encoding of a curve point, so the input of a handshake
/// is never that of another use of the same keys.
const DISCONTINUITY: [u8; 32] = [0xff; 32];

pub(super) fn initiate(identity: &KeyPair, remote: &Remote) -> State {
    let base = KeyPair::generate();
    let mut secrets = Vec::with_capacity(160);
    secrets.extend_from_slice(&DISCONTINUITY);
    secrets.extend_from_slice(&identity.agree(&remote.signed_prekey));
    secrets.extend_from_slice(&base.agree(&remote.identity));
    secrets.extend_from_slice(&base.agree(&remote.signed_prekey));
    if let Some((_, prekey)) = &remote.prekey {
        secrets.extend_from_slice(&base.agree(prekey));
    }
    let (root, chain) = handshake_keys(&secrets);
    let pending = PendingPrekey {
        prekey_id: remote.prekey.map(|(id, _)| id),
        signed_prekey_id: remote.signed_prekey_id,
    };
    State::of_initiator(
        *base.public(),
        remote.identity,
        remote.signed_prekey,
        root,
        chain,
        pending,
    )
}

pub(super) fn respond(local: &LocalKeys<'_>, identity: &[u8; 32], base_key: &[u8; 32]) -> State {
    let mut secrets = Vec::with_capacity(160);
    secrets.extend_from_slice(&DISCONTINUITY);
    secrets.extend_from_slice(&local.signed_prekey.agree(identity));
    secrets.extend_from_slice(&local.identity.agree(base_key));
    secrets.extend_from_slice(&local.signed_prekey.agree(base_key));
    if let Some(one_time) = local.one_time {
        secrets.extend_from_slice(&one_time.agree(base_key));
    }
    let (root, chain) = handshake_keys(&secrets);
    State::of_responder(*base_key, *identity, local.signed_prekey.clone(), root, chain)
}
