//! `GET /v1/webhooks/{id}/dead-letters` and `POST /v1/webhooks/{id}/dead-letters/redrive`

use crate::http::openapi::param::Paging;
use crate::http::openapi::param::Repeatable;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_actors::webhook::ReplayStarted;
use roost_domain::ErrorCode;
use roost_domain::WebhookId;
use roost_domain::webhook::{Delivery, DeliveryId, DeliveryIdError, DeliveryStatus};
use serde::Deserialize;
use utoipa::ToSchema;

use super::deliveries;
use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::Command;
use crate::http::fault::Faults;
use crate::http::idempotency::once;
use crate::http::page::PageBody;
use crate::http::params::{Id, NoParams, Params};
use crate::http::problem::Answer;

const DELIVERIES_MAX: usize = 500;

/// Which dead letters are to be tried again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedriveDeadLetters, example = json!({"all": true}))]
pub struct Which {
    /// These.
    #[schema(value_type = Option<Vec<DeliveryId>>, min_items = 1, max_items = 500)]
    delivery_ids: Option<Vec<String>>,
    /// All of them.
    all: Option<bool>,
}

/// List dead letters.
///
/// Deliveries that were given up, newest event first.
#[utoipa::path(
    get, path = "/webhooks/{id}/dead-letters", operation_id = "list_webhook_dead_letters", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook"), deliveries::Filter, Paging),
    responses((status = 200, description = "A page", body = PageBody<Delivery>)),
    extensions(("x-scope" = json!("webhooks:read")), ("x-unbound" = json!(true)))
)]
pub async fn list(
    Unbound { tenant, .. }: Unbound<scope::WebhooksRead>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    params: Params,
) -> Answer<Json<PageBody<Delivery>>> {
    deliveries::page(&http, tenant, id, params, Some(DeliveryStatus::Dead)).await
}

/// Redrive dead letters.
///
/// Tries dead letters again, each with a new round of attempts.
#[utoipa::path(
    post, path = "/webhooks/{id}/dead-letters/redrive", operation_id = "redrive_webhook_dead_letters", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook"), Repeatable),
    request_body(content = Which, description = "These, or all"),
    responses((status = 202, description = "Begun", body = ReplayStarted)),
    extensions(
        ("x-scope" = json!("webhooks:manage")), ("x-unbound" = json!(true)),
        ("x-errors" = json!([ErrorCode::LimitReached, ErrorCode::WrongState, ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn redrive(
    Unbound { tenant, .. }: Unbound<scope::WebhooksManage>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    _: NoParams,
    command: Command<Which>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let which = command.body.check(id)?;
    once(gateway, tenant, command.repeatable, StatusCode::ACCEPTED, async {
        Ok(gateway.webhooks.redrive_dead(tenant, id, which).await?)
    })
    .await
}

impl Which {
    /// These, or all.
    fn check(self, webhook: WebhookId) -> Answer<Option<Vec<DeliveryId>>> {
        let mut faults = Faults::default();
        let which = match (self.delivery_ids, self.all.unwrap_or(false)) {
            (None, true) => None,
            (Some(texts), false) => {
                if texts.is_empty() {
                    faults.add("/delivery_ids", "empty", "name at least one delivery");
                }
                Some(faults.list("/delivery_ids", DELIVERIES_MAX, &texts, |text| {
                    let id: DeliveryId = text.parse().map_err(|error: DeliveryIdError| error.to_string())?;
                    if id.webhook == webhook {
                        Ok(id)
                    } else {
                        Err("this is a delivery of another webhook".to_owned())
                    }
                }))
            }
            (Some(_), true) => {
                faults.add("/all", "invalid", "either delivery_ids or all, not both");
                None
            }
            (None, false) => {
                faults.add("/delivery_ids", "missing", "say delivery_ids, or \"all\": true");
                None
            }
        };
        faults.finish()?;
        Ok(which)
    }
}
