use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proptest::prelude::*;
use roost_domain::webhook::client::TargetError;

use crate::webhook::address::AddressPolicy;
use crate::webhook::target::{Target, TargetPolicy};

fn policy() -> TargetPolicy {
    TargetPolicy {
        allow_http: false,
        ports: Vec::new(),
        addresses: Arc::new(AddressPolicy::default()),
    }
}

fn lenient() -> TargetPolicy {
    TargetPolicy {
        allow_http: true,
        ports: Vec::new(),
        addresses: Arc::new(AddressPolicy::new(&["127.0.0.0/8".parse().unwrap()])),
    }
}

fn read(url: &str) -> Result<Target, TargetError> {
    policy().read(url)
}

#[test]
fn a_public_url_is_taken_in_normal_form() {
    for (url, uri, host) in [
        ("https://example.com", "https://example.com/", "example.com:443"),
        (
            "HTTPS://Example.COM:443/a?b=c",
            "https://example.com/a?b=c",
            "example.com:443",
        ),
        (
            "https://example.com:8443/x",
            "https://example.com:8443/x",
            "example.com:8443",
        ),
        (
            "https://a_b.example.com/",
            "https://a_b.example.com/",
            "a_b.example.com:443",
        ),
        (
            "https://bücher.example/ü",
            "https://xn--bcher-kva.example/%C3%BC",
            "xn--bcher-kva.example:443",
        ),
        ("https://8.8.8.8/", "https://8.8.8.8/", "8.8.8.8:443"),
        ("https://0x8080808/", "https://8.8.8.8/", "8.8.8.8:443"),
        (
            "https://[2606:4700::1111]/",
            "https://[2606:4700::1111]/",
            "[2606:4700::1111]:443",
        ),
        (
            "https://example.com/a/../b",
            "https://example.com/b",
            "example.com:443",
        ),
        (
            "https://example.com/?q={}|",
            "https://example.com/?q={}|",
            "example.com:443",
        ),
    ] {
        let target = read(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(target.uri.to_string(), uri);
        assert_eq!(&*target.host, host);
    }
}

#[test]
fn every_spelling_of_a_forbidden_address_is_seen_through() {
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0X7F.1",
        "017700000001",
        "0177.0.0.1",
        "0177.0.0.0x1",
        "127.0.0.%31",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "127．0．0．1",
        "127｡0｡0｡1",
        "①②⑦.⓪.⓪.①",
        "0",
        "0.0.0.0",
        "10.1",
        "0xa9fea9fe",
        "2852039166",
        "169.254.43518",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00:ec2::254]",
    ] {
        let url = format!("https://{host}/hook");
        assert!(
            matches!(read(&url), Err(TargetError::Forbidden(_))),
            "{url}: {:?}",
            read(&url)
        );
    }
}

#[test]
fn local_names_are_refused_unless_own_networks_are_allowed() {
    for host in [
        "localhost",
        "LOCALHOST",
        "ｌｏｃａｌｈｏｓｔ",
        "a.localhost",
        "printer.local",
        "metadata.google.internal",
        "db.internal",
        "x.home.arpa",
        "router.lan",
        "server.localdomain",
    ] {
        let url = format!("https://{host}/");
        assert!(
            matches!(read(&url), Err(TargetError::Forbidden(_))),
            "{url}: {:?}",
            read(&url)
        );
        lenient().read(&url).unwrap();
    }
    for host in [
        "notlocalhost.com",
        "local.example",
        "internal.example.com",
        "mylocal.dev",
    ] {
        read(&format!("https://{host}/")).unwrap();
    }
}

#[test]
fn what_is_not_a_plain_absolute_url_is_refused() {
    let long = format!("https://example.com/{}", "a".repeat(2048));
    let label = format!("https://{}.com/", "a".repeat(64));
    let name = format!("https://{}com/", "abcdefgh.".repeat(30));
    for url in [
        "",
        "example.com",
        "/hook",
        "//example.com/",
        "https:example.com",
        "https:/example.com",
        "https:///example.com",
        "https://",
        "https:\\\\example.com",
        "https://example.com\\@evil.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "ws://example.com/",
        "javascript://example.com/",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://@example.com/",
        "https://:@example.com/",
        "https://example.com/#fragment",
        "https://example.com/#",
        "https://example.com./",
        "https://exa mple.com/",
        "https://example.com/a b",
        "https://exam\tple.com/",
        "https://example.com/\r\nx: y",
        " https://example.com/",
        "https://example.com/\u{0}",
        "https://example..com/",
        "https://.example.com/",
        "https://exa$mple.com/",
        "https://exa%00mple.com/",
        "https://*.example.com/",
        "https://256.256.256.256/",
        "https://1.2.3.4.5/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://example.com:99999/",
        "https://example.com:-1/",
        "https://xn--a/",
        &long,
        &label,
        &name,
    ] {
        assert!(
            matches!(read(url), Err(TargetError::Invalid(_))),
            "{url}: {:?}",
            read(url)
        );
    }
}

#[test]
fn http_needs_permission() {
    assert!(matches!(
        read("http://example.com/"),
        Err(TargetError::Invalid(_))
    ));
    let target = lenient().read("http://example.com/").unwrap();
    assert_eq!(&*target.host, "example.com:80");
}

#[test]
fn ports_follow_the_policy() {
    for port in [443, 80, 8080, 8443, 1024, 3000, 9000, 65535] {
        read(&format!("https://example.com:{port}/")).unwrap();
    }
    for port in [
        1, 22, 25, 53, 111, 445, 465, 587, 1023, 2375, 3306, 5432, 6379, 9200, 11211, 27017,
    ] {
        let url = format!("https://example.com:{port}/");
        assert!(matches!(read(&url), Err(TargetError::Forbidden(_))), "{url}");
    }
    assert!(matches!(
        read("https://example.com:0/"),
        Err(TargetError::Forbidden(_))
    ));
    let own = TargetPolicy {
        ports: vec!["443".parse().unwrap(), "6379-6380".parse().unwrap()],
        ..policy()
    };
    for port in [443, 6379, 6380] {
        own.read(&format!("https://example.com:{port}/")).unwrap();
    }
    for port in [80, 8443, 6381] {
        assert!(own.read(&format!("https://example.com:{port}/")).is_err());
    }
}

#[test]
fn ports_are_read_strictly() {
    for text in ["", "0", "70000", "5-4", "a", "1-", "-5"] {
        assert!(text.parse::<crate::config::Ports>().is_err(), "{text}");
    }
    for text in ["443", "8000-8999"] {
        assert_eq!(text.parse::<crate::config::Ports>().unwrap().to_string(), text);
    }
}

/// One part of an IPv4 address, or several together, in one of the ways that readers of URLs know.
fn spelled(number: u32, style: u8) -> String {
    match style % 4 {
        0 => number.to_string(),
        1 => format!("0x{number:x}"),
        2 => format!("0{number:o}"),
        _ => format!("0X{number:08X}"),
    }
}

proptest! {
    #[test]
    fn an_ipv4_address_is_judged_alike_in_every_spelling(
        bits in prop_oneof![any::<u32>(), Just(0x7f00_0001), Just(0xa9fe_a9fe), 0x0a00_0000..0x0aff_ffff_u32],
        parts in 1..=4_u32,
        styles in any::<[u8; 4]>(),
        dot in prop_oneof![Just('.'), Just('。'), Just('．'), Just('｡')],
    ) {
        let whole = 8 * (parts - 1);
        let mut texts: Vec<String> = (0..parts - 1)
            .map(|index| spelled((bits >> (24 - 8 * index)) & 0xff, styles[index as usize]))
            .collect();
        let rest = bits.checked_shl(whole).map_or(0, |shifted| shifted >> whole);
        texts.push(spelled(rest, styles[3]));
        let url = format!("https://{}/", texts.join(&dot.to_string()));
        let address = Ipv4Addr::from_bits(bits);
        let allowed = AddressPolicy::default().check(IpAddr::V4(address)).is_ok();
        let target = read(&url);
        prop_assert_eq!(target.is_ok(), allowed, "{} is {}", url, address);
        if let Ok(target) = target {
            let shown = address.to_string();
            prop_assert_eq!(target.uri.host(), Some(shown.as_str()));
        }
    }

    #[test]
    fn an_ipv6_address_is_judged_as_written(bits in any::<u128>(), high in prop_oneof![Just(0_u128), Just(0x64_ff9b), Just(0x2002_0000), Just(0xfd00_0000), Just(0x2a00_0000)]) {
        let address = Ipv6Addr::from_bits((high << 96) | (bits & ((1 << 96) - 1)));
        let allowed = AddressPolicy::default().check(IpAddr::V6(address)).is_ok();
        prop_assert_eq!(read(&format!("https://[{address}]/")).is_ok(), allowed, "{}", address);
    }

    #[test]
    fn no_text_makes_the_reader_fail(text in "\\PC{0,80}", scheme in prop_oneof![Just(""), Just("https://")]) {
        if let Ok(target) = lenient().read(&format!("{scheme}{text}")) {
            prop_assert!(target.uri.host().is_some());
        }
    }
}
