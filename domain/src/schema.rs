//! How the API's description names values that are texts in JSON.

use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};

/// A text of a known form.
pub(crate) fn text(description: &str, pattern: &str, example: &str) -> RefOr<Schema> {
    plain(description, example).pattern(Some(pattern)).into()
}

/// A point in time.
pub(crate) fn time(description: &str, example: &str) -> RefOr<Schema> {
    plain(description, example)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .into()
}

/// One of a list of texts.
pub(crate) fn one_of<'a>(
    description: &str,
    known: impl IntoIterator<Item = &'a str>,
    example: &str,
) -> RefOr<Schema> {
    plain(description, example).enum_values(Some(known)).into()
}

/// One of a list of texts, or a text of a known form.
pub(crate) fn one_of_or<'a>(
    description: &str,
    known: impl IntoIterator<Item = &'a str>,
    pattern: &str,
    example: &str,
) -> RefOr<Schema> {
    let known = ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::String))
        .enum_values(Some(known));
    let other = ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::String))
        .pattern(Some(pattern));
    AnyOfBuilder::new()
        .item(known)
        .item(other)
        .description(Some(description))
        .examples([example])
        .into()
}

/// A value of any of these kinds.
pub(crate) fn any_of<const N: usize>(kinds: [RefOr<Schema>; N]) -> RefOr<Schema> {
    kinds
        .into_iter()
        .fold(AnyOfBuilder::new(), AnyOfBuilder::item)
        .into()
}

/// A day.
pub(crate) fn day(description: &str, example: &str) -> RefOr<Schema> {
    plain(description, example)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)))
        .into()
}

fn plain(description: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::String))
        .description(Some(description))
        .examples([example])
}

/// Gives a type a schema by that name, made by an expression.
macro_rules! schema {
    ($name:ident, $schema:expr) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $schema
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

pub(crate) use schema;
