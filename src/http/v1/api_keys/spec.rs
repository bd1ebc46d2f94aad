//! What a client says of a key, checked: every fault with its pointer.

use ipnet::IpNet;
use roost_domain::api_key::{INSTANCES_MAX, NETWORKS_MAX, Scope, Scopes};
use roost_domain::tenant::NAME_CHARS_MAX;
use roost_domain::{InstanceId, Timestamp};

use crate::http::fault::Faults;

const CALLS_PER_MINUTE_MAX: u32 = 1_000_000;
const ALL: &str = "*";

/// The name of a key or a tenant.
pub(in crate::http::v1) fn name(faults: &mut Faults, name: &str) {
    let chars = name.chars().count();
    if chars == 0 {
        faults.add("/name", "empty", "the name is empty");
    } else if chars > NAME_CHARS_MAX {
        let detail = format!("at most {NAME_CHARS_MAX} characters");
        faults.add("/name", "too_long", detail);
    } else if name.chars().any(char::is_control) {
        faults.add("/name", "invalid", "must not contain control characters");
    }
}

/// Names of scopes, or `*`.
pub(in crate::http::v1) fn scopes(faults: &mut Faults, texts: &[String]) -> Scopes {
    if texts.is_empty() {
        let detail = "name at least one scope; [\"*\"] is every scope";
        faults.add("/scopes", "empty", detail);
    }
    let most = Scope::ALL.len() + 1;
    let scopes = faults.list("/scopes", most, texts, |text| {
        if text == ALL {
            return Ok(None);
        }
        Scope::from_name(text).map(Some).ok_or_else(|| {
            let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
            format!("expected * or some of {}", known.join(", "))
        })
    });
    match scopes.into_iter().collect::<Option<Vec<Scope>>>() {
        Some(scopes) => Scopes::these(scopes),
        None => Scopes::All,
    }
}

/// Each once. Whether they exist is asked later.
pub(in crate::http::v1) fn instances(faults: &mut Faults, texts: &[String]) -> Vec<InstanceId> {
    let mut instances = faults.list("/instances", INSTANCES_MAX, texts, str::parse);
    instances.sort_unstable();
    instances.dedup();
    instances
}

/// Networks, each as `address/length`, or one address.
pub(in crate::http::v1) fn networks(faults: &mut Faults, texts: &[String]) -> Vec<IpNet> {
    let mut networks = faults.list("/allowed_networks", NETWORKS_MAX, texts, |text| {
        let network = match text.parse::<std::net::IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text
                .parse::<IpNet>()
                .map_err(|_| "expected a network such as 203.0.113.0/24, or an address")?,
        };
        if network == network.trunc() {
            Ok(network)
        } else {
            Err("the address has bits beyond the length of the network")
        }
    });
    networks.sort_unstable();
    networks.dedup();
    networks
}

pub(in crate::http::v1) fn calls_per_minute(faults: &mut Faults, number: u32) {
    faults.range("/calls_per_minute", 1..=CALLS_PER_MINUTE_MAX, &number);
}

/// A time that is still to come.
pub(in crate::http::v1) fn expires_at(faults: &mut Faults, text: &str, now: Timestamp) -> Option<Timestamp> {
    let at = faults.take("/expires_at", text.parse::<Timestamp>())?;
    if at <= now {
        faults.add("/expires_at", "out_of_range", "must be in the future");
        return None;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn every_entry_that_is_wrong_is_pointed_at() {
        let mut faults = Faults::default();
        name(&mut faults, "");
        scopes(&mut faults, &texts(&["messages:send", "messages:sned"]));
        instances(&mut faults, &texts(&["ins_x"]));
        networks(
            &mut faults,
            &texts(&["10.0.0.1/8", "10.0.0.0/8", "10.0.0.0/33", "here"]),
        );
        calls_per_minute(&mut faults, 0);
        expires_at(&mut faults, "1970-01-01T00:00:00Z", Timestamp::from_unix_ms(0));
        assert_eq!(
            faults.finish().unwrap_err().pointers(),
            [
                "/name",
                "/scopes/1",
                "/instances/0",
                "/allowed_networks/0",
                "/allowed_networks/2",
                "/allowed_networks/3",
                "/calls_per_minute",
                "/expires_at"
            ]
        );
    }

    #[test]
    fn lists_are_kept_in_order_and_each_entry_once() {
        let mut faults = Faults::default();
        let all = scopes(&mut faults, &texts(&["messages:send", "*"]));
        assert_eq!(all, Scopes::All);
        let networks = networks(&mut faults, &texts(&["203.0.113.7", "10.0.0.0/8", "10.0.0.0/8"]));
        assert_eq!(
            networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "203.0.113.7/32"]
        );
        assert!(faults.is_empty());
    }

    #[test]
    fn lists_and_texts_have_limits() {
        for (pointer, check) in [
            (
                "/name",
                (|faults| name(faults, &"x".repeat(NAME_CHARS_MAX + 1))) as fn(&mut Faults),
            ),
            ("/name", |faults| name(faults, "a\u{0}b")),
            ("/scopes", |faults| drop(scopes(faults, &[]))),
            ("/scopes", |faults| {
                drop(scopes(faults, &vec![ALL.to_owned(); Scope::ALL.len() + 2]));
            }),
            ("/instances", |faults| {
                drop(instances(faults, &vec!["x".to_owned(); INSTANCES_MAX + 1]));
            }),
            ("/allowed_networks", |faults| {
                drop(networks(faults, &vec!["x".to_owned(); NETWORKS_MAX + 1]));
            }),
            ("/calls_per_minute", |faults| {
                calls_per_minute(faults, CALLS_PER_MINUTE_MAX + 1);
            }),
        ] {
            let mut faults = Faults::default();
            check(&mut faults);
            assert_eq!(faults.finish().unwrap_err().pointers(), [pointer]);
        }
    }
}
