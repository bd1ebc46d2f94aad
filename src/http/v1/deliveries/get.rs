//! `GET /v1/deliveries/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::event::Event;
use roost_domain::webhook::store::DeliveryDetail;
use roost_domain::webhook::{Attempt, Delivery, DeliveryId};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// A delivery with everything that is known of it.
pub struct DetailBody(DeliveryDetail);

/// A delivery with everything that is known of it.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryDetail)]
struct Shown<'a> {
    #[serde(flatten)]
    delivery: &'a Delivery,
    /// Its attempts, oldest first.
    attempts: &'a [Attempt],
    /// Its event, as long as that is kept.
    event: Option<&'a Event>,
}

impl Serialize for DetailBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let DeliveryDetail {
            delivery,
            attempts,
            event,
        } = &self.0;
        let event = event.as_deref();
        Shown {
            delivery,
            attempts,
            event,
        }
        .serialize(serializer)
    }
}

/// Get a delivery.
///
/// One delivery with its attempts, oldest first, and its event as long as that is kept.
#[utoipa::path(
    get, path = "/deliveries/{id}", operation_id = "get_delivery", tag = "deliveries",
    params(("id" = DeliveryId, Path, description = "The delivery")),
    responses((status = 200, description = "As it is now", body = Shown<'_>)),
    extensions(("x-scope" = json!("webhooks:read")), ("x-unbound" = json!(true)))
)]
pub async fn get(
    Unbound { tenant, .. }: Unbound<scope::WebhooksRead>,
    State(http): State<Http>,
    Id(id): Id<DeliveryId>,
    _: NoParams,
) -> Answer<Json<DetailBody>> {
    let detail = http.gateway()?.webhooks.delivery(tenant, id).await?;
    Ok(Json(DetailBody(detail)))
}
