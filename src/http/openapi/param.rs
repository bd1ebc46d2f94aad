//! Parameters that many operations share, as the document describes them. What reads them is in
//! `http::params` and `http::idempotency`.

#![allow(dead_code, reason = "these types are descriptions and have no values")]

use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// `limit` and `cursor` of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// How many rows a page has at most.
    #[param(minimum = 1, maximum = 500, default = 50, example = 50)]
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same filters.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// `Idempotency-Key`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Repeatable {
    /// Makes the call repeatable: visible ASCII, unique within the tenant. The first successful answer
    /// is kept for a day and given again, with `Idempotency-Replayed: true`.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        example = "order-4711"
    )]
    idempotency_key: Option<String>,
}

/// A party or a chat as a client may name it.
pub struct AddressText;

impl PartialSchema for AddressText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .description(Some(
                "A phone number with its country code, with or without `+`, or a WhatsApp address.",
            ))
            .pattern(Some(
                r"^(\+?[1-9][0-9]{6,14}|[1-9][0-9]{6,14}@s\.whatsapp\.net|[0-9]{1,40}@lid|[0-9-]{1,40}@g\.us)$",
            ))
            .examples(["+4915550002", "4915550002@s.whatsapp.net", "739562753225683@lid"])
            .into()
    }
}

impl ToSchema for AddressText {}

/// Headers that a tenant adds to the POSTs of its webhook.
pub struct ExtraHeaders;

impl PartialSchema for ExtraHeaders {
    fn schema() -> RefOr<Schema> {
        let text = |pattern: &str, most: usize| {
            ObjectBuilder::new()
                .schema_type(SchemaType::new(Type::String))
                .min_length(Some(1))
                .max_length(Some(most))
                .pattern(Some(pattern))
        };
        ObjectBuilder::new()
            .description(Some(
                "Headers by their names. Those that say how a POST is sent, or that Roost sets, are refused.",
            ))
            .property_names(Some(text("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", 64)))
            .additional_properties(Some(text("^[!-~]([ -~]*[!-~])?$", 1024)))
            .max_properties(Some(20))
            .examples([serde_json::json!({"authorization": "Bearer abc"})])
            .into()
    }
}

impl ToSchema for ExtraHeaders {}
