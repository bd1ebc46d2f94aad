//! Which addresses are posted to: pure, asked for every address before it is connected to.
//!
//! Only what is globally reachable passes, and of that no address that carries another one in it,
//! because the other one is where the packet ends. An operator may allow networks of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Decides on addresses.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub &'static str);

/// Where clouds tell a machine its credentials: in networks that an operator may allow for another
/// reason. Each is allowed only by its own address.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(first: u16, second: u16, third: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0), length)
}

/// What is not globally reachable, after the registries of special addresses (RFC 6890) of IANA. The
/// first that holds the address names it.
const SPECIAL_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 32), "unspecified"),
    (v4(0, 0, 0, 0, 8), "of this network"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "of a carrier's network"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "reserved"),
    (v4(192, 0, 2, 0, 24), "for documentation"),
    (v4(192, 31, 196, 0, 24), "reserved"),
    (v4(192, 52, 193, 0, 24), "reserved"),
    (v4(192, 88, 99, 0, 24), "of a 6to4 relay"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(192, 175, 48, 0, 24), "reserved"),
    (v4(198, 18, 0, 0, 15), "for benchmarks"),
    (v4(198, 51, 100, 0, 24), "for documentation"),
    (v4(203, 0, 113, 0, 24), "for documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// The same for IPv6, and what is outside of global unicast (2000::/3) with a name of its own.
const SPECIAL_V6: &[(Ipv6Net, &str)] = &[
    (v6(0x2001, 0, 0, 32), "of a Teredo tunnel"),
    (v6(0x2001, 2, 0, 48), "for benchmarks"),
    (v6(0x2001, 0, 0, 23), "reserved"),
    (v6(0x2001, 0xdb8, 0, 32), "for documentation"),
    (v6(0x2002, 0, 0, 16), "of a 6to4 tunnel"),
    (v6(0x2620, 0x4f, 0x8000, 48), "reserved"),
    (v6(0x3fff, 0, 0, 20), "for documentation"),
    (v6(0x64, 0xff9b, 1, 48), "of a local NAT64"),
    (v6(0x100, 0, 0, 64), "discarded"),
    (v6(0xfc00, 0, 0, 7), "private"),
    (v6(0xfe80, 0, 0, 10), "link-local"),
    (v6(0xfec0, 0, 0, 10), "site-local"),
    (v6(0xff00, 0, 0, 8), "multicast"),
];

const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);
/// NAT64 that is used everywhere: behind it are IPv4 addresses of the whole Internet.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
/// IPv4-compatible addresses, gone from use; loopback and unspecified are among them.
const V4_COMPATIBLE: Ipv6Net = v6(0, 0, 0, 96);

impl AddressPolicy {
    /// Refuses what is not globally reachable, beside these networks.
    pub fn new(allowed: &[IpNet]) -> Self {
        Self {
            allowed: allowed.iter().map(IpNet::trunc).collect(),
        }
    }

    /// Whether an operator has allowed networks: then names that are only known within them make sense.
    pub fn allows_own_networks(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// Whether the address may be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        // ::ffff:a.b.c.d is a.b.c.d in another spelling: the kernel connects to a.b.c.d.
        let address = address.to_canonical();
        let embedded = match address {
            IpAddr::V6(v6) if NAT64.contains(&v6) => Some(IpAddr::V4(last_v4(v6))),
            _ => None,
        };
        for address in [Some(address), embedded].into_iter().flatten() {
            if METADATA.contains(&address) {
                let alone = IpNet::from(address);
                return if self.allowed.contains(&alone) {
                    Ok(())
                } else {
                    Err(Refused("of a cloud's metadata service"))
                };
            }
        }
        if self.allowed.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        match (address, embedded) {
            (_, Some(IpAddr::V4(inner))) | (IpAddr::V4(inner), _) => check_v4(inner),
            (IpAddr::V6(address), _) => check_v6(address),
        }
    }
}

fn check_v4(address: Ipv4Addr) -> Result<(), Refused> {
    match SPECIAL_V4.iter().find(|(network, _)| network.contains(&address)) {
        Some((_, what)) => Err(Refused(what)),
        None => Ok(()),
    }
}

fn check_v6(address: Ipv6Addr) -> Result<(), Refused> {
    if address.is_unspecified() {
        return Err(Refused("unspecified"));
    }
    if address.is_loopback() {
        return Err(Refused("loopback"));
    }
    if V4_COMPATIBLE.contains(&address) {
        return Err(Refused("IPv4-compatible"));
    }
    if let Some((_, what)) = SPECIAL_V6.iter().find(|(network, _)| network.contains(&address)) {
        return Err(Refused(what));
    }
    if !GLOBAL_UNICAST.contains(&address) {
        return Err(Refused("reserved"));
    }
    let segments = address.segments();
    // ISATAP: a router in between may send it on to the IPv4 address at its end.
    if matches!(segments[4], 0 | 0x200) && segments[5] == 0x5efe {
        return Err(Refused("of an ISATAP tunnel"));
    }
    Ok(())
}

fn last_v4(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}
