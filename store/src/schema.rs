//! Migrations: forward only, embedded, with a ledger in the database.

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::database::{Args, Connection, Dialect, Statement};

/// Version, name, and text for SQLite and PostgreSQL.
const MIGRATIONS: &[(i64, &str, &str, &str)] = &[
    (
        1,
        "spine",
        include_str!("../../migrations/sqlite/0001_spine.sql"),
        include_str!("../../migrations/postgres/0001_spine.sql"),
    ),
    (
        2,
        "webhooks",
        include_str!("../../migrations/sqlite/0002_webhooks.sql"),
        include_str!("../../migrations/postgres/0002_webhooks.sql"),
    ),
    (
        3,
        "access",
        include_str!("../../migrations/sqlite/0003_access.sql"),
        include_str!("../../migrations/postgres/0003_access.sql"),
    ),
    (
        5,
        "pacing",
        include_str!("../../migrations/sqlite/0005_pacing.sql"),
        include_str!("../../migrations/postgres/0005_pacing.sql"),
    ),
    (
        6,
        "cluster",
        include_str!("../../migrations/sqlite/0006_cluster.sql"),
        include_str!("../../migrations/postgres/0006_cluster.sql"),
    ),
];

/// A migration in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedMigration {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
}

/// What a run of the migrations did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Applied by this run.
    pub applied: Vec<AppliedMigration>,
    /// Every migration in the ledger.
    pub ledger: Vec<AppliedMigration>,
}

static TABLES: Statement = Statement::new(
    "{lite:SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = $1}\
     {pg:SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1}",
);

static LEDGER: Statement =
    Statement::new("SELECT version, description FROM _sqlx_migrations ORDER BY version");

/// The text of every migration for SQLite.
#[cfg(test)]
pub(crate) fn sqlite() -> impl Iterator<Item = &'static str> {
    MIGRATIONS.iter().map(|migration| migration.2)
}

/// Latest version that this code knows.
pub(crate) fn latest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.0).max().unwrap_or(0)
}

pub(crate) async fn has_table(connection: &mut Connection, name: &str) -> Result<bool, sqlx::Error> {
    let args = Args::new(connection.dialect()).text(name);
    let rows = connection.fetch(&TABLES, args).await?;
    Ok(rows
        .first()
        .is_some_and(|row| row.int(0).is_ok_and(|count| count > 0)))
}

/// Migrations in the database's ledger; none when it is empty.
pub(crate) async fn ledger(connection: &mut Connection) -> Result<Vec<AppliedMigration>, sqlx::Error> {
    if !has_table(connection, "_sqlx_migrations").await? {
        return Ok(Vec::new());
    }
    let args = Args::new(connection.dialect());
    let rows = connection.fetch(&LEDGER, args).await?;
    let read = |row: &crate::database::Row| {
        Some(AppliedMigration {
            version: row.int(0).ok()?,
            name: row.text(1).ok()?,
        })
    };
    Ok(rows.iter().filter_map(read).collect())
}

/// Applies what is missing. PostgreSQL nodes wait for each other on an advisory lock; SQLite is held
/// by the lock file.
pub(crate) async fn apply(connection: &mut Connection) -> Result<(), MigrateError> {
    let dialect = connection.dialect();
    let migrations = MIGRATIONS.iter().map(|&(version, name, sqlite, postgres)| {
        let sql = match dialect {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        };
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    match connection {
        Connection::Sqlite(connection) => migrator.run_direct(None, connection, false).await,
        Connection::Postgres(connection) => migrator.run_direct(None, connection, false).await,
    }
}
