//! The sweep: removes what has had its time, in short statements, so that no write waits for long.
//!
//! Tenants may keep things for a time of their own. Those that keep them for the same time are a class, and a
//! sweep goes through the oldest rows once per class. How far it got stays in memory, so that the next one
//! does not look again at what a class with more time keeps. A restart, another time of a tenant, and a day
//! that has gone by begin anew.

mod kind;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use roost_domain::store::StoreError;
use roost_domain::usage::Day;
use roost_domain::{EventId, MessageId, TenantId, Timestamp};

use self::kind::{KINDS, Kind, OVER, Until};
use crate::SqlStore;
use crate::database::{Args, Failure, Row, Statement};
use crate::webhook::{ExpireDeliveries, ExpireEvents, Expired};
use crate::writer::Transaction;
use crate::writer::unit::Direct;

/// Rows that one statement of a sweep looks at, and statements of each kind in one sweep: with one sweep a
/// minute, 3,333 rows of a kind per second do not pile up.
const ROWS: i64 = 1000;
const STATEMENTS: u32 = 200;
const DAY: Duration = Duration::from_secs(86_400);
/// The class of tenants that keep things for the configured time.
const CONFIGURED: i64 = -1;
/// Events in [`Progress`], beside the numbers of [`KINDS`].
const EVENTS: usize = usize::MAX;

/// Tenants with a time of their own, in days.
static OWN_TIMES: Statement = Statement::new(
    "SELECT t.id, t.retention_days FROM tenant AS t WHERE t.retention_days IS NOT NULL ORDER BY t.id",
);

/// A place among rows in the order of their time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    At(i64),
    Id(String),
}

impl Place {
    pub(crate) fn add_to(&self, args: Args) -> Args {
        match self {
            Self::At(at) => args.int(*at),
            Self::Id(id) => args.text(id),
        }
    }

    /// Before every place like this one.
    fn beginning(&self) -> Self {
        match self {
            Self::At(_) => Self::At(i64::MIN),
            Self::Id(_) => Self::Id(String::new()),
        }
    }

    /// Reads one like this one.
    fn read(&self, row: &Row) -> Result<Self, StoreError> {
        Ok(match self {
            Self::At(_) => Self::At(row.int(0)?),
            Self::Id(_) => Self::Id(row.text(0)?),
        })
    }

    /// The last that is before this one.
    fn before(self) -> Self {
        match self {
            Self::At(at) => Self::At(at.saturating_sub(1)),
            // The first id of its millisecond, which no row has.
            Self::Id(id) => Self::Id(id),
        }
    }
}

/// Tenants that keep things for the same time.
#[derive(Debug, Clone, Copy)]
struct Class {
    /// The days, or [`CONFIGURED`].
    days: i64,
    oldest_kept: Timestamp,
    oldest_delivery: Timestamp,
}

impl Class {
    fn end(&self, until: Until) -> Place {
        match until {
            Until::MessageId => Place::Id(MessageId::from_parts(unix_ms(self.oldest_kept), 0).to_string()),
            Until::Retention => Place::At(self.oldest_kept.unix_ms()),
            Until::Delivery => Place::At(self.oldest_delivery.unix_ms()),
        }
    }

    fn event_end(&self) -> Place {
        Place::Id(EventId::from_parts(unix_ms(self.oldest_kept), 0).to_string())
    }
}

/// How far sweeps got, by class and kind.
#[derive(Default)]
pub(crate) struct Progress {
    /// What it holds for.
    retention: Duration,
    own_times: Vec<(TenantId, i64)>,
    begun_at: Option<Timestamp>,
    places: HashMap<(i64, usize), Place>,
}

impl Progress {
    /// Begins anew when classes are others than before, or when a day has gone by.
    fn renew(&mut self, now: Timestamp, retention: Duration, own_times: &[(TenantId, i64)]) {
        let fresh = self.begun_at.is_some_and(|at| now >= at && now < at.plus(DAY));
        if fresh && self.retention == retention && self.own_times == own_times {
            return;
        }
        *self = Self {
            retention,
            own_times: own_times.to_vec(),
            begun_at: Some(now),
            places: HashMap::new(),
        };
    }
}

/// One statement of a sweep of what has a time of its own.
struct Over {
    statement: &'static Statement,
    until: Timestamp,
}

#[async_trait]
impl Direct for Over {
    type Output = u64;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<u64, StoreError>, Failure> {
        let args = transaction.args().int(self.until.unix_ms()).int(ROWS);
        Ok(Ok(transaction.execute(self.statement, args).await?))
    }
}

/// One window of a sweep of rows of a class.
struct Window {
    kind: &'static Kind,
    class: Class,
    from: Place,
}

#[async_trait]
impl Direct for Window {
    /// How many rows went, and where the next window begins unless this was the last.
    type Output = (u64, Option<Place>);

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Result<Self::Output, StoreError>, Failure> {
        let limit = self.class.end(self.kind.until);
        let args = limit.add_to(self.from.add_to(transaction.args()));
        let rows = transaction.fetch(&self.kind.end, args.int(ROWS - 1)).await?;
        let next = rows.first().map(|row| limit.read(row)).transpose()?;
        let end = next.clone().unwrap_or_else(|| limit.before());
        let args = end.add_to(self.from.add_to(transaction.args()));
        let args = args.int(self.class.days);
        let removed = match self.kind.until {
            Until::MessageId => {
                let rows = transaction.fetch(&self.kind.delete, args).await?;
                count_gone(transaction, &rows)?
            }
            Until::Retention | Until::Delivery => transaction.execute(&self.kind.delete, args).await?,
        };
        Ok(Ok((removed, next)))
    }
}

/// Takes rows that went, by tenant and bytes, off what is kept. Returns how many they are.
pub(crate) fn count_gone(transaction: &mut Transaction<'_>, rows: &[Row]) -> Result<u64, StoreError> {
    let day = Day::of(transaction.now);
    for row in rows {
        transaction.tally.of(row.parse(0)?, day).stored_bytes -= row.int(1)?;
    }
    Ok(rows.len() as u64)
}

impl SqlStore {
    /// See [`roost_domain::store::Node::sweep`].
    pub(crate) async fn remove_what_is_over(
        &self,
        now: Timestamp,
        retention: Duration,
    ) -> Result<u64, StoreError> {
        let mut total = 0;
        for class in self.classes(now, retention).await? {
            total += self.expire(class).await?;
            for (number, kind) in KINDS.iter().enumerate() {
                total += self.sweep_kind(class, number, kind).await?;
            }
        }
        for (statement, kept_for) in &OVER {
            let until = before(now, *kept_for);
            for _ in 0..STATEMENTS {
                let removed = self.writer().direct(Over { statement, until }).await?;
                total += removed;
                if removed < ROWS.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(total)
    }

    async fn classes(&self, now: Timestamp, retention: Duration) -> Result<Vec<Class>, StoreError> {
        let rows = self.reader().fetch(&OWN_TIMES, self.reader().args()).await?;
        let own_times: Vec<(TenantId, i64)> = rows
            .iter()
            .map(|row| Ok((row.parse(0)?, row.int(1)?)))
            .collect::<Result<_, StoreError>>()?;
        self.progress().renew(now, retention, &own_times);
        let own: BTreeSet<i64> = own_times.iter().map(|(_, days)| *days).collect();
        let own = own.into_iter().map(|days| {
            let seconds = days.unsigned_abs().saturating_mul(DAY.as_secs());
            (days, Duration::from_secs(seconds))
        });
        Ok(std::iter::once((CONFIGURED, retention))
            .chain(own)
            .map(|(days, kept_for)| Class {
                days,
                oldest_kept: before(now, kept_for),
                oldest_delivery: before(now, self.delivery_retention().min(kept_for)),
            })
            .collect())
    }

    async fn sweep_kind(&self, class: Class, number: usize, kind: &'static Kind) -> Result<u64, StoreError> {
        let limit = class.end(kind.until);
        let mut total = 0;
        for _ in 0..STATEMENTS {
            let from = self.place(class, number, &limit);
            let window = Window { kind, class, from };
            let (removed, next) = self.writer().direct(window).await?;
            total += removed;
            match next {
                Some(next) => self.note(class, number, next),
                None => break,
            }
        }
        Ok(total)
    }

    /// Removes events that have had their time, after those that wait for them were told.
    async fn expire(&self, class: Class) -> Result<u64, StoreError> {
        for _ in 0..STATEMENTS {
            let expire = ExpireDeliveries {
                oldest_kept: class.oldest_kept,
                days: class.days,
                rows: ROWS,
            };
            if self.writer().direct(expire).await? < ROWS.unsigned_abs() {
                break;
            }
        }
        let limit = class.event_end();
        let (mut total, mut looked_at) = (0, 0);
        // By rows, because a transaction takes fewer of them while a webhook lags behind.
        while looked_at < u64::from(STATEMENTS) * ROWS.unsigned_abs() {
            let expire = ExpireEvents {
                from: self.place(class, EVENTS, &limit),
                before: limit.clone(),
                days: class.days,
            };
            let Expired { removed, rows, next } = self.writer().direct(expire).await?;
            total += removed;
            looked_at += rows;
            match next {
                Some(next) => self.note(class, EVENTS, Place::Id(next)),
                None => break,
            }
        }
        Ok(total)
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.sweeps().lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, class: Class, kind: usize, like: &Place) -> Place {
        let places = &self.progress().places;
        let place = places.get(&(class.days, kind)).cloned();
        place.unwrap_or_else(|| like.beginning())
    }

    fn note(&self, class: Class, kind: usize, place: Place) {
        self.progress().places.insert((class.days, kind), place);
    }
}

fn before(now: Timestamp, time: Duration) -> Timestamp {
    let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(now.unix_ms().saturating_sub(ms))
}

fn unix_ms(at: Timestamp) -> u64 {
    u64::try_from(at.unix_ms()).unwrap_or(0)
}
