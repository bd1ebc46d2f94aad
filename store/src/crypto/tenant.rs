//! A tenant's key, those derived from it, and what they seal.

use std::borrow::Cow;
use std::sync::Arc;

use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use roost_domain::store::StoreError;
use roost_domain::time::Entropy;
use roost_domain::{InstanceId, MessageId, TenantId, Timestamp, WebhookId};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Master;
use super::cipher::{
    Ciphers, KeyId, Kind, NONCE_BYTES, Scope, TAG_BYTES, expand, open_parts, seal_onto, seal_parts,
    too_short, unknown_key,
};
use super::sealed;

pub(crate) const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 4;
/// Bits of a time in milliseconds that one key serves: 49 days.
const TIME_SHARE_BITS: u32 = 32;
/// Bits of a place in the log that one key serves: a million events.
const SEQ_SHARE_BITS: u32 = 20;
/// Bits below the time in an id.
const ID_RANDOM_BITS: u32 = 80;

/// A tenant's key under each master key.
pub(crate) struct TenantKey {
    tenant: TenantId,
    /// The first one seals.
    roots: Vec<(KeyId, Hkdf<Sha256>)>,
    ciphers: Arc<Ciphers>,
    entropy: Arc<dyn Entropy>,
    _in_use: Arc<()>,
}

impl TenantKey {
    pub(super) fn new(
        tenant: TenantId,
        masters: &[Arc<Master>],
        salt: &[u8],
        ciphers: Arc<Ciphers>,
        in_use: Arc<()>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let roots = masters
            .iter()
            .map(|master| (master.id(), master.tenant_root(tenant, salt)))
            .collect();
        Self {
            tenant,
            roots,
            ciphers,
            entropy,
            _in_use: in_use,
        }
    }

    /// The key for an instance's own row and its link state.
    pub(crate) fn instance(&self, instance: InstanceId) -> ResourceKey<'_> {
        self.resource(Kind::Instance, instance.to_u128(), 0)
    }

    /// The key for a webhook's own row and its secrets.
    pub(crate) fn webhook(&self, webhook: WebhookId) -> ResourceKey<'_> {
        self.resource(Kind::Webhook, webhook.to_u128(), 0)
    }

    /// The key for the messages of an instance that are as old as this one.
    pub(crate) fn messages(&self, instance: InstanceId, message: MessageId) -> ResourceKey<'_> {
        let ms = (message.to_u128() >> ID_RANDOM_BITS) as u64;
        self.resource(Kind::Messages, instance.to_u128(), ms >> TIME_SHARE_BITS)
    }

    /// The key for a share of the tenant's log.
    pub(crate) fn events(&self, seq: i64) -> ResourceKey<'_> {
        self.resource(Kind::Events, 0, seq.unsigned_abs() >> SEQ_SHARE_BITS)
    }

    /// The key for answers that are kept until about then.
    pub(crate) fn replies(&self, expires_at: Timestamp) -> ResourceKey<'_> {
        let ms = expires_at.unix_ms().unsigned_abs();
        self.resource(Kind::Replies, 0, ms >> TIME_SHARE_BITS)
    }

    /// The key for a share of a webhook's deliveries.
    pub(crate) fn deliveries(&self, webhook: WebhookId, seq: i64) -> ResourceKey<'_> {
        let share = seq.unsigned_abs() >> SEQ_SHARE_BITS;
        self.resource(Kind::Deliveries, webhook.to_u128(), share)
    }

    fn resource(&self, kind: Kind, id: u128, share: u64) -> ResourceKey<'_> {
        let scope = Scope { kind, id, share };
        ResourceKey { of: self, scope }
    }

    /// A scope's cipher under a master key.
    fn cipher(&self, key: KeyId, scope: Scope) -> Result<Arc<Aes256Gcm>, StoreError> {
        let root = self.roots.iter().find(|(id, _)| *id == key);
        let (_, root) = root.ok_or_else(|| unknown_key(key))?;
        Ok(self.ciphers.get(key, self.tenant, scope, || derive(root, scope)))
    }
}

/// No two scopes share an info text: they differ in their first word or in length.
fn derive(root: &Hkdf<Sha256>, scope: Scope) -> Aes256Gcm {
    let (id, share) = (scope.id.to_be_bytes(), scope.share.to_be_bytes());
    let mut key = Zeroizing::new([0; 32]);
    match scope.kind {
        Kind::Instance => expand(root, &[b"instance", &id], &mut *key),
        Kind::Webhook => expand(root, &[b"webhook", &id], &mut *key),
        Kind::Messages => expand(root, &[b"messages", &id, &share], &mut *key),
        Kind::Events => expand(root, &[b"events", &share], &mut *key),
        Kind::Replies => expand(root, &[b"replies", &share], &mut *key),
        Kind::Deliveries => expand(root, &[b"deliveries", &id, &share], &mut *key),
    }
    Aes256Gcm::new((&*key).into())
}

/// Seals and opens values of one scope.
#[derive(Clone, Copy)]
pub(crate) struct ResourceKey<'a> {
    of: &'a TenantKey,
    scope: Scope,
}

/// What row a value belongs to, within what its key is for.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// A row of the link state.
    LinkState { collection: i16, key: &'a str },
    /// The proxy in the instance's own row.
    Proxy,
    /// The headers in the webhook's own row.
    WebhookHeaders,
    /// The URL in the webhook's own row.
    WebhookUrl,
    /// A row of the webhook's secrets.
    WebhookSecret { number: i64 },
    /// A message's body.
    Message { id: MessageId },
    /// An event's payload.
    Event { seq: i64 },
    /// An answer kept for a repeated request.
    Reply { key: &'a str },
    /// An attempt of a delivery.
    Attempt { seq: i64 },
}

impl ResourceKey<'_> {
    pub(crate) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (id, _) = self.of.roots[0];
        let cipher = self.of.cipher(id, self.scope)?;
        let mut sealed = Vec::with_capacity(HEAD_BYTES + NONCE_BYTES + plain.len() + TAG_BYTES);
        sealed.push(VERSION);
        sealed.extend_from_slice(&id.0);
        seal_onto(&mut sealed, &cipher, &self.nonce(), &self.identity(place), plain)?;
        Ok(sealed)
    }

    pub(crate) fn open(&self, place: Place<'_>, mut sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let id = key_of(&sealed).ok_or_else(too_short)?;
        let cipher = self.of.cipher(id, self.scope)?;
        sealed.drain(..HEAD_BYTES);
        open_parts(&cipher, sealed, &self.identity(place))
    }

    /// A ciphertext as text.
    pub(crate) fn seal_text(&self, place: Place<'_>, plain: &str) -> Result<String, StoreError> {
        let (id, _) = self.of.roots[0];
        let cipher = self.of.cipher(id, self.scope)?;
        let bytes = seal_parts(&cipher, &self.nonce(), &self.identity(place), plain.as_bytes())?;
        Ok(sealed::write(id, &bytes))
    }

    /// What a stored text says, whether it is sealed or not.
    pub(crate) fn open_text<'t>(
        &self,
        place: Place<'_>,
        stored: &'t str,
    ) -> Result<Cow<'t, str>, StoreError> {
        if !sealed::is_sealed(stored) {
            return Ok(Cow::Borrowed(stored));
        }
        let (id, bytes) = sealed::read(stored)?;
        let cipher = self.of.cipher(id, self.scope)?;
        let plain = open_parts(&cipher, bytes, &self.identity(place))?;
        String::from_utf8(plain)
            .map(Cow::Owned)
            .map_err(|_| StoreError::Corrupt("an encrypted text is not text".to_owned()))
    }

    fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        self.of.entropy.fill(&mut nonce);
        nonce
    }

    /// The associated data. Fields of fixed length come first and the key last, so that no two rows
    /// share one.
    fn identity(&self, place: Place<'_>) -> Vec<u8> {
        let mut identity = Vec::with_capacity(96);
        identity.extend_from_slice(&self.of.tenant.to_u128().to_be_bytes());
        identity.extend_from_slice(&self.scope.id.to_be_bytes());
        match place {
            Place::LinkState { collection, key } => {
                identity.push(b'l');
                identity.extend_from_slice(&collection.to_be_bytes());
                identity.extend_from_slice(key.as_bytes());
            }
            Place::Proxy => identity.push(b'p'),
            Place::WebhookHeaders => identity.push(b'h'),
            Place::WebhookUrl => identity.push(b'u'),
            Place::WebhookSecret { number } => numbered(&mut identity, b's', number),
            Place::Message { id } => {
                identity.push(b'm');
                identity.extend_from_slice(&id.to_u128().to_be_bytes());
            }
            Place::Event { seq } => numbered(&mut identity, b'e', seq),
            Place::Reply { key } => {
                identity.push(b'r');
                identity.extend_from_slice(key.as_bytes());
            }
            Place::Attempt { seq } => numbered(&mut identity, b'a', seq),
        }
        identity
    }
}

fn numbered(identity: &mut Vec<u8>, tag: u8, number: i64) {
    identity.push(tag);
    identity.extend_from_slice(&number.to_be_bytes());
}

/// The master key under which a binary value is sealed.
pub(crate) fn key_of(sealed: &[u8]) -> Option<KeyId> {
    let (head, _) = sealed.split_first_chunk::<HEAD_BYTES>()?;
    let [version, id @ ..] = *head;
    (version == VERSION).then_some(KeyId(id))
}
