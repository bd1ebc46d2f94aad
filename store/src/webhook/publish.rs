//! A tenant's own events.

use std::sync::Arc;

use roost_domain::TenantId;
use roost_domain::event::{Event, NewEvent};
use roost_domain::store::{Outcome, Stamp, StoreError};

use crate::writer::draft::{Draft, Needs};
use crate::writer::unit::Planned;

/// Appends one event to its tenant's log.
pub(super) struct Publish {
    pub(super) tenant: TenantId,
    pub(super) event: NewEvent,
    pub(super) stamp: Stamp,
}

impl Planned for Publish {
    type Output = Outcome<Arc<Event>>;

    fn needs(&self, needs: &mut Needs) {
        needs.tenant(self.tenant);
        if let Some(instance) = self.event.instance_id {
            needs.tenant_of(instance);
        }
        needs.stamp(self.tenant, &self.stamp);
    }

    fn plan(&self, draft: &mut Draft) -> Result<Outcome<Arc<Event>>, StoreError> {
        draft.check_tenant(self.tenant)?;
        // A repetition is answered even when the instance is gone by now.
        if let Some(replay) = draft.reply(self.tenant, &self.stamp)? {
            return Ok(Outcome::Replayed(replay));
        }
        if let Some(instance) = self.event.instance_id {
            draft.check_instance(self.tenant, instance)?;
        }
        let event = draft.append_event(self.tenant, self.event.clone());
        // An event's shape has text keys: JSON can always write it.
        draft.keep(self.tenant, &self.stamp, event.id, || {
            serde_json::to_string(&*event).unwrap_or_default()
        });
        Ok(Outcome::Done(event))
    }
}
