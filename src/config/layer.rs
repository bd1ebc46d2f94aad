//! Layers of settings and how they are laid over each other.
//!
//! Every key stands in the embedded reference file, so a key that is not there is unknown; only plans
//! may have names of their own, with the keys that the reference's plans have. Each setting is tried alone on top of the reference: so all that is wrong is reported at once, each
//! with the place it came from.

use std::fmt;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it was set: a file, a variable or an option.
    pub source: String,
    /// The dotted key, where there is one.
    pub key: Option<String>,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: {key}: {}", self.source, self.problem),
            None => write!(f, "{}: {}", self.source, self.problem),
        }
    }
}

/// A value for one key, and who set it.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Dotted key, for example `http.listen`.
    pub key: String,
    /// The value; texts from the environment are typed by [`typed_text`].
    pub value: Value,
    /// Where it was set.
    pub source: String,
}

/// The leaves of a table with their dotted keys.
pub fn leaves(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                found.extend(
                    leaves(inner)
                        .into_iter()
                        .map(|(rest, leaf)| (format!("{key}.{rest}"), leaf)),
                );
            }
            leaf => found.push((key.clone(), leaf.clone())),
        }
    }
    found
}

/// Reads a file's text into settings.
pub fn file(source: &str, text: &str) -> Result<Vec<Setting>, ConfigError> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError {
        source: source.to_owned(),
        key: None,
        problem: format!("not well-formed TOML: {}", error.to_string().trim_end()),
    })?;
    Ok(leaves(&table)
        .into_iter()
        .map(|(key, value)| Setting {
            key,
            value,
            source: source.to_owned(),
        })
        .collect())
}

/// Gives a text the type that the reference has under the key.
pub fn typed_text(reference: &Table, key: &str, text: &str) -> Value {
    let typed = match lookup(reference, key) {
        Some(Value::Integer(_)) => text.parse().ok().map(Value::Integer),
        Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
        Some(Value::Float(_)) => text.parse().ok().map(Value::Float),
        Some(Value::Array(_)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Some(Value::Array(
                parts.map(|part| Value::String(part.to_owned())).collect(),
            ))
        }
        _ => None,
    };
    typed.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Lays settings over the reference, in order, and reads the result.
pub fn merge<T: DeserializeOwned>(reference: &Table, settings: Vec<Setting>) -> Result<T, Vec<ConfigError>> {
    let known: Vec<String> = leaves(reference).into_iter().map(|(key, _)| key).collect();
    let mut merged = reference.clone();
    let mut errors = Vec::new();
    for setting in settings {
        match check::<T>(reference, &known, &setting) {
            Ok(()) => set(&mut merged, &setting.key, setting.value),
            Err(problem) => errors.push(ConfigError {
                source: setting.source,
                key: Some(setting.key),
                problem,
            }),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Value::Table(merged).try_into().map_err(|error: toml::de::Error| {
        vec![ConfigError {
            source: "configuration".into(),
            key: None,
            problem: error.message().to_owned(),
        }]
    })
}

/// Section whose subsections may have any name.
const NAMED: &str = "plans.";

/// Whether the reference has the key, or has it under another name of the same section.
fn is_known(known: &[String], key: &str) -> bool {
    let field = |key: &str| {
        let (_, field) = key.strip_prefix(NAMED)?.split_once('.')?;
        (!field.contains('.')).then(|| field.to_owned())
    };
    let wanted = field(key);
    known
        .iter()
        .any(|other| other == key || (wanted.is_some() && field(other) == wanted))
}

fn check<T: DeserializeOwned>(reference: &Table, known: &[String], setting: &Setting) -> Result<(), String> {
    if !is_known(known, &setting.key) {
        return Err(unknown(known, &setting.key));
    }
    let mut alone = reference.clone();
    set(&mut alone, &setting.key, setting.value.clone());
    match Value::Table(alone).try_into::<T>() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.message().to_owned()),
    }
}

fn unknown(known: &[String], key: &str) -> String {
    let section = format!("{key}.");
    if known.iter().any(|other| other.starts_with(&section)) {
        return "this is a section, not a key".into();
    }
    let nearest = known
        .iter()
        .map(|other| (strsim::jaro_winkler(key, other), other))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, other)) => format!("unknown key; did you mean {other}?"),
        None => "unknown key; config/default.toml lists every key".into(),
    }
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((head, rest)) => table.get(head)?.as_table().and_then(|inner| lookup(inner, rest)),
        None => table.get(key),
    }
}

fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        Some((head, rest)) => {
            if let Value::Table(inner) = table.entry(head).or_insert_with(|| Value::Table(Table::new())) {
                set(inner, rest, value);
            }
        }
        None => {
            table.insert(key.to_owned(), value);
        }
    }
}
