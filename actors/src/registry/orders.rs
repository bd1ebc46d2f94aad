//! What a registry is told to do to its children: by operators to one, by the node to whole slots.

use ractor::ActorCell;
use tokio::sync::oneshot;

use super::actor::RegistryState;
use super::policy::Record;
use super::table::{After, Operation, Phase, Slots};
use super::{Kind, NotRunning};
use crate::CallError;

impl<K: Kind> RegistryState<K> {
    pub(super) async fn operate(
        &self,
        key: K::Key,
        operation: Operation,
        cell: ActorCell,
    ) -> Result<(), CallError> {
        let spawn = {
            let mut table = self.children.table();
            let entry = table.entries.get_mut(&key).ok_or(CallError::NotFound)?;
            match (&entry.phase, operation) {
                (Phase::Running { .. }, Operation::ClearQuarantine)
                | (Phase::Quarantined, Operation::Quarantine) => false,
                (Phase::Running { handle, .. }, _) => {
                    let after = ordered(operation);
                    entry.ordered = Some(after);
                    self.children.kind.ask_to_stop(handle, after == After::Respawn);
                    self.kill_later(entry_cell(&entry.phase));
                    false
                }
                (Phase::Ending { .. } | Phase::Spawning, _) => {
                    return Err(CallError::unavailable("the actor is just ending"));
                }
                (Phase::BacksOff { .. } | Phase::Quarantined, Operation::Stop | Operation::Quarantine) => {
                    let after = ordered(operation);
                    entry.ordered = Some(after);
                    entry.phase = Phase::Ending { after };
                    self.report_end(None, key, entry, after);
                    false
                }
                (Phase::BacksOff { .. } | Phase::Quarantined, _) => {
                    entry.record = Record::default();
                    entry.meta.retries_at(None, false);
                    true
                }
            }
        };
        if spawn {
            self.spawn(key, cell).await;
        }
        Ok(())
    }

    /// Kills an actor that does not stop in time; does nothing to one that has.
    fn kill_later(&self, cell: Option<ActorCell>) {
        let Some(cell) = cell else { return };
        let (stopping, wait) = (
            self.node.stopping.clone(),
            self.node.settings.stop_session_timeout,
        );
        self.node.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(wait) => cell.kill(),
            }
        });
    }

    pub(super) fn stop_slots(&self, slots: &Slots, kill: bool, reply: oneshot::Sender<Vec<K::Key>>) {
        let keys = self.children.keys_in(slots);
        let rests = matches!(slots, Slots::OfTenant(_));
        let after = if rests { After::Stopped } else { After::Forget };
        let mut idle = Vec::new();
        for &key in &keys {
            let mut table = self.children.table();
            let Some(entry) = table.entries.get_mut(&key) else {
                continue;
            };
            entry.ordered = Some(after);
            match &mut entry.phase {
                Phase::Running { cell, .. } if kill => cell.kill(),
                Phase::Running { handle, .. } => self.children.kind.ask_to_stop(handle, !rests),
                Phase::Ending { after } => *after = After::Forget,
                Phase::Spawning => {}
                Phase::BacksOff { .. } | Phase::Quarantined if rests => {
                    entry.phase = Phase::Ending { after };
                    self.report_end(None, key, entry, after);
                }
                Phase::BacksOff { .. } | Phase::Quarantined => idle.push(key),
            }
        }
        idle.into_iter()
            .for_each(|key| self.forget(key, &NotRunning::Stopping));
        drop(reply.send(keys));
    }
}

/// What follows the end of an actor that an operator ends so.
fn ordered(operation: Operation) -> After {
    match operation {
        Operation::Restart | Operation::ClearQuarantine => After::Respawn,
        Operation::Stop => After::Stopped,
        Operation::Quarantine => After::Quarantine,
    }
}

fn entry_cell<H>(phase: &Phase<H>) -> Option<ActorCell> {
    if let Phase::Running { cell, .. } = phase {
        Some(cell.clone())
    } else {
        None
    }
}
