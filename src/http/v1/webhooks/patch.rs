//! `PATCH /v1/webhooks/{id}`

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use roost_domain::WebhookId;
use roost_domain::webhook::store::WebhookPatch;
use serde::Deserialize;

use super::{WebhookBody, instances, spec};
use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::body::{Body, nullable};
use crate::http::fault::Faults;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// What can be changed; a field that is absent stays as it is. Null removes a description, a rate,
/// every header, or a restriction to instances or chats.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    #[serde(default, deserialize_with = "nullable")]
    url: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    events: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "nullable")]
    instances: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "nullable")]
    chats: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "nullable")]
    mode: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    headers: Option<Option<BTreeMap<String, String>>>,
    #[serde(default, deserialize_with = "nullable")]
    max_concurrency: Option<Option<u16>>,
    #[serde(default, deserialize_with = "nullable")]
    rate_per_second: Option<Option<u32>>,
    #[serde(default, deserialize_with = "nullable")]
    api_version: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    legacy_signature: Option<Option<bool>>,
    #[serde(default, deserialize_with = "nullable")]
    description: Option<Option<String>>,
}

/// Changes a webhook. Events that are not read yet go by the new filter, and each POST by the new rest.
pub async fn patch(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<WebhookId>,
    _: NoParams,
    Body(patch): Body<Patch>,
) -> Answer<WebhookBody> {
    let gateway = http.gateway()?;
    let now = gateway.webhooks.get(tenant, id).await?;
    let patch = patch.check(http.webhooks().concurrency_max)?;
    if let Some(instances) = &patch.instances
        && *instances != now.filter.instances
    {
        instances::check(gateway, tenant, instances).await?;
    }
    Ok(Json(gateway.webhooks.patch(tenant, id, patch).await?))
}

impl Patch {
    fn check(self, concurrency_max: u16) -> Answer<WebhookPatch> {
        let mut faults = Faults::default();
        let url = set(&mut faults, "/url", self.url);
        if let Some(url) = &url {
            spec::url(&mut faults, url);
        }
        let events = set(&mut faults, "/events", self.events).map(|texts| spec::events(&mut faults, &texts));
        let instances = self
            .instances
            .map(|texts| spec::instances(&mut faults, &texts.unwrap_or_default()));
        let chats = self
            .chats
            .map(|texts| spec::chats(&mut faults, &texts.unwrap_or_default()));
        let mode = set(&mut faults, "/mode", self.mode).and_then(|text| spec::mode(&mut faults, &text));
        let headers = self
            .headers
            .map(|headers| spec::headers(&mut faults, headers.unwrap_or_default()));
        let max_concurrency = set(&mut faults, "/max_concurrency", self.max_concurrency);
        if let Some(number) = max_concurrency {
            spec::max_concurrency(&mut faults, concurrency_max, number);
        }
        if let Some(Some(number)) = self.rate_per_second {
            spec::rate(&mut faults, number);
        }
        let legacy_signature = set(&mut faults, "/legacy_signature", self.legacy_signature);
        let api_version = set(&mut faults, "/api_version", self.api_version)
            .and_then(|text| spec::api_version(&mut faults, &text));
        if let Some(Some(text)) = &self.description {
            spec::description(&mut faults, "/description", text);
        }
        faults.finish()?;
        Ok(WebhookPatch {
            url,
            description: self.description,
            events,
            instances,
            chats,
            mode,
            headers,
            max_concurrency,
            rate_per_second: self.rate_per_second,
            api_version,
            legacy_signature,
            state: None,
        })
    }
}

/// The new value of a field that can be changed but not removed.
fn set<T>(faults: &mut Faults, pointer: &str, field: Option<Option<T>>) -> Option<T> {
    let given = field?;
    if given.is_none() {
        faults.add(pointer, "invalid", "this cannot be removed");
    }
    given
}
