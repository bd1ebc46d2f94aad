//! What the user can ask for.

mod cluster;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use cluster::{ClusterArgs, ClusterPart};

/// Measures a running Roost as whole processes: gateway, sandbox and this generator on one machine,
/// over loopback only.
#[derive(Debug, Parser)]
#[command(name = "roost-load", version)]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub scenario: Scenario,
}

/// Options of every scenario.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The gateway; by default `roost` beside this program.
    #[arg(long, global = true, value_name = "PATH")]
    pub roost: Option<PathBuf>,
    /// The sandbox; by default `roost-sandbox` beside this program.
    #[arg(long, global = true, value_name = "PATH")]
    pub roost_sandbox: Option<PathBuf>,
    /// Configuration for the gateway instead of the built-in one, which only opens the limits that
    /// protect WhatsApp from stampedes.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Also write the results as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Commit of the measured build, for the report.
    #[arg(long, global = true, value_name = "TEXT")]
    pub commit: Option<String>,
    /// Where the databases and logs of the runs are kept while they last; put it on a real disk.
    #[arg(long, global = true, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Leave databases and logs behind.
    #[arg(long, global = true)]
    pub keep_files: bool,
    /// Threads of this generator.
    #[arg(long, global = true, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
    /// Instances paired at once.
    #[arg(long, global = true, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub setup_concurrency: u16,
    /// How long pairing all instances may take.
    #[arg(long, global = true, default_value = "10m", value_parser = duration)]
    pub setup_timeout: Duration,
    /// How long any other wait may take: for readiness, for reconnecting, for the last message.
    #[arg(long, global = true, default_value = "2m", value_parser = duration)]
    pub wait_timeout: Duration,
}

/// What to measure.
#[derive(Debug, Clone, Subcommand)]
pub enum Scenario {
    /// First answer of /healthz after the start with an empty database, and memory at rest.
    Start(StartArgs),
    /// Memory and CPU of instances that are connected and do nothing.
    Idle(IdleArgs),
    /// Time from the start of the gateway until every paired instance is connected again.
    Restart(RestartArgs),
    /// Texts through POST /v1/instances/{id}/messages until WhatsApp has them.
    Send(SendArgs),
    /// Texts from phones until they are on the event stream.
    Receive(ReceiveArgs),
    /// The simulated WhatsApp alone: idle companions, then messages as fast as they are confirmed.
    Sandbox(SandboxArgs),
    /// Events through POST /v1/events until they are at the receivers of webhooks.
    Webhooks(WebhooksArgs),
    /// Reads through the API as fast as answers come, and what each costs the gateway.
    Api(ApiArgs),
    /// Nodes that share one PostgreSQL: calls over nodes, failover, and nodes that come and go.
    Cluster(ClusterArgs),
    /// Everything but `sandbox`, `webhooks`, `api` and `cluster`, each with its own flags' defaults.
    All(AllArgs),
}

#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// Starts, each with an empty database; the median is reported.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub runs: u16,
    /// How long to rest before memory is read.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub rest: Duration,
}

#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    /// Connected instances.
    #[arg(long, default_value_t = 1_000, value_parser = instances())]
    pub instances: u32,
    /// How long to rest after the last pairing before anything is read.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub settle: Duration,
    /// How long CPU is measured.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub window: Duration,
}

/// How the gateway is ended before it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum End {
    /// SIGTERM: it says goodbye.
    Term,
    /// SIGKILL: it crashes.
    Kill,
}

#[derive(Debug, Clone, Args)]
pub struct RestartArgs {
    /// Paired instances.
    #[arg(long, default_value_t = 1_000, value_parser = instances())]
    pub instances: u32,
    /// How the gateway is ended; every one given is measured.
    #[arg(long, value_delimiter = ',', default_values = ["term", "kill"])]
    pub signal: Vec<End>,
}

#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    /// Sending instances, each to a peer of its own.
    #[arg(long, default_value_t = 50, value_parser = instances())]
    pub instances: u32,
    /// Messages per second over all instances; 0 is as fast as answers come. Every one given is
    /// measured.
    #[arg(long, value_delimiter = ',', default_values = ["500", "0"], value_parser = rate())]
    pub rate: Vec<u32>,
    /// How long each measurement takes.
    #[arg(long, default_value = "20s", value_parser = duration)]
    pub duration: Duration,
    /// Keep-alive connections; without a rate also the calls in flight.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub connections: u16,
    /// Length of a text.
    #[arg(long, default_value_t = 100, value_parser = text_bytes())]
    pub text_bytes: u16,
    /// Send an Idempotency-Key with every call.
    #[arg(long)]
    pub idempotency_keys: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ReceiveArgs {
    /// Receiving instances, each from a peer of its own.
    #[arg(long, default_value_t = 50, value_parser = instances())]
    pub instances: u32,
    /// Messages per second over all instances; 0 is as fast as they arrive. Every one given is
    /// measured.
    #[arg(long, value_delimiter = ',', default_values = ["500", "0"], value_parser = rate())]
    pub rate: Vec<u32>,
    /// How long each measurement takes.
    #[arg(long, default_value = "20s", value_parser = duration)]
    pub duration: Duration,
    /// Keep-alive connections to the sandbox's control API.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub connections: u16,
    /// Without a rate: messages sent and not yet on the stream.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub window: u32,
    /// Length of a text.
    #[arg(long, default_value_t = 100, value_parser = text_bytes())]
    pub text_bytes: u16,
}

/// Where the gateway keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Database {
    /// SQLite in its data folder.
    Sqlite,
    /// A PostgreSQL server of its own.
    Postgres,
}

/// Where the sandbox keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// In memory alone.
    Memory,
    /// In a data folder too, so that it survives a crash.
    Disk,
}

#[derive(Debug, Clone, Args)]
pub struct SandboxArgs {
    /// Connected companions, each of an account with a phone of its own.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=50_000))]
    pub devices: u32,
    /// How many of them write, in pairs. Every number given is measured.
    #[arg(long, value_delimiter = ',', default_values = ["10000", "1000"], value_parser = clap::value_parser!(u32).range(2..=50_000))]
    pub talkers: Vec<u32>,
    /// Messages each of them has under way; by default 20,000 divided by their number, 16 at most.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub window: Option<u16>,
    /// Where the sandbox keeps its state; everything given is measured.
    #[arg(long, value_delimiter = ',', default_values = ["memory", "disk"])]
    pub state: Vec<State>,
    /// How long to rest before memory is read, and again how long idle CPU is measured.
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub settle: Duration,
    /// How long each measurement of messages takes.
    #[arg(long, default_value = "6s", value_parser = duration)]
    pub duration: Duration,
    /// Length of a text.
    #[arg(long, default_value_t = 100, value_parser = text_bytes())]
    pub text_bytes: u16,
}

/// What to measure of webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WebhookPart {
    /// One webhook, as fast as answers come.
    Closed,
    /// One webhook at a fixed rate.
    Open,
    /// Each event to many webhooks.
    Fanout,
    /// Many webhooks, some of whose receivers hang.
    Hanging,
    /// A receiver that stalls and recovers.
    Stall,
    /// kill -9 under load.
    Kill,
    /// A receiver that fails at random, in order.
    Flaky,
    /// A backlog for one webhook, in order.
    Backlog,
}

#[derive(Debug, Clone, Args)]
pub struct WebhooksArgs {
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_values = ["closed", "open", "fanout", "hanging", "stall", "kill", "flaky", "backlog"])]
    pub part: Vec<WebhookPart>,
    /// Where the gateway keeps its data; everything given is measured.
    #[arg(long, value_delimiter = ',', default_values = ["sqlite", "postgres"])]
    pub database: Vec<Database>,
    /// How long closed, open, flaky and each of hanging take.
    #[arg(long, default_value = "20s", value_parser = duration)]
    pub duration: Duration,
    /// Clients that publish; each has a connection of its own.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub clients: u16,
    /// Events per second of open, hanging, stall, kill and flaky.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Length of what an event carries.
    #[arg(long, default_value_t = 100, value_parser = text_bytes())]
    pub data_bytes: u16,
    /// Calls at the same time that each webhook may make; by default what the gateway has as its default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub max_concurrency: Option<u16>,
    /// Webhooks of fanout and hanging.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub webhooks: u32,
    /// Events of fanout.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub fanout_events: u32,
    /// How many receivers hang; every number given is measured and compared with the first.
    #[arg(long, value_delimiter = ',', default_values = ["0", "5", "50"], value_parser = clap::value_parser!(u32).range(0..=999))]
    pub hanging: Vec<u32>,
    /// How long the receiver of stall does not answer.
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub stall: Duration,
    /// How often kill ends the gateway.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub kills: u32,
    /// Events of backlog.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub backlog: u32,
}

#[derive(Debug, Clone, Args)]
pub struct ApiArgs {
    /// Where the gateway keeps its data; everything given is measured.
    #[arg(long, value_delimiter = ',', default_values = ["sqlite", "postgres"])]
    pub database: Vec<Database>,
    /// Connections, each with one call under way.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub connections: u16,
    /// How long each kind of read is measured.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Messages that are there to be read.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub messages: u32,
}

#[derive(Debug, Clone, Args)]
pub struct AllArgs {
    /// Instances of the scenarios idle and restart.
    #[arg(long, default_value_t = 1_000, value_parser = instances())]
    pub instances_idle: u32,
    /// Instances of the scenarios send and receive.
    #[arg(long, default_value_t = 50, value_parser = instances())]
    pub instances: u32,
    /// How long each measurement of send and receive takes.
    #[arg(long, default_value = "20s", value_parser = duration)]
    pub duration: Duration,
}

fn instances() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=20_000)
}

fn rate() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=100_000)
}

/// A text begins with the run and the number of the message, which need up to 40 bytes.
fn text_bytes() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(40..=8_192)
}

const DURATION_MAX: Duration = Duration::from_secs(3_600);

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() || duration > DURATION_MAX {
        return Err("expected more than 0s and at most 1h".to_owned());
    }
    Ok(duration)
}

/// The defaults of a scenario, for `all`.
pub trait Defaults: Args {
    /// The arguments as if no flag was given.
    fn defaults() -> Self {
        let command = Self::augment_args(clap::Command::new("defaults").no_binary_name(true));
        let matches = command.get_matches_from(std::iter::empty::<&str>());
        // Every flag of the scenarios has a default, which a test proves.
        Self::from_arg_matches(&matches).expect("every flag has a default")
    }
}

impl Defaults for StartArgs {}
impl Defaults for IdleArgs {}
impl Defaults for RestartArgs {}
impl Defaults for SendArgs {}
impl Defaults for ReceiveArgs {}
impl Defaults for SandboxArgs {}
impl Defaults for WebhooksArgs {}
impl Defaults for ApiArgs {}
impl Defaults for ClusterArgs {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("roost-load").chain(arguments.iter().copied()))
    }

    #[test]
    fn the_command_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn every_scenario_has_defaults_for_all_its_flags() {
        assert_eq!(StartArgs::defaults().runs, 5);
        assert_eq!(IdleArgs::defaults().instances, 1_000);
        assert_eq!(RestartArgs::defaults().signal, [End::Term, End::Kill]);
        assert_eq!(SendArgs::defaults().rate, [500, 0]);
        assert_eq!(ReceiveArgs::defaults().window, 512);
        assert_eq!(SandboxArgs::defaults().devices, 10_000);
        assert_eq!(WebhooksArgs::defaults().backlog, 1_000_000);
        assert_eq!(ApiArgs::defaults().connections, 64);
        assert_eq!(ClusterArgs::defaults().instances, 1_000);
    }

    #[test]
    fn a_scenario_and_its_flags_are_read() {
        let cli = parse(&[
            "send",
            "--rate",
            "0,100",
            "--duration",
            "5s",
            "--json",
            "out.json",
        ])
        .unwrap();
        assert_eq!(cli.options.json.unwrap().to_str(), Some("out.json"));
        let Scenario::Send(send) = cli.scenario else {
            panic!("it is the scenario send")
        };
        assert_eq!((send.rate, send.duration), (vec![0, 100], Duration::from_secs(5)));
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        for arguments in [
            &["send", "--duration", "0s"][..],
            &["send", "--duration", "2h"],
            &["send", "--duration", "soon"],
            &["send", "--rate", "-1"],
            &["send", "--rate", "1000000"],
            &["send", "--connections", "0"],
            &["send", "--text-bytes", "10"],
            &["idle", "--instances", "0"],
            &["idle", "--instances", "20001"],
            &["restart", "--signal", "hup"],
            &["receive", "--window", "0"],
            &["start", "--runs", "0"],
            &["webhooks", "--part", "unknown"],
            &["webhooks", "--database", "mysql"],
            &["webhooks", "--rate", "0"],
            &["webhooks", "--backlog", "6000000"],
            &["cluster", "--part", "unknown"],
            &["cluster", "--lease", "1s"],
            &["cluster", "--lease", "6m"],
            &["cluster", "--instances", "2"],
            &["--threads", "0", "start"],
            &["--setup-concurrency", "0", "start"],
            &["start", "--instances", "5"],
            &[],
            &["unknown"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?} was accepted");
        }
    }
}
