//! `GET /v1/deliveries/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::event::Event;
use roost_domain::webhook::store::DeliveryDetail;
use roost_domain::webhook::{Attempt, Delivery, DeliveryId};
use serde::{Serialize, Serializer};

use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// A delivery with everything that is known of it.
pub struct DetailBody(DeliveryDetail);

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    delivery: &'a Delivery,
    attempts: &'a [Attempt],
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

/// One delivery with its attempts, oldest first, and its event as long as that is kept.
pub async fn get(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<DeliveryId>,
    _: NoParams,
) -> Answer<Json<DetailBody>> {
    let detail = http.gateway()?.webhooks.delivery(tenant, id).await?;
    Ok(Json(DetailBody(detail)))
}
