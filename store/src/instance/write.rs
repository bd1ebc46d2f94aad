//! Writes of instances.

use async_trait::async_trait;
use roost_domain::api_key::{ApiKey, KeySecret, Principal};
use roost_domain::event::{EventType, NewEvent};
use roost_domain::instance::{
    AccountChange, DesiredState, Instance, InstancePatch, InstanceState, NewInstance, StateChange,
};
use roost_domain::message::FailureReason;
use roost_domain::store::{Outcome, Stamp, StoreError};
use roost_domain::{Epoch, InstanceId, Owner, TenantId, Timestamp};

use super::{BY_IDS, from_row, pacing_json};
use crate::crypto::Place;
use crate::database::{Failure, Statement};
use crate::key;
use crate::message::write::{PENDING_BATCH, fail_pending};
use crate::tenant::{self, remains};
use crate::writer::Transaction;
use crate::writer::draft::{Draft, Needs};
use crate::writer::unit::{Direct, Planned};

static SET_PROXY: Statement = Statement::new("UPDATE instance SET proxy = $2 WHERE id = $1");

static SET_OWN: Statement = Statement::new(
    "UPDATE instance SET name = $2, updated_at = $3, reply_only = $4, pacing = $5 WHERE id = $1",
);

static DELETE: Statement = Statement::new("DELETE FROM instance WHERE id = $1");

static DELETE_KNOWN: Statement = Statement::new("DELETE FROM known_chat WHERE instance_id = $1");

static DELETE_HISTORY: Statement = Statement::new("DELETE FROM instance_history WHERE instance_id = $1");

/// Makes an instance.
pub(super) struct Create {
    pub(super) tenant: TenantId,
    pub(super) new: NewInstance,
    pub(super) key: Option<(ApiKey, KeySecret)>,
    pub(super) stamp: Stamp,
}

#[async_trait]
impl Direct for Create {
    type Output = Outcome<Instance>;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Result<Outcome<Instance>, StoreError>, Failure> {
        let mut needs = Needs::default();
        needs.tenant(self.tenant);
        needs.stamp(self.tenant, &self.stamp);
        let mut draft = Draft::load(transaction, needs).await?;
        if let Err(error) = draft.check_tenant(self.tenant) {
            return Ok(Err(error));
        }
        match draft.reply(self.tenant, &self.stamp) {
            Err(error) => return Ok(Err(error)),
            Ok(Some(replay)) => return Ok(Ok(Outcome::Replayed(replay))),
            Ok(None) => {}
        }
        if let Some((key, _)) = &self.key
            && key.principal != Principal::Tenant(self.tenant)
        {
            return Ok(Err(StoreError::NotFound));
        }
        let instance = self.instance();
        draft.insert_instance(&instance);
        draft.add_history(&instance, instance.created_at);
        draft.append(
            self.tenant,
            NewEvent::instance(EventType::InstanceCreated, &instance),
        );
        draft.keep(self.tenant, &self.stamp, instance.id, || {
            key::with_key(&instance, self.key.as_ref().map(|(key, _)| key))
        });
        draft.flush(transaction).await?;
        if let Some((key, secret)) = &self.key {
            key::insert(transaction, key, secret).await?;
        }
        if let Some(proxy) = &self.new.proxy {
            set_proxy(transaction, self.tenant, instance.id, Some(proxy)).await?;
        }
        Ok(Ok(Outcome::Done(instance)))
    }
}

impl Create {
    fn instance(&self) -> Instance {
        Instance {
            id: self.new.id,
            tenant_id: self.tenant,
            name: self.new.name.clone(),
            state: InstanceState::Created,
            state_reason: None,
            desired_state: DesiredState::Stopped,
            phone_number: None,
            lid: None,
            push_name: None,
            proxy: self.new.proxy.clone(),
            pacing: self.new.pacing,
            policy: self.new.policy,
            created_at: self.new.created_at,
            updated_at: self.new.created_at,
            connected_at: None,
            epoch: Epoch(0),
        }
    }
}

async fn set_proxy(
    transaction: &mut Transaction<'_>,
    tenant: TenantId,
    id: InstanceId,
    proxy: Option<&str>,
) -> Result<(), Failure> {
    let sealed = match proxy {
        None => None,
        Some(proxy) => {
            let key = tenant::key(transaction, tenant).await?;
            Some(key.instance(id).seal(Place::Proxy, proxy.as_bytes())?)
        }
    };
    let args = transaction.args().text(id).opt_bytes(sealed);
    transaction.execute(&SET_PROXY, args).await?;
    Ok(())
}

/// Changes what a tenant may change.
pub(super) struct Patch {
    pub(super) tenant: TenantId,
    pub(super) id: InstanceId,
    pub(super) patch: InstancePatch,
    pub(super) at: Timestamp,
}

#[async_trait]
impl Direct for Patch {
    type Output = Instance;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<Instance, StoreError>, Failure> {
        let mut rows = transaction.rows(&BY_IDS);
        rows.id(self.id).end();
        let args = transaction.args().rows(rows);
        let Some(row) = transaction.fetch(&BY_IDS, args).await?.into_iter().next() else {
            return Ok(Err(StoreError::NotFound));
        };
        let mut instance = from_row(&row, &transaction.keyring)?;
        if instance.tenant_id != self.tenant {
            return Ok(Err(StoreError::NotFound));
        }
        if let Some(name) = &self.patch.name {
            instance.name.clone_from(name);
        }
        if let Some(change) = self.patch.pacing {
            let pacing = change.and_then(|change| change.of(instance.pacing));
            if change.is_some() && pacing.is_none() {
                let detail = "a pace needs messages_per_minute".to_owned();
                return Ok(Err(StoreError::Conflict(detail)));
            }
            instance.pacing = pacing;
        }
        if let Some(policy) = self.patch.policy {
            instance.policy = policy;
        }
        instance.updated_at = self.at;
        let args = transaction
            .args()
            .text(self.id)
            .text(&instance.name)
            .int(self.at.unix_ms())
            .int(i64::from(instance.policy.reply_only))
            .opt_text(pacing_json(instance.pacing));
        transaction.execute(&SET_OWN, args).await?;
        if let Some(proxy) = &self.patch.proxy {
            instance.proxy.clone_from(proxy);
            set_proxy(transaction, self.tenant, self.id, proxy.as_deref()).await?;
        }
        Ok(Ok(instance))
    }
}

/// Removes an instance.
pub(super) struct Delete {
    pub(super) owner: Owner,
    pub(super) at: Timestamp,
}

#[async_trait]
impl Direct for Delete {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<(), StoreError>, Failure> {
        // The queue was emptied before; only what came in since is left.
        loop {
            match fail_pending(transaction, self.owner, &FailureReason::InstanceGone, self.at).await? {
                Err(error) => return Ok(Err(error)),
                Ok(failed) if failed < u64::from(PENDING_BATCH) => break,
                Ok(_) => {}
            }
        }
        let mut needs = Needs::default();
        needs.instance(self.owner);
        let mut draft = Draft::load(transaction, needs).await?;
        let instance = draft.instance_row(self.owner.instance)?.clone();
        draft.append(
            self.owner.tenant,
            NewEvent::instance(EventType::InstanceDeleted, &instance),
        );
        draft.link.wipe(self.owner.instance);
        draft.flush(transaction).await?;
        remains::leave(transaction, self.owner.tenant, self.owner.instance, self.at).await?;
        for statement in [&DELETE_HISTORY, &DELETE_KNOWN, &DELETE] {
            let args = transaction.args().text(self.owner.instance);
            transaction.execute(statement, args).await?;
        }
        Ok(Ok(()))
    }
}

/// Records a step of a session.
pub(super) struct Step {
    pub(super) owner: Owner,
    pub(super) change: StateChange,
}

impl Planned for Step {
    type Output = Instance;

    fn needs(&self, needs: &mut Needs) {
        needs.instance(self.owner);
    }

    fn plan(&self, draft: &mut Draft) -> Result<Instance, StoreError> {
        draft.check(self.owner)?;
        let mut instance = draft.instance_row(self.owner.instance)?.clone();
        let change = &self.change;
        let previous = instance.state;
        let moved = previous != change.state || instance.state_reason != change.reason;
        instance.state = change.state;
        instance.state_reason.clone_from(&change.reason);
        instance.updated_at = change.at;
        if let Some(desired) = change.desired {
            instance.desired_state = desired;
        }
        if change.state == InstanceState::Connected && moved {
            instance.connected_at = Some(change.at);
        }
        match &change.account {
            AccountChange::Keep => {}
            AccountChange::Paired(account) => {
                let same = instance.phone_number.as_ref() == Some(&account.phone_number);
                let known = if same {
                    (instance.lid.take(), instance.push_name.take())
                } else {
                    (None, None)
                };
                instance.phone_number = Some(account.phone_number.clone());
                instance.lid = account.lid.clone().or(known.0);
                instance.push_name = account.push_name.clone().or(known.1);
            }
            AccountChange::Unpaired => {
                instance.phone_number = None;
                instance.lid = None;
                instance.push_name = None;
                draft.link.wipe(self.owner.instance);
            }
        }
        draft.update_instance(instance.clone());
        if moved {
            draft.add_history(&instance, change.at);
            draft.append(self.owner.tenant, NewEvent::state_changed(&instance, previous));
        }
        Ok(instance)
    }
}

/// Takes ownership.
pub(super) struct Activate {
    pub(super) owner: Owner,
}

impl Planned for Activate {
    type Output = Instance;

    fn needs(&self, needs: &mut Needs) {
        needs.instance(self.owner);
    }

    fn plan(&self, draft: &mut Draft) -> Result<Instance, StoreError> {
        draft.check(self.owner)?;
        let mut instance = draft.instance_row(self.owner.instance)?.clone();
        if instance.epoch < self.owner.epoch {
            instance.epoch = self.owner.epoch;
            draft.update_instance(instance.clone());
        }
        Ok(instance)
    }
}
