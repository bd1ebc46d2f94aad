//! How many connections one address may have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Bits of an IPv6 address that name a subscriber: what follows is theirs to choose.
const SUBSCRIBER: u128 = !0 << 64;

/// Open connections by address, at most so many each.
#[derive(Debug)]
pub(super) struct Shares {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

/// One connection's part; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Shares {
    pub(super) fn new(most: usize) -> Self {
        Self {
            open: Arc::default(),
            most,
        }
    }

    pub(super) fn take(&self, peer: IpAddr) -> Option<Share> {
        let address = match peer {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & SUBSCRIBER)),
            address => address,
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share {
            open: Arc::clone(&self.open),
            address,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let shares = Shares::new(1);
        let take = |address: &str| shares.take(address.parse().unwrap());
        let first = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        let _other = take("192.0.2.2").unwrap();
        drop(first);
        assert!(take("192.0.2.1").is_some());
        let _subscriber = take("2001:db8::1").unwrap();
        assert!(take("2001:db8::ffff").is_none());
        assert!(take("2001:db8:0:1::1").is_some());
        assert_eq!(shares.open.lock().unwrap().len(), 2);
    }
}
