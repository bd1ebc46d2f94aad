//! `GET /v1/usage`

use axum::Json;
use axum::extract::State;
use roost_domain::TenantId;
use roost_domain::usage::{Day, Usage, UsageDay};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::params::Params;
use crate::http::problem::Answer;
use crate::http::state::Gateway;

/// How many days are shown when the call does not say which, and how many it may ask for.
const DAYS_DEFAULT: i64 = 30;
const DAYS_MAX: i64 = 366;

/// Which days.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described")]
pub struct Days {
    /// First day; 29 days before the last one when absent.
    from: Option<Day>,
    /// Last day, at most 366 days in all; today when absent.
    to: Option<Day>,
}

/// What was used within a time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageReport)]
pub struct UsageBody {
    /// First day.
    from: Day,
    /// Last day.
    to: Day,
    /// Days with any use, oldest first.
    data: Vec<UsageDay>,
    /// All of them together.
    total: Usage,
}

/// Show usage.
///
/// What the tenant has used, by day in UTC; the last 30 days unless the call says which. API calls of the
/// last seconds may be missing.
#[utoipa::path(
    get, path = "/usage", operation_id = "get_usage", tag = "usage",
    params(Days),
    responses((status = 200, description = "What was used", body = UsageBody)),
    extensions(("x-scope" = json!("usage:read")), ("x-unbound" = json!(true)))
)]
pub async fn get(
    State(http): State<Http>,
    Unbound { tenant, .. }: Unbound<scope::UsageRead>,
    params: Params,
) -> Answer<Json<UsageBody>> {
    of_tenant(http.gateway()?, tenant, params).await
}

/// What a tenant has used within the days that the query names.
pub async fn of_tenant(gateway: &Gateway, tenant: TenantId, mut params: Params) -> Answer<Json<UsageBody>> {
    let (from, to) = days(&mut params, Day::of(gateway.clock.now()))?;
    let data = gateway.store.usage(tenant, from, to).await?;
    let total = data.iter().fold(Usage::default(), |sum, day| add(sum, day.usage));
    Ok(Json(UsageBody {
        from,
        to,
        data,
        total,
    }))
}

fn days(params: &mut Params, today: Day) -> Answer<(Day, Day)> {
    let from = params.parsed("from", str::parse::<Day>);
    let to = params.parsed("to", str::parse::<Day>);
    // One end alone is the end of a month's worth of days.
    let (from, to) = match (from, to) {
        (Some(from), Some(to)) => (from, to),
        (Some(from), None) => (from, Day::from_number(today.number().max(from.number()))),
        (None, to) => {
            let to = to.unwrap_or(today);
            (Day::from_number(to.number() - (DAYS_DEFAULT - 1)), to)
        }
    };
    if to < from {
        params.fault("to", "invalid", "must not be before from");
    } else if to.number() - from.number() >= DAYS_MAX {
        params.fault("from", "out_of_range", format!("at most {DAYS_MAX} days at once"));
    }
    params.finish()?;
    Ok((from, to))
}

fn add(sum: Usage, more: Usage) -> Usage {
    Usage {
        api_calls: sum.api_calls + more.api_calls,
        messages_in: sum.messages_in + more.messages_in,
        messages_out: sum.messages_out + more.messages_out,
        deliveries: sum.deliveries + more.deliveries,
        media_bytes: sum.media_bytes + more.media_bytes,
        instance_seconds: sum.instance_seconds + more.instance_seconds,
    }
}
