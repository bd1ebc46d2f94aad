//! One look at every value that may be sealed.

use std::time::Duration;

use async_trait::async_trait;
use roost_domain::store::StoreError;
use tokio::time::Instant;

use super::progress::{Progress, Save};
use super::target::{Change, TARGETS, Target};
use super::{Rotator, patiently};
use crate::database::{Failure, Row};
use crate::stop_point::around;
use crate::tenant;
use crate::writer::Transaction;
use crate::writer::unit::Direct;

/// Values that one unit replaces, and their size: what other writes may have to wait for.
const UNIT_CHANGES: usize = 64;
const UNIT_BYTES: usize = 256 * 1024;
/// A unit is followed by a pause as long as itself, so that the writer is at most half busy with this.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Looking is not for free either.
const PAGE_PAUSE: Duration = Duration::from_millis(1);
/// Pages without a change after which the place is written down.
const PAGES_UNSAVED_MAX: u32 = 200;

impl Rotator {
    /// Looks at everything from where `progress` is, and reseals what needs it. Returns how many values
    /// did.
    pub(super) async fn look(&self, progress: &mut Progress) -> Result<u64, StoreError> {
        let mut found = 0;
        for target in &TARGETS[progress.index()..] {
            progress.enter(target);
            found += self.pass_over(target, progress).await?;
        }
        Ok(found)
    }

    async fn pass_over(&self, target: &'static Target, progress: &mut Progress) -> Result<u64, StoreError> {
        let mut found = 0;
        let mut unsaved = 0;
        loop {
            let rows = patiently(|| target.page(&self.reader, &self.keyring, &progress.after)).await?;
            let Some(last) = rows.last() else {
                return Ok(found);
            };
            let end = target.place(last)?;
            let changes = self.reseal(target, &rows, progress).await?;
            found += changes.len() as u64;
            unsaved = if changes.is_empty() { unsaved + 1 } else { 0 };
            for part in parts(changes) {
                let started = Instant::now();
                progress.after = part.last().map_or(Vec::new(), |change| change.place.clone());
                let unit = || {
                    self.writer.direct(Replace {
                        target,
                        changes: part.clone(),
                        progress: progress.clone(),
                    })
                };
                let done = around("rotate_unit", patiently(unit)).await?;
                *progress = done;
                tokio::time::sleep(started.elapsed().min(PAUSE_MAX)).await;
            }
            progress.after = end;
            if unsaved >= PAGES_UNSAVED_MAX {
                unsaved = 0;
                let save = || {
                    self.writer.direct(Save {
                        progress: progress.clone(),
                    })
                };
                *progress = patiently(save).await?;
            }
            tokio::time::sleep(PAGE_PAUSE).await;
        }
    }

    /// What of a page has to be replaced, and by what.
    async fn reseal(
        &self,
        target: &Target,
        rows: &[Row],
        progress: &mut Progress,
    ) -> Result<Vec<Change>, StoreError> {
        let mut changes = Vec::new();
        for row in rows {
            let Some((tenant, value)) = target.value(row)? else {
                continue;
            };
            let key = match tenant::key_for(&self.reader, &self.keyring, tenant).await {
                Ok(key) => key,
                // Its key was destroyed with it: nobody can read the value, whatever its master key.
                Err(StoreError::NotFound) => continue,
                Err(error) => return Err(error),
            };
            match target.reseal(row, value, &key, &self.keyring) {
                Ok(change) => changes.extend(change),
                Err(StoreError::Corrupt(_)) => progress.found_unreadable(target),
                Err(error) => return Err(error),
            }
        }
        Ok(changes)
    }
}

/// Changes in units of a bounded size, what was plain text apart from what was sealed.
fn parts(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let mut parts: Vec<Vec<Change>> = Vec::new();
    let mut bytes = 0;
    for change in changes {
        let size = change.bytes();
        match parts.last_mut() {
            Some(part)
                if part.len() < UNIT_CHANGES
                    && bytes + size <= UNIT_BYTES
                    && part[0].was_plain == change.was_plain =>
            {
                part.push(change);
                bytes += size;
            }
            _ => {
                bytes = size;
                parts.push(vec![change]);
            }
        }
    }
    parts
}

/// Replaces values that are still what was read.
struct Replace {
    target: &'static Target,
    changes: Vec<Change>,
    progress: Progress,
}

#[async_trait]
impl Direct for Replace {
    type Output = Progress;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<Progress, StoreError>, Failure> {
        let mut progress = self.progress.clone();
        let replaced = self.target.replace(transaction, &self.changes).await?;
        if self.changes.iter().any(|change| change.was_plain) {
            progress.rotation.sealed += replaced;
        } else {
            progress.rotation.resealed += replaced;
        }
        progress.save(transaction).await?;
        Ok(Ok(progress))
    }
}
