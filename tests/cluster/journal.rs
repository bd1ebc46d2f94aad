//! PostgreSQL's own notes of who wrote what: see `journal.sql`. Read past every proxy.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use crate::ground::Ground;

/// A write of an owner.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "told with a violation")]
pub struct Effect {
    pub n: i64,
    pub at_us: u64,
    pub life: String,
    /// Table and kind of statement.
    pub what: String,
    /// The instance or the webhook.
    pub key: String,
    pub slot: i64,
    /// Of the instance or the webhook at that moment.
    pub epoch: i64,
}

/// A slot was taken or given back.
#[derive(Debug, Clone)]
pub struct Claim {
    pub at_us: u64,
    pub life: String,
    pub slot: i64,
    /// `None`: given back.
    pub node: Option<String>,
    pub epoch: i64,
}

/// A node began a life in the cluster.
#[derive(Debug, Clone)]
pub struct Registration {
    pub at_us: u64,
    pub life: String,
    pub incarnation: i64,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Notes {
    pub effects: Vec<Effect>,
    pub claims: Vec<Claim>,
    /// The slot of every instance and webhook.
    pub slots: BTreeMap<String, i64>,
}

pub async fn connect(ground: &Ground) -> PgConnection {
    PgConnection::connect(&ground.database.url().unwrap())
        .await
        .unwrap()
}

/// Has notes taken from now on.
pub async fn open(ground: &Ground) {
    let mut database = connect(ground).await;
    let script = sqlx::raw_sql(include_str!("journal.sql"));
    database.execute(script).await.unwrap();
}

const TIME: &str = "(extract(epoch FROM at) * 1000000)::bigint";

fn text(row: &sqlx::postgres::PgRow, column: usize) -> String {
    row.get::<Option<String>, _>(column).unwrap_or_default()
}

fn time(row: &sqlx::postgres::PgRow, column: usize) -> u64 {
    row.get::<i64, _>(column).cast_unsigned()
}

async fn rows(database: &mut PgConnection, sql: String) -> Vec<sqlx::postgres::PgRow> {
    sqlx::query(AssertSqlSafe(sql)).fetch_all(database).await.unwrap()
}

/// Reads the notes.
pub async fn read(ground: &Ground) -> Notes {
    let database = &mut connect(ground).await;
    let sql = format!("SELECT n, {TIME}, life, what, key, slot, epoch FROM proof.effect ORDER BY n");
    let effects = rows(database, sql).await;
    let sql = format!("SELECT {TIME}, life, slot, node, epoch FROM proof.claim ORDER BY n");
    let claims = rows(database, sql).await;
    let sql = "SELECT id, slot FROM instance UNION ALL SELECT id, slot FROM webhook".to_owned();
    let slots = rows(database, sql).await;
    Notes {
        effects: effects
            .iter()
            .map(|row| Effect {
                n: row.get(0),
                at_us: time(row, 1),
                life: text(row, 2),
                what: text(row, 3),
                key: text(row, 4),
                slot: row.get(5),
                epoch: row.get(6),
            })
            .collect(),
        claims: claims
            .iter()
            .map(|row| Claim {
                at_us: time(row, 0),
                life: text(row, 1),
                slot: row.get(2),
                node: row.get(3),
                epoch: row.get(4),
            })
            .collect(),
        slots: slots.iter().map(|row| (text(row, 0), row.get(1))).collect(),
    }
}

/// Reads which lives began.
pub async fn registrations(database: &mut PgConnection) -> Vec<Registration> {
    let sql = format!("SELECT {TIME}, life, incarnation FROM proof.registration ORDER BY n");
    let found = rows(database, sql).await;
    found
        .iter()
        .map(|row| Registration {
            at_us: time(row, 0),
            life: text(row, 1),
            incarnation: row.get(2),
        })
        .collect()
}

/// Whether no node has come and no slot has moved for a while.
pub async fn quiet(database: &mut PgConnection) -> bool {
    let sql = "SELECT clock_timestamp() - max(at) > interval '2 seconds' FROM \
               (SELECT at FROM proof.claim UNION ALL SELECT at FROM proof.registration) AS news";
    rows(database, sql.to_owned()).await[0]
        .get::<Option<bool>, _>(0)
        .unwrap_or_default()
}

/// How many slots each node owns, by its name; free ones under "".
pub async fn shares(database: &mut PgConnection) -> BTreeMap<String, i64> {
    let sql = "SELECT n.node, count(*) FROM slot AS s LEFT JOIN node_lease AS n ON n.node = s.node \
               AND n.incarnation = s.incarnation AND n.ended_at IS NULL AND n.expires_at > clock_timestamp() \
               GROUP BY 1";
    let found = rows(database, sql.to_owned()).await;
    found.iter().map(|row| (text(row, 0), row.get(1))).collect()
}
