//! Stream tokens: what a browser puts into the URL of an EventSource or a WebSocket in place of a key.
//!
//! `rst_stream_<base64url of payload and MAC>`. A token opens streams of events and nothing else, until
//! it expires, and only as long as the key that made it is valid: the key is looked up each time. No row
//! is kept of it, so a restart changes nothing, and every gateway with the same master key takes it.

use roost_domain::event::EventFilter;
use roost_domain::store::Keys;
use roost_domain::webhook::EventPattern;
use roost_domain::{ErrorCode, InstanceId, TenantId, Timestamp};
use subtle::ConstantTimeEq;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::caller::covers;
use crate::api_key::KeyText;
use crate::http::problem::{Answer, Problem};

const MARK: &str = "rst_stream_";
const VERSION: u8 = 1;
const MAC_BYTES: usize = 32;
/// Longest text that is looked at; the longest that is made is shorter.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Types that one token can name.
pub const TYPES_MAX: usize = 20;
/// Instances that one token can name.
pub const INSTANCES_MAX: usize = 20;

/// What a token leaves of what its key may see; empty lists restrict nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// Only these types and families.
    pub types: Vec<EventPattern>,
    /// Only these instances.
    pub instances: Vec<InstanceId>,
}

/// A token. Whether it is genuine is asked by [`StreamToken::is_ours`].
#[derive(Debug, Clone)]
pub struct StreamToken {
    payload: Vec<u8>,
    mac: [u8; MAC_BYTES],
    claims: Claims,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Public part of the key that made it.
    pub prefix: String,
    /// The key's tenant.
    pub tenant: TenantId,
    /// From when on it opens nothing.
    pub expires_at: Timestamp,
    /// What it leaves of what the key may see.
    pub narrowing: Narrowing,
}

impl Narrowing {
    /// Cuts a filter to what the token shows. Naming what it does not show is refused.
    pub(super) fn apply(&self, mut filter: EventFilter) -> Answer<EventFilter> {
        let closed = |what: &str| {
            let detail = format!("this stream token is for other {what}");
            Err(Problem::new(ErrorCode::Forbidden, detail))
        };
        if filter.instances.is_empty() {
            filter.instances.clone_from(&self.instances);
        } else if !self.instances.is_empty()
            && filter
                .instances
                .iter()
                .any(|wanted| !self.instances.contains(wanted))
        {
            return closed("instances");
        }
        let shows = |wanted| self.types.iter().any(|shown| covers(shown, wanted));
        if filter.types.is_empty() {
            filter.types.clone_from(&self.types);
        } else if !self.types.is_empty() && !filter.types.iter().all(shows) {
            return closed("types of events");
        }
        Ok(filter)
    }
}

impl StreamToken {
    /// Makes a token's text.
    pub fn write(claims: &Claims, store: &(impl Keys + ?Sized)) -> String {
        let mut bytes = claims.to_bytes();
        let mac = store.stream_token_mac(&bytes);
        bytes.extend_from_slice(&mac);
        format!("{MARK}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a text of the right form.
    pub fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(MARK)?;
        if encoded.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut payload = BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let mac = payload.split_off(payload.len().checked_sub(MAC_BYTES)?);
        Some(Self {
            claims: Claims::from_bytes(&payload)?,
            mac: mac.try_into().ok()?,
            payload,
        })
    }

    /// Whether it was made here.
    pub fn is_ours(&self, store: &(impl Keys + ?Sized)) -> bool {
        bool::from(store.stream_token_mac(&self.payload).ct_eq(&self.mac))
    }

    /// Public part of the key that made it.
    pub fn prefix(&self) -> &str {
        &self.claims.prefix
    }

    /// The key's tenant.
    pub fn tenant(&self) -> TenantId {
        self.claims.tenant
    }

    /// From when on it opens nothing.
    pub fn expires_at(&self) -> Timestamp {
        self.claims.expires_at
    }

    /// What it leaves of what the key may see.
    pub fn narrowing(&self) -> &Narrowing {
        &self.claims.narrowing
    }
}

impl Claims {
    /// Version, prefix, tenant, expiry, then the lists, each behind its length.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.prefix.as_bytes());
        bytes.extend_from_slice(&self.tenant.to_u128().to_be_bytes());
        bytes.extend_from_slice(&self.expires_at.unix_ms().to_be_bytes());
        let Narrowing { types, instances } = &self.narrowing;
        bytes.push(length(types));
        for pattern in types {
            let name = pattern.to_string();
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes.push(length(instances));
        for instance in instances {
            bytes.extend_from_slice(&instance.to_u128().to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        (take::<1>(&mut rest)? == [VERSION]).then_some(())?;
        let prefix = take::<{ KeyText::PREFIX_CHARS }>(&mut rest)?;
        let tenant = u128::from_be_bytes(take(&mut rest)?);
        let expires_at = Timestamp::from_unix_ms(i64::from_be_bytes(take(&mut rest)?));
        let [types] = take(&mut rest)?;
        let types = (0..types).map(|_| {
            let [length] = take(&mut rest)?;
            let (name, after) = rest.split_at_checked(usize::from(length))?;
            rest = after;
            std::str::from_utf8(name).ok()?.parse().ok()
        });
        let types = types.collect::<Option<Vec<EventPattern>>>()?;
        let [instances] = take(&mut rest)?;
        let instances = (0..instances).map(|_| {
            let bits = u128::from_be_bytes(take(&mut rest)?);
            Some(InstanceId::from_parts(unix_ms(bits)?, bits & RANDOM))
        });
        let instances = instances.collect::<Option<Vec<InstanceId>>>()?;
        rest.is_empty().then_some(())?;
        Some(Self {
            prefix: String::from_utf8(prefix.to_vec()).ok()?,
            tenant: TenantId::from_parts(unix_ms(tenant)?, tenant & RANDOM),
            expires_at,
            narrowing: Narrowing { types, instances },
        })
    }
}

/// The random bits of an id; those above are its time.
const RANDOM: u128 = (1 << 80) - 1;

fn unix_ms(bits: u128) -> Option<u64> {
    u64::try_from(bits >> 80).ok()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

/// Whoever makes a token has checked the lists against limits below 256.
fn length<T>(list: &[T]) -> u8 {
    u8::try_from(list.len()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            prefix: "abcdefghijkm".into(),
            tenant: TenantId::from_parts(1_800_000_000_000, 7),
            expires_at: Timestamp::from_unix_ms(1_800_000_300_000),
            narrowing: Narrowing {
                types: vec!["message.*".parse().unwrap(), "custom.a".parse().unwrap()],
                instances: vec![InstanceId::from_parts(1_800_000_000_001, RANDOM)],
            },
        }
    }

    #[test]
    fn claims_are_read_as_they_are_written() {
        for claims in [
            claims(),
            Claims {
                narrowing: Narrowing::default(),
                ..claims()
            },
        ] {
            assert_eq!(Claims::from_bytes(&claims.to_bytes()), Some(claims));
        }
    }

    #[test]
    fn claims_that_are_cut_or_longer_are_refused() {
        let bytes = claims().to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Claims::from_bytes(&bytes[..end]), None, "{end}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Claims::from_bytes(&longer), None);
        let mut later = bytes;
        later[0] = VERSION + 1;
        assert_eq!(Claims::from_bytes(&later), None);
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let short = format!("{MARK}{}", BASE64_URL_SAFE_NO_PAD.encode([1; 31]));
        let long = format!("{MARK}{}", "A".repeat(TEXT_BYTES_MAX + 1));
        for wrong in ["", "rst_", MARK, "rst_stream_!", &short, &long] {
            assert!(StreamToken::parse(wrong).is_none(), "{wrong:.40}");
        }
    }

    #[test]
    fn a_token_shows_what_it_names_and_refuses_the_rest() {
        let narrowing = claims().narrowing;
        let own = narrowing.instances[0];
        let other = InstanceId::from_parts(1, 1);
        let filter = |types: &[&str], instances: &[InstanceId]| EventFilter {
            types: types.iter().map(|text| text.parse().unwrap()).collect(),
            instances: instances.to_vec(),
        };
        let all = narrowing.apply(filter(&[], &[])).unwrap();
        assert_eq!((all.types, all.instances), (narrowing.types.clone(), vec![own]));
        let some = narrowing
            .apply(filter(&["message.sent", "custom.a"], &[own]))
            .unwrap();
        assert_eq!(some.types.len(), 2);
        for wrong in [
            filter(&["*"], &[]),
            filter(&["custom.*"], &[]),
            filter(&["message.sent", "instance.qr"], &[]),
            filter(&[], &[other]),
            filter(&[], &[own, other]),
        ] {
            assert_eq!(narrowing.apply(wrong).unwrap_err().code(), ErrorCode::Forbidden);
        }
    }
}
