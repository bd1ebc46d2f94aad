use procfs::FromRead;
use procfs::process::{SmapsRollup, Stat};
use procfs_core_reader::rollup;

use super::*;

mod procfs_core_reader {
    use super::SmapsRollup;
    use procfs::FromBufRead;

    pub fn rollup(text: &str) -> SmapsRollup {
        SmapsRollup::from_buf_read(text.as_bytes()).unwrap()
    }
}

const STAT: &str = "4242 (roost (dev) x) S 1 4242 4242 0 -1 4194560 5107 0 12 0 250 75 0 0 20 0 9 0 \
    811 180000000 3000 18446744073709551615 1 1 0 0 0 0 0 4096 17642 0 0 0 17 2 0 0 0 0 0 1 1 1 1 1 1 1 0\n";
const ROLLUP: &str = "55d0c0000000-7fff00000000 ---p 00000000 00:00 0                          [rollup]\n\
    Rss:               12288 kB\n\
    Pss:                9216 kB\n\
    Private_Dirty:      8000 kB\n";

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

#[test]
fn cpu_time_is_user_plus_system_and_memory_is_in_bytes() {
    let stat = Stat::from_read(STAT.as_bytes()).unwrap();
    let usage = usage_from(&stat, &rollup(ROLLUP), 100);
    assert_eq!(
        usage,
        Usage {
            cpu: Duration::from_millis(3_250),
            rss_bytes: 12 << 20,
            pss_bytes: 9 << 20,
            threads: 9,
        }
    );
}

#[test]
fn a_live_process_reports_memory_and_threads() {
    let usage = own_usage().unwrap();
    assert!(usage.rss_bytes > 0 && usage.pss_bytes > 0 && usage.threads > 0);
}

#[tokio::test]
async fn a_process_ends_by_signal_and_is_reaped() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut process = Process::spawn("sleep", command("sleep", &["60"]), &log).unwrap();
    process.check_alive("testing").unwrap();
    let pid = process.child.id();
    let ended = process.end(Signal::TERM, Duration::from_secs(10)).await.unwrap();
    assert!(ended.in_time && !ended.status.success());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_process_that_ignores_the_signal_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let process = Process::spawn("sh", command("sh", &["-c", script]), &log).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::read_to_string(&log).unwrap() != "ready\n" {
        assert!(Instant::now() < deadline, "the shell never became ready");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ended = process
        .end(Signal::TERM, Duration::from_millis(50))
        .await
        .unwrap();
    assert!(!ended.in_time && !ended.is_clean());
}

#[tokio::test]
async fn cpu_of_children_counts_while_they_live_and_when_they_are_reaped() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let spin = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let script = format!("sh -c '{spin}'; echo reaped; sh -c '{spin}; echo spun; sleep 60' & wait");
    let process = Process::spawn("sh", command("sh", &["-c", &script]), &log).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    for (said, least) in [("reaped\n", 1), ("spun\n", 2)] {
        while !std::fs::read_to_string(&log).unwrap().ends_with(said) {
            assert!(Instant::now() < deadline, "the shell never said {said}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (own, all) = (process.usage().unwrap().cpu, process.tree_cpu().unwrap());
        assert!(
            all >= own + least * Duration::from_millis(10),
            "{said}: {all:?} after {own:?}"
        );
    }
}

#[test]
fn a_dropped_process_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let process = Process::spawn("sleep", command("sleep", &["60"]), &log).unwrap();
    let pid = process.child.id();
    drop(process);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_program_that_does_not_exist_is_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let error = Process::spawn("x", command("/no/such/roost", &[]), &log).unwrap_err();
    assert_eq!(error.to_string(), "cannot start /no/such/roost");
}

#[test]
fn an_ended_process_is_reported_with_the_phase() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut process = Process::spawn("false", command("false", &[]), &log).unwrap();
    process.child.wait().unwrap();
    let error = process.check_alive("pairing").unwrap_err();
    assert_eq!(
        error.to_string(),
        "false ended by itself (exit status: 1) while pairing"
    );
}
