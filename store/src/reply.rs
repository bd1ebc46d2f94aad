//! Answers kept for repeated requests.

use async_trait::async_trait;
use roost_domain::TenantId;
use roost_domain::store::{Idempotency, OPERATORS, Replay, Replies, Stamp, StoreError};

use crate::SqlStore;
use crate::crypto::Place;
use crate::database::{Row, Statement};
use crate::writer::draft::{Draft, Needs};
use crate::writer::unit::Planned;

static BY_KEY: Statement = Statement::new(
    "SELECT fingerprint, status, body, expires_at FROM idempotency WHERE tenant_id = $1 AND key = $2 AND expires_at > $3",
);

pub(crate) fn fingerprint(row: &Row, at: usize) -> Result<[u8; 32], StoreError> {
    row.bytes(at)?
        .try_into()
        .map_err(|_| StoreError::Corrupt("a fingerprint has the wrong length".to_owned()))
}

pub(crate) fn status(row: &Row, at: usize) -> Result<u16, StoreError> {
    u16::try_from(row.int(at)?).map_err(|_| StoreError::Corrupt("a status is out of range".to_owned()))
}

/// Keeps an answer.
struct Keep {
    tenant: TenantId,
    stamp: Stamp,
    body: String,
}

impl Planned for Keep {
    type Output = ();

    fn needs(&self, needs: &mut Needs) {
        needs.tenant(self.tenant);
        needs.stamp(self.tenant, &self.stamp);
    }

    fn plan(&self, draft: &mut Draft) -> Result<(), StoreError> {
        if self.tenant != OPERATORS {
            draft.check_tenant(self.tenant)?;
        }
        if draft.reply(self.tenant, &self.stamp)?.is_none() {
            draft.keep(self.tenant, &self.stamp, "", || self.body.clone());
        }
        Ok(())
    }
}

#[async_trait]
impl Replies for SqlStore {
    async fn reply(
        &self,
        tenant: TenantId,
        key: &str,
        fingerprint: &[u8; 32],
    ) -> Result<Option<Replay>, StoreError> {
        let now = self.clock().now().unix_ms();
        let args = self.reader().args().text(tenant).text(key).int(now);
        let Some(row) = self.reader().fetch_one(&BY_KEY, args).await? else {
            return Ok(None);
        };
        if self::fingerprint(&row, 0)? != *fingerprint {
            return Err(StoreError::IdempotencyKeyReused);
        }
        let of = self.tenant_key(tenant).await?;
        let body = of
            .replies(row.time(3)?)
            .open_text(Place::Reply { key }, row.str(2)?)?;
        Ok(Some(Replay {
            status: status(&row, 1)?,
            body: body.into_owned(),
        }))
    }

    async fn keep_reply(
        &self,
        tenant: TenantId,
        idempotency: Idempotency,
        body: String,
    ) -> Result<(), StoreError> {
        self.writer()
            .planned(Keep {
                tenant,
                stamp: Stamp {
                    idempotency: Some(idempotency),
                    audit: None,
                },
                body,
            })
            .await
    }
}
