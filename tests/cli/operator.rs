//! Commands that look at a gateway from outside, against a real one; and certificates for a cluster.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{Gateway, fails, out, run, succeeds};

/// Runs a command that knows the gateway and the key from the environment.
fn look(url: &str, key: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
    command
        .args(arguments)
        .env("ROOST_URL", url)
        .env("ROOST_OPERATOR_KEY", key)
        .stdin(Stdio::null());
    command.output().unwrap()
}

fn operators_key(folder: &Path) -> String {
    succeeds(&run(folder, &["key", "create", "--operator"])).to_owned()
}

#[test]
fn top_prints_the_nodes_and_actors_of_a_gateway_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let key = operators_key(folder.path());
    let (gateway, ready) = Gateway::start(folder.path());
    let api = ready["api"].as_str().unwrap();

    let output = look(api, &key, &["top", "--once"]);
    let text = succeeds(&output);
    assert!(
        text.starts_with(&format!("{api}: 1 nodes, 0 of them unreachable; 0 sessions;")),
        "{text}"
    );
    let line = |start: &str| text.lines().find(|line| line.starts_with(start));
    let node = line("local*").unwrap_or_else(|| panic!("{text}"));
    assert!(node.contains("ok") && node.contains("1024/1024"), "{text}");
    assert!(
        line("upkeep").is_some_and(|line| line.contains("running")),
        "{text}"
    );
    let output = look(
        api,
        &key,
        &["top", "--once", "--kind", "registry", "--sort", "path"],
    );
    let text = succeeds(&output);
    let paths: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("ACTOR"))
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(paths, ["buckets", "instances", "webhooks"]);

    // The key from a file, with the end of its line.
    let file = folder.path().join("operator.key");
    std::fs::write(&file, format!("{key}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
    let arguments = ["top", "--once", "--url", api, "--key-file"];
    let output = command.args(arguments).arg(&file).stdin(Stdio::null()).output();
    assert!(succeeds(&output.unwrap()).contains("local*"));

    // Without a terminal it does not draw.
    fails(&look(api, &key, &["top"]), 1, &["no terminal", "--once"]);
    let wrong = format!("{}x", &key[..key.len() - 1]);
    fails(&look(api, &wrong, &["top", "--once"]), 1, &[api, "401"]);
    fails(
        &look(api, &key, &["drain", "--wait"]),
        1,
        &["409", "not a node of a cluster"],
    );
    assert_eq!(gateway.terminate(), Some(0));
    fails(
        &look(api, &key, &["top", "--once"]),
        1,
        &["cannot be reached", api],
    );
}

#[test]
fn what_a_command_needs_to_reach_a_gateway_is_said() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
    command.args(["top", "--once"]).env_remove("ROOST_OPERATOR_KEY");
    fails(
        &command.output().unwrap(),
        1,
        &["ROOST_OPERATOR_KEY", "--key-file"],
    );
    let output = look("ftp://127.0.0.1", "rst_x", &["top", "--once"]);
    fails(&output, 1, &["--url"]);
    let output = look("http://127.0.0.1:1", "a b", &["drain", "--node", "a"]);
    fails(&output, 1, &["key"]);
    let output = look("http://127.0.0.1:1", "rst_x", &["drain", "--node", "No Node"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn certificates_are_made_once_and_again_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    let make = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
        command
            .args(["cluster", "certs", "--dir"])
            .arg(&certs)
            .args(arguments);
        command.output().unwrap()
    };
    let output = make(&["node-1", "node-2"]);
    let text = succeeds(&output);
    let read = |name: &str| std::fs::read_to_string(certs.join(name)).unwrap();
    for node in ["node-1", "node-2"] {
        assert!(text.contains(&format!("node = \"{node}\"")), "{text}");
        assert!(text.contains(&format!("{node}.key\"")), "{text}");
        assert!(read(&format!("{node}.pem")).starts_with("-----BEGIN CERTIFICATE"));
    }
    assert!(text.contains("authority.key"), "{text}");
    // The section is one that the configuration takes.
    let section = text.split("# node-2").next().unwrap();
    let table: toml::Table = section.parse().unwrap();
    assert_eq!(table["cluster"]["node"].as_str(), Some("node-1"));

    let (first, authority) = (read("node-1.pem"), read("authority.pem"));
    let output = make(&["node-1", "node-3"]);
    assert!(succeeds(&output).contains("which stays"), "{}", out(&output));
    assert_eq!(
        (read("node-1.pem"), read("authority.pem")),
        (first.clone(), authority.clone())
    );
    let output = make(&["--renew", "--days", "30", "node-1"]);
    assert!(succeeds(&output).contains("valid for 30 days"));
    assert_ne!(read("node-1.pem"), first);
    assert_eq!(read("authority.pem"), authority);
    assert_eq!(make(&["Not a node"]).status.code(), Some(2));
    assert_eq!(make(&[]).status.code(), Some(2));
}
