//! Instances and webhooks that are gone while rows of theirs stay: until retention, or because a crash came
//! between. Those rows are not found by their tenant, but by what is noted here.

use roost_domain::{TenantId, Timestamp};

use crate::database::{Failure, Statement};
use crate::writer::Transaction;

static LEAVE: Statement = Statement::new(
    "INSERT INTO remains (tenant_id, id, at) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, id) DO NOTHING",
);

pub(super) static CLEAR: Statement = Statement::new("DELETE FROM remains WHERE tenant_id = $1 AND id = $2");

/// Notes that a resource goes while rows of it stay.
pub(crate) async fn leave(
    transaction: &mut Transaction<'_>,
    tenant: TenantId,
    id: impl ToString,
    at: Timestamp,
) -> Result<(), Failure> {
    let args = transaction.args().text(tenant).text(id.to_string());
    transaction.execute(&LEAVE, args.int(at.unix_ms())).await?;
    Ok(())
}

/// Notes that nothing of a resource is left. Returns how many rows went.
pub(crate) async fn clear(
    transaction: &mut Transaction<'_>,
    tenant: TenantId,
    id: impl ToString,
) -> Result<u64, Failure> {
    let args = transaction.args().text(tenant).text(id.to_string());
    transaction.execute(&CLEAR, args).await
}
