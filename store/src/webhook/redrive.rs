//! Deliveries that begin anew.

use async_trait::async_trait;
use roost_domain::Timestamp;
use roost_domain::store::StoreError;
use roost_domain::webhook::WebhookOwner;
use roost_domain::webhook::store::Parked;

use super::read::parked_row;
use super::write;
use crate::database::{Column, Failure, Statement};
use crate::writer::Transaction;
use crate::writer::unit::Direct;

/// Events that are gone have no row here, and so nothing begins anew. The order key is as
/// [`roost_domain::webhook::DeliveryMode::Ordered`] has it.
static BEGIN: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO delivery (webhook_id, seq, tenant_id, event_id, event_type, instance_id, chat, \
     event_at, status, order_key, attempt_count, round, next_attempt_at, attempts, created_at, updated_at) \
     SELECT $1, e.seq, e.tenant_id, e.id, e.type, e.instance_id, e.chat, e.created_at, 'pending', \
     COALESCE(e.chat, e.instance_id, ''), 0, 0, $3, '', $4, $4 \
     FROM {rows} AS r CROSS JOIN event AS e WHERE e.tenant_id = $2 AND e.seq = r.seq \
     ON CONFLICT (webhook_id, seq) DO UPDATE SET status = 'pending', dead_reason = NULL, \
     order_key = excluded.order_key, round = 0, next_attempt_at = excluded.next_attempt_at, \
     updated_at = excluded.updated_at",
    &[Column::Int("seq")],
);

static BEGUN: Statement = Statement::with_rows(
    "SELECT d.seq, d.order_key, d.attempt_count, d.round, d.next_attempt_at FROM {rows} AS r \
     CROSS JOIN delivery AS d WHERE d.webhook_id = $1 AND d.seq = r.seq AND d.status = 'pending' ORDER BY d.seq",
    &[Column::Int("seq")],
);

/// Makes deliveries pending and due.
pub(super) struct Redrive {
    pub(super) owner: WebhookOwner,
    pub(super) seqs: Vec<i64>,
    pub(super) at: Timestamp,
}

#[async_trait]
impl Direct for Redrive {
    type Output = Vec<Parked>;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Result<Vec<Parked>, StoreError>, Failure> {
        if let Err(error) = write::fetch_owned(transaction, self.owner).await? {
            return Ok(Err(error));
        }
        let mut seqs = self.seqs.clone();
        seqs.sort_unstable();
        seqs.dedup();
        let (mut begin, mut begun) = (transaction.rows(&BEGIN), transaction.rows(&BEGUN));
        for seq in seqs {
            begin.int(seq).end();
            begun.int(seq).end();
        }
        let args = transaction
            .args()
            .text(self.owner.webhook)
            .text(self.owner.tenant);
        let args = args.int(self.at.unix_ms()).int(transaction.now.unix_ms());
        transaction.execute(&BEGIN, args.rows(begin)).await?;
        let args = transaction.args().text(self.owner.webhook).rows(begun);
        let rows = transaction.fetch(&BEGUN, args).await?;
        let parked: Result<Vec<_>, _> = rows.iter().map(parked_row).collect();
        Ok(Ok(parked?))
    }
}
