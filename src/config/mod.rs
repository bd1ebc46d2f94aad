//! The configuration: embedded defaults, then a file, then the environment, then options.
//!
//! This module alone reads the environment. What it hands out is typed and checked: durations, sizes
//! and addresses are what they say, and time-outs that depend on each other fit.

mod buckets;
mod check;
mod cluster;
mod http;
mod keys;
mod layer;
mod limits;
mod section;
#[cfg(test)]
mod tests;
pub mod value;
mod webhook_client;
mod webhooks;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

pub use buckets::Buckets;
pub use cluster::Cluster;
pub use http::{ClientAddressHeader, Cors, Http, Origin};
pub use keys::Keys;
pub use layer::{ConfigError, Setting};
pub use limits::{AddressCounts, Audit, Limit, Limits, Plan, Plans, Size, Usage};
pub use section::{
    Backoff, ClientVersion, Data, Events, Log, LogFormat, Sandbox, Session, StartGate, Stop, Store,
    Synchronous, Whatsapp,
};
pub use webhook_client::{Ports, WebhookClient};
pub use webhooks::Webhooks;

const REFERENCE: &str = include_str!("../../config/default.toml");
const SANDBOX: &str = include_str!("../../config/sandbox.toml");
const ENVIRONMENT_PREFIX: &str = "ROOST__";
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The whole configuration; `config/default.toml` says what each key means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What a node keeps on disk.
    pub data: Data,
    /// The API.
    pub http: Http,
    /// API keys and stream tokens.
    pub keys: Keys,
    /// The database.
    pub store: Store,
    /// This gateway as one of several nodes.
    pub cluster: Cluster,
    /// How WhatsApp is reached.
    pub whatsapp: Whatsapp,
    /// Sessions.
    pub session: Session,
    /// Dials of the whole node.
    pub start_gate: StartGate,
    /// What follows a failure.
    pub backoff: Backoff,
    /// The event log and its streams.
    pub events: Events,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// What rate limits count in.
    pub buckets: Buckets,
    /// What may happen how often.
    pub limits: Limits,
    /// Limits of tenants, by the name of the plan.
    pub plans: Plans,
    /// The audit log.
    pub audit: Audit,
    /// What is counted for bills.
    pub usage: Usage,
    /// What happens on SIGTERM.
    pub stop: Stop,
    /// Logs.
    pub log: Log,
    /// The simulated WhatsApp of `roost sandbox`.
    pub sandbox: Sandbox,
}

/// What is laid over the defaults.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Whether `roost sandbox` runs.
    pub sandbox: bool,
    /// The file given with `--config`.
    pub file: Option<PathBuf>,
    /// `ROOST__…` variables.
    pub environment: Vec<(String, String)>,
    /// Options of the command line: dotted key, value, name of the option.
    pub options: Vec<(&'static str, String, &'static str)>,
}

/// Everything that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl Layers {
    /// The variables of this process that are Roost's.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub fn read_environment(&mut self) {
        self.environment = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name
                    .into_string()
                    .ok()
                    .filter(|name| name.starts_with(ENVIRONMENT_PREFIX))?;
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect();
        self.environment.sort();
    }
}

/// Reads all layers. Everything that is wrong is reported together.
pub fn load(layers: &Layers) -> Result<Config, ConfigErrors> {
    let reference = reference()?;
    let mut settings = Vec::new();
    let mut errors = Vec::new();
    if layers.sandbox {
        settings
            .extend(layer::file("config/sandbox.toml", SANDBOX).map_err(|error| ConfigErrors(vec![error]))?);
    }
    if let Some(path) = &layers.file {
        match read(path) {
            Ok(found) => settings.extend(found),
            Err(error) => errors.push(error),
        }
    }
    settings.extend(environment(&reference, &layers.environment));
    settings.extend(layers.options.iter().map(|(key, value, option)| Setting {
        key: (*key).to_owned(),
        value: layer::typed_text(&reference, key, value),
        source: (*option).to_owned(),
    }));
    match layer::merge::<Config>(&reference, settings) {
        Ok(config) if errors.is_empty() => {
            let wrong = check::relations(&config);
            if wrong.is_empty() {
                Ok(config)
            } else {
                Err(ConfigErrors(wrong))
            }
        }
        Ok(_) => Err(ConfigErrors(errors)),
        Err(more) => {
            errors.extend(more);
            Err(ConfigErrors(errors))
        }
    }
}

fn reference() -> Result<Table, ConfigErrors> {
    REFERENCE.parse().map_err(|error: toml::de::Error| {
        ConfigErrors(vec![ConfigError {
            source: "config/default.toml".into(),
            key: None,
            problem: error.message().to_owned(),
        }])
    })
}

fn read(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let source = path.display().to_string();
    let fail = |problem: String| ConfigError {
        source: source.clone(),
        key: None,
        problem,
    };
    let size = std::fs::metadata(path)
        .map_err(|error| fail(format!("cannot be read: {error}")))?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(fail("larger than 1 MiB: not a configuration".into()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    layer::file(&source, &text)
}

fn environment(reference: &Table, variables: &[(String, String)]) -> Vec<Setting> {
    let settings = variables.iter().filter_map(|(name, text)| {
        let key = name
            .strip_prefix(ENVIRONMENT_PREFIX)?
            .to_ascii_lowercase()
            .replace("__", ".");
        Some(Setting {
            value: layer::typed_text(reference, &key, text),
            key,
            source: name.clone(),
        })
    });
    settings.collect()
}

impl Config {
    /// As TOML, with secrets hidden.
    pub fn shown(&self) -> String {
        // Every field is a text, a number or a table of those: TOML can always write them.
        toml::to_string_pretty(self).unwrap_or_default()
    }
}
