//! The command line: what to do, and in words a person can act on, why it could not be done.

mod audit;
mod backup;
mod cluster;
mod config;
mod drain;
mod gateway;
mod key;
mod keys;
mod migrate;
mod node;
mod openapi;
mod ready_file;
mod sandbox;
mod serve;
mod tenant;
mod top;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::{App, StopSignals};
use crate::config::{Config, ConfigErrors, Layers};
use crate::telemetry;

/// Threads for blocking work: reading files and making keys. The default of 512 would let a burst of
/// pairings take every core.
const BLOCKING_THREADS_MAX: usize = 16;

/// A self-hosted, multi-tenant WhatsApp gateway.
#[derive(Debug, Parser)]
#[command(name = "roost", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway.
    Serve(serve::Serve),
    /// Run a gateway with a simulated WhatsApp, two virtual phones and a demo tenant.
    Sandbox(sandbox::SandboxOptions),
    /// Make and list tenants.
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Make, list and revoke API keys.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Change the master key, from which every key at rest is derived.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Write a copy of the SQLite database to a new file, also while a gateway runs.
    Backup(backup::Backup),
    /// Put a backup in the place of the SQLite database, while no gateway runs.
    Restore(backup::Restore),
    /// Bring the database to this version's shape, and end.
    Migrate(Common),
    /// Show nodes and actors of a gateway, live.
    Top(top::Top),
    /// Have a node of a cluster give away everything that it runs.
    Drain(drain::Drain),
    /// Prepare a cluster.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the API's description, as /openapi.json serves it.
    Openapi(Common),
    /// Print the list of error codes, as Markdown.
    Errors,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
struct Common {
    /// File that is laid over the built-in defaults; config/default.toml lists every key.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the database and the master key [config: data.dir].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Options of the commands that run a gateway.
#[derive(Debug, Clone, Args)]
struct Running {
    #[command(flatten)]
    common: Common,
    /// Address of the API [config: http.listen].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// File that gets {"api", "api_key", "operator_key", "sandbox"} as JSON once the gateway is ready.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Common {
    fn layers(&self) -> Layers {
        let mut layers = Layers {
            file: self.config.clone(),
            ..Layers::default()
        };
        layers.read_environment();
        if let Some(folder) = &self.data_dir {
            layers
                .options
                .push(("data.dir", folder.display().to_string(), "--data-dir"));
        }
        layers
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        crate::config::load(&self.layers())
    }
}

impl Running {
    fn layers(&self) -> Layers {
        let mut layers = self.common.layers();
        if let Some(address) = self.listen {
            layers
                .options
                .push(("http.listen", address.to_string(), "--listen"));
        }
        layers
    }
}

/// Reads the command line, does what it says and tells how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("cannot start threads")),
    };
    let result = runtime.block_on(run(cli.command));
    // What is still blocked must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(serve) => serve.run().await,
        Command::Sandbox(sandbox) => sandbox.run().await,
        Command::Tenant(tenant) => tenant.run().await,
        Command::Key(key) => key.run().await,
        Command::Keys(keys) => keys.run().await,
        Command::Backup(backup) => backup.run().await,
        Command::Restore(restore) => restore.run().await,
        Command::Migrate(common) => migrate::run(&common).await,
        Command::Top(top) => top.run().await,
        Command::Drain(drain) => drain.run().await,
        Command::Cluster(cluster) => cluster.run(),
        Command::Config(config) => config.run(),
        Command::Openapi(common) => openapi::document(&common),
        Command::Errors => {
            openapi::errors();
            Ok(())
        }
    }
}

/// Starts a gateway and runs it until a signal asks to stop, also while it is starting. What was
/// started beside it comes back.
async fn run_gateway<T>(start: impl Future<Output = anyhow::Result<(App, T)>>) -> anyhow::Result<Option<T>> {
    let mut signals = StopSignals::take()?;
    let (app, beside) = tokio::select! {
        started = start => started?,
        () = signals.next() => return Ok(None),
    };
    app.run_until(signals).await?;
    Ok(Some(beside))
}

/// 2 when the configuration is wrong, as for a wrong option; 1 for everything else.
#[expect(clippy::print_stderr, reason = "a person reads this")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    if error.chain().any(|cause| cause.is::<ConfigErrors>()) {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

fn start_logs(config: &Config) -> anyhow::Result<()> {
    telemetry::start(&config.log).map_err(|error| anyhow::anyhow!("log.filter cannot be used: {error}"))
}

/// Writes to standard output. A reader that has left is no reason to stop.
fn say(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
