//! What a database says about its master keys, and what it keeps under them for itself.
//!
//! `meta` names every master key under which values may be sealed: the one that seals by
//! `master_key_check`, earlier ones by `master_key_old:<id>`, each with its check value. A database is not
//! opened unless all of them are known. It also keeps the pepper of API keys and the key of stream tokens,
//! sealed. A new first key is entered before anything is sealed under it, and an old one is struck out
//! only after nothing was found under it, so that no crash leaves a value without its key.

use std::collections::BTreeMap;

use roost_domain::store::StoreError;

use crate::crypto::{Keyring, Secrets, sealed};
use crate::database::{Args, Connection, Dialect, Failure, Row, Statement};
use crate::open::OpenError;
use crate::writer::Transaction;

pub(crate) const CHECK: &str = "master_key_check";
const OLD: &str = "master_key_old:";
const PEPPER: &str = "api_key_pepper";
const STREAM_TOKEN: &str = "stream_token_key";

static ALL: Statement = Statement::new("SELECT name, value FROM meta");

static ADD: Statement =
    Statement::new("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING");

static CHANGE: Statement = Statement::new("UPDATE meta SET value = $3 WHERE name = $1 AND value = $2");

static PUT: Statement = Statement::new(
    "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
);

static STRIKE_OUT: Statement = Statement::new("DELETE FROM meta WHERE name = $1");

/// The rows of `meta`.
#[derive(Debug, Default)]
pub(crate) struct Custody(BTreeMap<String, String>);

/// A change of `meta`.
enum Step {
    /// Leaves what is there.
    Add(String, String),
    /// Only from this value.
    Change(&'static str, String, String),
}

impl Step {
    fn statement(self, dialect: Dialect) -> (&'static Statement, Args) {
        let args = Args::new(dialect);
        match self {
            Self::Add(name, value) => (&ADD, args.text(name).text(value)),
            Self::Change(name, was, value) => (&CHANGE, args.text(name).text(was).text(value)),
        }
    }
}

impl Custody {
    /// From the rows of `meta`.
    pub(crate) fn new(rows: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(rows.into_iter().collect())
    }

    fn read(rows: &[Row]) -> Result<Self, StoreError> {
        let rows: Result<Vec<_>, StoreError> =
            rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect();
        Ok(Self::new(rows?))
    }

    /// The rows as they are in a database.
    pub(crate) async fn load(connection: &mut Connection) -> Result<Self, OpenError> {
        let args = Args::new(connection.dialect());
        let rows = connection.fetch(&ALL, args).await?;
        Self::read(&rows).map_err(OpenError::Custody)
    }

    pub(crate) async fn load_in(transaction: &mut Transaction<'_>) -> Result<Self, Failure> {
        let args = transaction.args();
        let rows = transaction.fetch(&ALL, args).await?;
        Ok(Self::read(&rows)?)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Earlier master keys under which there may be values: ids and check values.
    fn old(&self) -> impl Iterator<Item = (&str, &str)> {
        let rows = self.0.range(OLD.to_owned()..);
        rows.map_while(|(name, value)| Some((name.strip_prefix(OLD)?, value.as_str())))
    }

    /// Ids of earlier master keys under which there may be values.
    pub(crate) fn old_ids(&self) -> Vec<String> {
        self.old().map(|(id, _)| id.to_owned()).collect()
    }

    /// Whether every master key that the database needs is known.
    pub(crate) fn check(&self, keyring: &Keyring) -> Result<(), OpenError> {
        let known: Vec<_> = keyring
            .masters()
            .iter()
            .map(|master| master.check_value())
            .collect();
        if let Some(check) = self.value(CHECK)
            && !known.iter().any(|value| value == check)
        {
            return Err(OpenError::WrongMasterKey);
        }
        for (id, check) in self.old() {
            if !known.iter().any(|value| value == check) {
                return Err(OpenError::MissingMasterKey { id: id.to_owned() });
            }
        }
        Ok(())
    }

    /// What has to change for the first of the known keys to seal. `fresh` says that the database is new.
    fn steps(&self, keyring: &Keyring, fresh: bool) -> Result<Vec<Step>, StoreError> {
        let mut steps = Vec::new();
        let masters = keyring.masters();
        let first = &masters[0];
        let check = self.value(CHECK);
        let current = masters
            .iter()
            .find(|master| Some(&*master.check_value()) == check)
            .unwrap_or(first);
        if current.id() != first.id() {
            steps.push(Step::Add(format!("{OLD}{}", current.id()), current.check_value()));
        }
        let secrets = if fresh {
            keyring.new_secrets()
        } else {
            current.derived_secrets()
        };
        for (name, plain) in [(PEPPER, secrets.pepper), (STREAM_TOKEN, secrets.stream_token)] {
            match self.value(name) {
                None => steps.push(Step::Add(name.to_owned(), keyring.seal_meta(name, &*plain)?)),
                Some(text) if sealed::key_of(text) == Some(first.id()) => {}
                Some(text) => {
                    let plain = keyring.open_meta(name, text)?;
                    let again = keyring.seal_meta(name, &plain)?;
                    steps.push(Step::Change(name, text.to_owned(), again));
                }
            }
        }
        match check {
            None => steps.push(Step::Add(CHECK.to_owned(), first.check_value())),
            Some(check) if check == first.check_value() => {}
            Some(check) => steps.push(Step::Change(CHECK, check.to_owned(), first.check_value())),
        }
        Ok(steps)
    }

    /// The secrets that it keeps.
    fn secrets(&self, keyring: &Keyring) -> Result<Secrets, StoreError> {
        let open = |name| {
            let text = self
                .value(name)
                .ok_or_else(|| StoreError::Corrupt(format!("the database has no {name}")))?;
            let plain = keyring.open_meta(name, text)?;
            let plain: [u8; 32] = plain
                .as_slice()
                .try_into()
                .map_err(|_| StoreError::Corrupt(format!("{name} has the wrong length")))?;
            Ok(zeroize::Zeroizing::new(plain))
        };
        Ok(Secrets {
            pepper: open(PEPPER)?,
            stream_token: open(STREAM_TOKEN)?,
        })
    }
}

/// Enters the first of the known keys, and gives the keyring what the database keeps for it. Each step
/// stands for itself, and done again it changes nothing.
pub(crate) async fn adopt(
    connection: &mut Connection,
    keyring: &Keyring,
    fresh: bool,
) -> Result<(), OpenError> {
    let before = Custody::load(connection).await?;
    for step in before.steps(keyring, fresh).map_err(OpenError::Custody)? {
        let (statement, args) = step.statement(connection.dialect());
        connection.execute(statement, args).await?;
    }
    // Another node may have been first, with another key or with secrets of its own.
    let after = Custody::load(connection).await?;
    after.check(keyring)?;
    keyring.keep(after.secrets(keyring).map_err(OpenError::Custody)?);
    Ok(())
}

/// The same in a transaction of the writer, whose keyring may have other keys yet.
pub(crate) async fn adopt_in(
    transaction: &mut Transaction<'_>,
    keyring: &Keyring,
) -> Result<Result<(), StoreError>, Failure> {
    let before = Custody::load_in(transaction).await?;
    if let Err(error) = before.check(keyring) {
        return Ok(Err(StoreError::Conflict(error.to_string())));
    }
    for step in before.steps(keyring, false)? {
        let (statement, args) = step.statement(transaction.dialect());
        transaction.execute(statement, args).await?;
    }
    Ok(Ok(()))
}

/// Sets a row of `meta`.
pub(crate) async fn put(transaction: &mut Transaction<'_>, name: &str, value: &str) -> Result<(), Failure> {
    let args = transaction.args().text(name).text(value);
    transaction.execute(&PUT, args).await?;
    Ok(())
}

/// Strikes out earlier master keys: nothing is sealed under them any more.
pub(crate) async fn strike_out(transaction: &mut Transaction<'_>, ids: &[String]) -> Result<(), Failure> {
    for id in ids {
        let args = transaction.args().text(format!("{OLD}{id}"));
        transaction.execute(&STRIKE_OUT, args).await?;
    }
    Ok(())
}
