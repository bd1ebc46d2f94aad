use super::*;

fn problems(layers: &Layers) -> Vec<String> {
    load(layers)
        .unwrap_err()
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn with_file(text: &str) -> (tempfile::TempDir, Layers) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roost.toml");
    std::fs::write(&path, text).unwrap();
    (
        folder,
        Layers {
            file: Some(path),
            ..Layers::default()
        },
    )
}

#[test]
fn the_reference_is_valid_alone_and_for_the_sandbox() {
    load(&Layers::default()).unwrap();
    load(&Layers {
        sandbox: true,
        ..Layers::default()
    })
    .unwrap();
}

/// `config/cluster.toml`
const CLUSTER: &str = include_str!("../../config/cluster.toml");

#[test]
fn the_example_of_a_node_of_a_cluster_needs_nothing_but_its_secrets() {
    let (_folder, mut layers) = with_file(CLUSTER);
    let missing = problems(&layers);
    assert_eq!(missing.len(), 2, "{missing:?}");
    layers.environment = [
        (
            "ROOST__STORE__URL",
            "postgres://roost:secret@db.example.org/roost",
        ),
        ("ROOST__CLUSTER__COOKIE", "a secret that all nodes share"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .to_vec();
    load(&layers).unwrap();
}

#[test]
fn the_example_of_a_node_of_a_cluster_has_every_key_with_its_default() {
    let section = |text: &str| {
        let (_, section) = text.split_once("\n[cluster]\n").unwrap();
        let section = section.split("\n[").next().unwrap().replace("# ", "");
        let keys = section.lines().filter_map(|line| line.split_once(" = "));
        let keys = keys.filter(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        keys.map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let (reference, example) = (section(REFERENCE), section(CLUSTER));
    let own = [
        "node",
        "listen",
        "address",
        "authority_file",
        "certificate_file",
        "key_file",
    ];
    for (key, default) in &reference {
        // It comes from the environment.
        if key == "cookie" {
            continue;
        }
        let given = example.get(key).unwrap_or_else(|| panic!("{key} is missing"));
        assert!(
            own.contains(&key.as_str()) || given == default,
            "{key} is {given}"
        );
    }
}

#[test]
fn every_key_of_the_reference_has_a_comment_above_its_group() {
    for section in REFERENCE.split("\n[").skip(1) {
        let mut commented = false;
        for line in section.lines().skip(1) {
            if line.starts_with('#') {
                commented = true;
            } else if line.contains(" = ") {
                assert!(commented, "no comment above {line}");
            } else if line.is_empty() {
                commented = false;
            }
        }
    }
}

#[test]
fn later_layers_win() {
    let (_folder, mut layers) =
        with_file("[http]\nlisten = \"127.0.0.1:1\"\nbody_bytes_max = \"1MiB\"\nrequests_max = 5");
    layers.environment = vec![
        ("ROOST__HTTP__LISTEN".into(), "127.0.0.1:2".into()),
        ("ROOST__HTTP__REQUESTS_MAX".into(), "7".into()),
    ];
    layers.options = vec![("http.listen", "127.0.0.1:3".into(), "--listen")];
    let config = load(&layers).unwrap();
    assert_eq!(config.http.listen.port(), 3);
    assert_eq!(config.http.requests_max, 7);
    assert_eq!(config.http.body_bytes_max, 1 << 20);
}

#[test]
fn everything_wrong_is_reported_with_its_source() {
    let (_folder, mut layers) = with_file(
        "[http]\nlisten = \"nowhere\"\nrequest_timeout = \"30\"\nrequest_timout = \"30s\"\n[htpp]\nx = 1\n[store]\nsynchronous = \"off\"",
    );
    layers.environment = vec![
        ("ROOST__HTTP__REQUESTS_MAX".into(), "many".into()),
        ("ROOST__COLOUR".into(), "red".into()),
    ];
    let problems = problems(&layers);
    let told = |parts: &[&str]| {
        assert!(
            problems
                .iter()
                .any(|problem| parts.iter().all(|part| problem.contains(part))),
            "{parts:?} in {problems:#?}"
        );
    };
    told(&["roost.toml", "http.listen", "socket address"]);
    told(&["roost.toml", "http.request_timeout", "30s"]);
    told(&["http.request_timout", "did you mean http.request_timeout?"]);
    told(&["htpp.x", "unknown key"]);
    told(&["store.synchronous", "off"]);
    told(&["ROOST__HTTP__REQUESTS_MAX", "http.requests_max"]);
    told(&["ROOST__COLOUR", "unknown key"]);
    assert_eq!(problems.len(), 7, "{problems:#?}");
}

#[test]
fn a_file_that_cannot_be_read_or_parsed_is_named() {
    let (_folder, layers) = with_file("[http");
    assert!(problems(&layers)[0].contains("not well-formed TOML"));
    let layers = Layers {
        file: Some("/nonexistent/roost.toml".into()),
        ..Layers::default()
    };
    assert!(problems(&layers)[0].contains("/nonexistent/roost.toml"));
}

#[test]
fn time_outs_and_sizes_that_do_not_fit_are_refused() {
    let (_folder, layers) = with_file(
        "[http]\nwait_max = \"2m\"\n[stop]\ndrain = \"20s\"\n[store]\ndelivery_retention = \"59s\"\ndisk_floor = \"1023KiB\"\n[sandbox]\nlisten = \"0.0.0.0:1\"",
    );
    let problems = problems(&layers);
    assert_eq!(problems.len(), 5, "{problems:#?}");
}

#[test]
fn secrets_are_not_shown() {
    let (_folder, layers) = with_file(
        "[store]\nurl = \"postgres://roost:hunter2@db/roost?sslpassword=hunter3\"\nmaster_key = \"hunter4\"",
    );
    let config = load(&layers).unwrap();
    assert_eq!(config.store.master_key.as_ref().unwrap().reveal(), "hunter4");
    for text in [config.shown(), format!("{config:?}")] {
        assert!(!text.contains("hunter"), "{text}");
        assert!(text.contains("roost:hidden@db"), "{text}");
    }
}

#[test]
fn what_is_shown_can_be_read_again() {
    let config = load(&Layers::default()).unwrap();
    let (_folder, layers) = with_file(&config.shown());
    assert_eq!(load(&layers).unwrap(), config);
}

#[test]
fn the_webhook_client_says_what_is_wrong_with_its_keys() {
    let (_folder, layers) = with_file(
        "[webhooks.client]\nallowed_networks = [\"10.0.0.1\"]\nports = [\"0\"]\nallow_htp = true\nidle_timeout = \"5\"",
    );
    let problems = problems(&layers);
    let told = |parts: &[&str]| {
        assert!(
            problems
                .iter()
                .any(|problem| parts.iter().all(|part| problem.contains(part))),
            "{parts:?} in {problems:#?}"
        );
    };
    told(&["webhooks.client.allowed_networks", "10.0.0.1", "10.0.0.0/8"]);
    told(&["webhooks.client.ports", "8000-8999"]);
    told(&[
        "webhooks.client.allow_htp",
        "did you mean webhooks.client.allow_http?",
    ]);
    told(&["webhooks.client.idle_timeout", "30s"]);
    assert_eq!(problems.len(), 4, "{problems:#?}");
}

#[test]
fn networks_and_ports_can_be_set_in_the_environment() {
    let variable = |key: &str, text: &str| (format!("ROOST__WEBHOOKS__CLIENT__{key}"), text.to_owned());
    let layers = Layers {
        environment: vec![
            variable("ALLOWED_NETWORKS", "10.0.0.0/8, fd00::/8"),
            variable("PORTS", "443,8000-8999"),
        ],
        ..Layers::default()
    };
    let client = load(&layers).unwrap().webhooks.client;
    let networks: Vec<String> = client.allowed_networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "fd00::/8"]);
    assert!(client.ports.iter().any(|ports| ports.contains(8080)));
}

#[test]
fn a_list_of_durations_is_read_from_a_file_and_from_the_environment() {
    let seconds = |count| std::time::Duration::from_secs(count);
    let (_folder, mut layers) = with_file("[webhooks]\nretry_schedule = [\"0s\", \"1m\"]");
    assert_eq!(
        load(&layers).unwrap().webhooks.retry_schedule,
        [seconds(0), seconds(60)]
    );
    let name = "ROOST__WEBHOOKS__RETRY_SCHEDULE";
    layers.environment = vec![(name.into(), "0s, 5s,1h".into())];
    let schedule = load(&layers).unwrap().webhooks.retry_schedule;
    assert_eq!(schedule, [seconds(0), seconds(5), seconds(3600)]);
    for wrong in ["0s,soon", "5"] {
        layers.environment = vec![(name.into(), wrong.into())];
        let problems = problems(&layers);
        assert!(problems[0].contains("webhooks.retry_schedule"), "{problems:?}");
    }
    layers.environment = vec![(name.into(), String::new())];
    assert_eq!(problems(&layers).len(), 1);
}

#[test]
fn limits_of_webhooks_that_do_not_fit_are_refused() {
    let (_folder, layers) = with_file(
        "[webhooks]\ntimeout = \"75s\"\nconcurrency_default = 300\nhost_in_flight_max = 10\n\
         jitter_percent = 100\nbreaker_failures = 0\nprobe_first = \"1h\"\nsettle_every = \"0s\"\nparked_max = 0\n\
         secret_overlap = \"200h\"",
    );
    let problems = problems(&layers);
    assert_eq!(problems.len(), 9, "{problems:#?}");
}

#[test]
fn plans_ship_and_can_be_added_and_changed() {
    let (_folder, mut layers) = with_file(
        "[limits]\ndefault_plan = \"gold\"\n[plans.gold]\nstorage = \"2GiB\"\ninstances = 3\n\
         [plans.pro]\nmessages_per_hour = \"unlimited\"",
    );
    layers.environment = vec![
        ("ROOST__PLANS__BASIC__CALLS_PER_HOUR".into(), "7".into()),
        (
            "ROOST__PLANS__BASIC__MESSAGES_PER_HOUR".into(),
            "unlimited".into(),
        ),
        ("ROOST__PLANS__TINY__CALLS_PER_HOUR".into(), "5".into()),
    ];
    let plans = load(&layers).unwrap().plans;
    let limits = |name: &str| plans[name].limits();
    assert_eq!(limits("gold").storage_bytes, Some(2 << 30));
    assert_eq!(limits("gold").instances, Some(3));
    assert_eq!(limits("gold").calls_per_hour, None);
    assert_eq!(limits("pro").messages_per_hour, None);
    assert_eq!(limits("pro").calls_per_hour.unwrap().get(), 10_000);
    assert_eq!(limits("basic").calls_per_hour.unwrap().get(), 7);
    assert_eq!(limits("basic").messages_per_hour, None);
    assert_eq!(limits("tiny").calls_per_hour.unwrap().get(), 5);
    assert_eq!(limits("max").messages_per_hour.unwrap().get(), 10_000);
}

#[test]
fn a_wrong_plan_is_told() {
    let (_folder, layers) = with_file(
        "[plans.pro]\nmessages_per_hour = 0\n[plans.max]\nstorage = \"much\"\ncalls_per_our = 5\n[plans]\nx = 1",
    );
    let problems = problems(&layers);
    let told = |parts: &[&str]| {
        assert!(
            problems
                .iter()
                .any(|problem| parts.iter().all(|part| problem.contains(part))),
            "{parts:?} in {problems:#?}"
        );
    };
    told(&["plans.pro.messages_per_hour", "from 1 on", "unlimited"]);
    told(&["plans.max.storage", "10GiB"]);
    told(&[
        "plans.max.calls_per_our",
        "did you mean plans.max.calls_per_hour?",
    ]);
    told(&["plans.x", "unknown key"]);
    assert_eq!(problems.len(), 4, "{problems:#?}");
}

#[test]
fn limits_that_do_not_fit_are_refused() {
    let (_folder, layers) = with_file(
        "[limits]\ndefault_plan = \"gold\"\naddress_window = \"1ms\"\n\
         storage_tenants_max = 0\n[plans.Gold]\ncalls_per_hour = 1\n[audit]\nfold_for = \"0s\"\nfolded_max = 0\n\
         [usage]\nflush_every = \"0s\"",
    );
    let problems = problems(&layers);
    assert_eq!(problems.len(), 7, "{problems:#?}");
}

#[test]
fn nodes_need_a_cookie_an_address_and_certificates_beyond_their_own_host() {
    let wrong = |text: &str| {
        let postgres = "[store]\nurl = \"postgres://localhost/roost\"\n[cluster]\nnode = \"a\"\n";
        problems(&with_file(&format!("{postgres}{text}")).1).join("\n")
    };
    assert!(wrong("").contains("cluster.cookie"));
    let told = wrong("cookie = \"short\"\nlisten = \"0.0.0.0:9400\"\nkey_file = \"key.pem\"");
    for key in ["cluster.cookie", "cluster.address", "cluster.certificate_file"] {
        assert!(told.contains(key), "{key} in {told}");
    }
    let cookie = "cookie = \"0123456789abcdef\"\n";
    assert!(wrong(&format!("{cookie}listen = \"192.0.2.1:9400\"")).contains("roost cluster certs"));
    for address in ["node-1", "node-1:", ":9400", "node-1:0"] {
        let told = wrong(&format!("{cookie}address = \"{address}\""));
        assert!(
            told.contains("cluster.address: must be a host and a port"),
            "{address}: {told}"
        );
    }
    let told = wrong(&format!(
        "{cookie}calls_max = 0\ncall_bytes_max = \"1KiB\"\npings_missed_max = 0"
    ));
    for key in [
        "cluster.calls_max",
        "cluster.call_bytes_max",
        "cluster.pings_missed_max",
    ] {
        assert!(told.contains(key), "{key} in {told}");
    }
}

#[test]
fn a_call_never_waits_for_a_bucket_for_as_long_as_a_request_may_take() {
    for key in ["timeout", "owner_timeout"] {
        for wrong in ["0s", "1h"] {
            let (_folder, layers) = with_file(&format!("[buckets]\n{key} = \"{wrong}\""));
            let told = problems(&layers).join("\n");
            assert!(told.contains(&format!("buckets.{key}")), "{told}");
        }
    }
}

#[test]
fn a_cluster_needs_postgres_a_name_of_its_own_and_times_that_fit() {
    let wrong = |text: &str| problems(&with_file(text).1).join("\n");
    let postgres = "[store]\nurl = \"postgres://localhost/roost\"\n[cluster]\n";
    assert!(wrong("[cluster]\nnode = \"a\"").contains("cluster.node: needs PostgreSQL"));
    assert!(wrong("[cluster]\nnode = \"A b\"").contains("cluster.node"));
    assert!(wrong(&format!("{postgres}node = \"local\"")).contains("cluster.node: must not be"));
    let told = wrong(&format!(
        "{postgres}node = \"a\"\nlease = \"1s\"\ntick = \"3s\"\nmoves_max = 0\nhold = \"6s\"\noperator_timeout = \"0s\"\npoll = \"1ms\""
    ));
    for key in [
        "cluster.lease",
        "cluster.tick",
        "store.idle_transaction_timeout",
        "cluster.moves_max",
        "cluster.hold",
        "cluster.operator_timeout",
        "cluster.poll",
    ] {
        assert!(told.contains(key), "{key} in {told}");
    }
    let cookie = "cookie = \"0123456789abcdef\"";
    let (_folder, layers) = with_file(&format!("{postgres}node = \"a\"\n{cookie}"));
    assert_eq!(load(&layers).unwrap().cluster.node, Some("a".parse().unwrap()));
    assert_eq!(load(&Layers::default()).unwrap().cluster.node, None);
}
