//! Instances that a body names in `instances` must be the tenant's: a typing error would wait in silence.

use roost_actors::CallError;
use roost_domain::{InstanceId, TenantId};

use crate::http::fault::Faults;
use crate::http::problem::Answer;
use crate::http::state::Gateway;

pub(in crate::http::v1) async fn check(
    gateway: &Gateway,
    tenant: TenantId,
    instances: &[InstanceId],
) -> Answer<()> {
    let mut faults = Faults::default();
    for (at, &instance) in instances.iter().enumerate() {
        match gateway.instances.get(tenant, instance).await {
            Ok(_) => {}
            Err(CallError::NotFound) => {
                faults.add(
                    format!("/instances/{at}"),
                    "not_found",
                    "there is no such instance",
                );
            }
            Err(error) => return Err(error.into()),
        }
    }
    faults.finish()
}
