//! Which limits a tenant has: its own, then its plan's.

use std::collections::{BTreeMap, HashMap};

use roost_domain::limit::Limits;
use roost_domain::page::{PAGE_ROWS_MAX, PageRequest};
use roost_domain::store::Store;
use roost_domain::tenant::Tenant;

use crate::config;

/// Plans that are told of by name.
const MISSING_TOLD_MAX: usize = 20;

/// The plans of the configuration.
#[derive(Debug)]
pub struct Plans {
    by_name: HashMap<String, Limits>,
    default: Limits,
}

impl Plans {
    /// Those of the configuration.
    pub fn new(plans: &config::Plans, default_plan: &str) -> Self {
        let by_name: HashMap<String, Limits> = plans
            .iter()
            .map(|(name, plan)| (name.clone(), plan.limits()))
            .collect();
        // The configuration is refused when it names a plan that is not there.
        let default = by_name.get(default_plan).copied().unwrap_or_default();
        Self { by_name, default }
    }

    /// Whether there is a plan of this name.
    fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Says in the log which plans tenants name that are not there.
    pub async fn tell_missing(&self, store: &dyn Store) {
        let mut missing: BTreeMap<String, usize> = BTreeMap::new();
        let mut page = PageRequest::new(None, PAGE_ROWS_MAX);
        loop {
            let read = match store.tenants(page).await {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!(%error, "the plans of tenants could not be checked");
                    return;
                }
            };
            let plans = read.rows.into_iter().filter_map(|tenant| tenant.plan);
            for plan in plans.filter(|plan| !self.has(plan)) {
                *missing.entry(plan).or_default() += 1;
            }
            let Some(next) = read.next else { break };
            page = PageRequest::new(Some(next), PAGE_ROWS_MAX);
        }
        for (plan, tenants) in missing.iter().take(MISSING_TOLD_MAX) {
            tracing::warn!(
                plan,
                tenants,
                "tenants name a plan that is not in the configuration; they have limits.default_plan"
            );
        }
    }

    /// What limits a tenant. One whose plan has gone from the configuration has the default plan, as if
    /// it named none.
    pub fn limits(&self, tenant: &Tenant) -> Limits {
        let plan = tenant.plan.as_ref().and_then(|name| self.by_name.get(name));
        tenant.limits.or(plan.copied().unwrap_or(self.default))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use roost_domain::{TenantId, Timestamp};

    use super::*;
    use crate::config::{Limit, Plan};

    #[test]
    fn a_tenants_own_limits_come_before_its_plans_and_the_default_plans_last() {
        let number = NonZeroU32::new;
        let plan = |calls, messages| Plan {
            calls_per_hour: Limit(number(calls)),
            messages_per_hour: Limit(number(messages)),
            ..Plan::default()
        };
        let config = [("gold".into(), plan(100, 10)), ("free".into(), plan(5, 1))].into();
        let plans = Plans::new(&config, "free");
        let mut tenant = Tenant::new(TenantId::from_parts(1, 2), "t".into(), Timestamp::from_unix_ms(0));
        assert_eq!(plans.limits(&tenant).calls_per_hour, number(5));
        tenant.plan = Some("gold".into());
        tenant.limits.calls_per_hour = number(7);
        let limits = plans.limits(&tenant);
        assert_eq!(
            (limits.calls_per_hour, limits.messages_per_hour),
            (number(7), number(10))
        );
        tenant.plan = Some("gone".into());
        let limits = plans.limits(&tenant);
        assert_eq!(
            (limits.calls_per_hour, limits.messages_per_hour),
            (number(7), number(1))
        );
        assert!(plans.has("gold") && !plans.has("gone"));
        assert_eq!(
            Plans::new(&config, "").limits(&Tenant::new(tenant.id, "t".into(), tenant.created_at)),
            Limits::default()
        );
    }
}
