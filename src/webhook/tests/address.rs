use std::net::IpAddr;

use ipnet::IpNet;

use crate::webhook::address::{AddressPolicy, Refused};

fn check(allowed: &[&str], address: &str) -> Result<(), Refused> {
    let allowed: Vec<IpNet> = allowed.iter().map(|network| network.parse().unwrap()).collect();
    AddressPolicy::new(&allowed).check(address.parse::<IpAddr>().unwrap())
}

#[test]
fn what_is_not_public_is_refused_by_its_name() {
    for (address, what) in [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "of this network"),
        ("10.0.0.0", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.1", "of a carrier's network"),
        ("100.127.255.255", "of a carrier's network"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.1.1", "link-local"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.8", "reserved"),
        ("192.0.2.1", "for documentation"),
        ("192.31.196.1", "reserved"),
        ("192.52.193.1", "reserved"),
        ("192.88.99.1", "of a 6to4 relay"),
        ("192.168.0.1", "private"),
        ("192.175.48.1", "reserved"),
        ("198.18.0.1", "for benchmarks"),
        ("198.19.255.255", "for benchmarks"),
        ("198.51.100.7", "for documentation"),
        ("203.0.113.7", "for documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::8.8.8.8", "IPv4-compatible"),
        ("::127.0.0.1", "IPv4-compatible"),
        ("::ffff:0:8.8.8.8", "reserved"),
        ("64:ff9b:1::8.8.8.8", "of a local NAT64"),
        ("64:ff9b:0:0:1::1", "reserved"),
        ("100::1", "discarded"),
        ("2001:0:53aa:64c::1", "of a Teredo tunnel"),
        ("2001:2::1", "for benchmarks"),
        ("2001:10::1", "reserved"),
        ("2001:1ff:ffff::1", "reserved"),
        ("2001:db8::1", "for documentation"),
        ("2002:0a00:0001::1", "of a 6to4 tunnel"),
        ("2002:0808:0808::1", "of a 6to4 tunnel"),
        ("2620:4f:8000::1", "reserved"),
        ("3fff:fff::1", "for documentation"),
        ("4000::1", "reserved"),
        ("5f00::1", "reserved"),
        ("fc00::1", "private"),
        ("fdff::1", "private"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("2a00:1450::5efe:10.0.0.1", "of an ISATAP tunnel"),
        ("2a00:1450::200:5efe:8.8.8.8", "of an ISATAP tunnel"),
    ] {
        assert_eq!(check(&[], address), Err(Refused(what)), "{address}");
    }
}

#[test]
fn an_ipv4_address_in_another_spelling_is_judged_as_what_it_is() {
    for (address, what) in [
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:a9fe:1", "link-local"),
        ("64:ff9b::10.0.0.1", "private"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::c0a8:101", "private"),
    ] {
        assert_eq!(check(&[], address), Err(Refused(what)), "{address}");
    }
    for address in ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8"] {
        assert_eq!(check(&[], address), Ok(()), "{address}");
    }
}

#[test]
fn the_neighbours_of_what_is_refused_are_public() {
    for address in [
        "1.0.0.0",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.112.255",
        "223.255.255.255",
        "168.63.129.15",
        "2000::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a00:1450:4001::200e",
        "3ffe:ffff::1",
    ] {
        assert_eq!(check(&[], address), Ok(()), "{address}");
    }
}

#[test]
fn allowed_networks_are_reached_and_nothing_beside_them() {
    let allowed = &["10.1.0.0/16", "127.0.0.1/32", "::1/128", "fd12::/16"];
    for address in [
        "10.1.2.3",
        "127.0.0.1",
        "::ffff:10.1.2.3",
        "::1",
        "fd12::5",
        "8.8.8.8",
    ] {
        assert_eq!(check(allowed, address), Ok(()), "{address}");
    }
    for address in [
        "10.2.0.1",
        "127.0.0.2",
        "fd13::1",
        "64:ff9b::10.1.2.3",
        "::10.1.2.3",
    ] {
        assert!(check(allowed, address).is_err(), "{address}");
    }
}

#[test]
fn a_network_is_read_by_its_prefix_not_by_its_spelling() {
    assert_eq!(check(&["10.1.2.3/16"], "10.1.200.1"), Ok(()));
}

#[test]
fn metadata_services_are_allowed_only_by_their_own_address() {
    let metadata = Err(Refused("of a cloud's metadata service"));
    for address in [
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
    ] {
        assert_eq!(check(&[], address), metadata, "{address}");
        assert_eq!(check(&["0.0.0.0/0", "::/0"], address), metadata, "{address}");
    }
    assert_eq!(check(&["169.254.169.254/32"], "169.254.169.254"), Ok(()));
    assert_eq!(check(&["169.254.169.254/32"], "169.254.169.253"), metadata);
    assert_eq!(check(&["fd00:ec2::254/128"], "fd00:ec2::254"), Ok(()));
}
