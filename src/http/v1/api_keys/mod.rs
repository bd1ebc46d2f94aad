//! `/v1/api-keys`: a tenant's keys, for its keys with the scope `keys:manage`.

pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod patch;
pub mod rotate;
pub(in crate::http::v1) mod spec;

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_domain::api_key::{ApiKey, Principal};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{KeyText, MadeKey};

/// Answers with a secret are kept by no cache.
pub(in crate::http::v1) const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// A key that was made, with its text. The text is shown this once: the answer to a repetition has
/// `null` in its place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedApiKey)]
pub struct MadeBody {
    #[serde(flatten)]
    row: ApiKey,
    /// Its text; null in an answer that is given again.
    #[schema(example = "rst_jhgh3cwqh78y_6ehvapgm8ehgtcubyivbhkbecg7dtzfznteruyzs")]
    key: Option<String>,
}

impl MadeBody {
    /// A key as its maker gets to see it.
    pub(in crate::http::v1) fn new(made: MadeKey) -> Self {
        Self::with_text(made.key, &made.text)
    }

    /// The same of a key that has a new text.
    pub(in crate::http::v1) fn with_text(row: ApiKey, text: &KeyText) -> Self {
        Self {
            row,
            key: Some(text.reveal().to_owned()),
        }
    }

    /// The same for whoever asks again.
    pub(in crate::http::v1) fn without_text(&self) -> Self {
        Self {
            row: self.row.clone(),
            key: None,
        }
    }

    /// The answer to the call that made it.
    pub(in crate::http::v1) fn into_answer(self) -> Response {
        let location = match self.row.principal {
            Principal::Tenant(_) => format!("/v1/api-keys/{}", self.row.id),
            Principal::Operator => format!("/v1/operator/api-keys/{}", self.row.id),
        };
        let headers = [(header::LOCATION, location)];
        (StatusCode::CREATED, NO_STORE, headers, axum::Json(self)).into_response()
    }
}
