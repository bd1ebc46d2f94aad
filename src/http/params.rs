//! Path and query parameters.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use roost_domain::cluster::NodeName;
use roost_domain::page::{PAGE_ROWS_MAX, PageRequest};
use roost_domain::webhook::DeliveryId;
use roost_domain::{Address, AddressError, ApiKeyId, InstanceId, MessageId, TenantId, WebhookId};

use super::auth::Caller;
use super::cursor::{CursorKey, Scope};
use super::problem::{Answer, FieldError, Problem};

const PAGE_ROWS_DEFAULT: u32 = 50;

/// A kind of id that stands in paths.
pub trait PathId: FromStr {
    /// Refuses what the caller's key is closed to, before anything is looked up.
    fn check(&self, _: &Caller) -> Answer<()> {
        Ok(())
    }
}

impl PathId for InstanceId {
    fn check(&self, caller: &Caller) -> Answer<()> {
        caller.reaches(*self)
    }
}

impl PathId for ApiKeyId {}
impl PathId for DeliveryId {}
impl PathId for MessageId {}
impl PathId for NodeName {}
impl PathId for TenantId {}
impl PathId for WebhookId {}

/// An id in the path. What is not an id of the kind names nothing, so it is 404; an instance that the
/// caller's key is not bound to is 403.
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: PathId> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::not_found("resource"))?;
        let id: T = text.parse().map_err(|_| Problem::not_found("resource"))?;
        if let Some(caller) = parts.extensions.get::<Caller>() {
            id.check(caller)?;
        }
        Ok(Self(id))
    }
}

/// The query's parameters. Each is taken by name; [`Params::finish`] refuses what is left and
/// reports everything that was wrong.
pub struct Params {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Ok(Self {
            pairs,
            errors: Vec::new(),
        })
    }
}

/// A route without parameters: whatever is in the query is a mistake.
pub struct NoParams;

impl<S: Send + Sync> FromRequestParts<S> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        Params::from_request_parts(parts, state).await?.finish()?;
        Ok(Self)
    }
}

impl Params {
    /// Takes a parameter that may be given once.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let mut found: Option<String> = None;
        let mut twice = false;
        self.pairs.retain(|(other, value)| {
            let hit = other == name;
            if hit {
                twice |= found.replace(value.clone()).is_some();
            }
            !hit
        });
        if twice {
            self.fault(name, "duplicate", "given more than once");
        }
        found
    }

    /// Takes a parameter and reads it; `None` when it is absent or wrong.
    pub fn parsed<T, E: Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(name, "invalid", error.to_string());
                None
            }
        }
    }

    /// Takes a whole number within a range.
    pub fn number<N>(&mut self, name: &str, range: std::ops::RangeInclusive<N>) -> Option<N>
    where
        N: FromStr + PartialOrd + Display,
    {
        self.parsed(name, |text| match text.parse::<N>() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(format!(
                "expected a whole number from {} to {}",
                range.start(),
                range.end()
            )),
        })
    }

    /// Takes a list separated by commas, of at most `most` entries.
    pub fn list<T, E: Display>(
        &mut self,
        name: &str,
        most: usize,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let values = self.parsed(name, |text| {
            let values: Vec<T> = text
                .split(',')
                .map(|part| read(part.trim()))
                .collect::<Result<_, E>>()
                .map_err(|error| error.to_string())?;
            if values.len() > most {
                Err(format!("at most {most} entries"))
            } else {
                Ok(values)
            }
        });
        values.unwrap_or_default()
    }

    /// Takes `cursor` and `limit`.
    pub fn page<K: CursorKey>(&mut self, scope: &Scope) -> Answer<PageRequest<K>> {
        let limit = self
            .number("limit", 1..=PAGE_ROWS_MAX)
            .unwrap_or(PAGE_ROWS_DEFAULT);
        let after = self.text("cursor").map(|text| scope.decode(&text)).transpose()?;
        Ok(PageRequest::new(after, limit))
    }

    /// Notes a fault of a parameter.
    pub fn fault(&mut self, name: &str, code: &'static str, detail: impl Into<String>) {
        self.errors.push(FieldError {
            pointer: format!("/query/{name}"),
            detail: detail.into(),
            code,
        });
    }

    /// Fails when anything was wrong or is left.
    pub fn finish(&mut self) -> Answer<()> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            let shown: String = name.chars().take(64).collect();
            self.fault(&shown, "unknown_parameter", "unknown parameter");
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::fields(std::mem::take(&mut self.errors)))
        }
    }
}

/// In a query an unescaped `+` means a space, and no address begins with one.
pub fn chat(text: &str) -> Result<Address, AddressError> {
    match text.strip_prefix(' ') {
        Some(digits) => format!("+{digits}").parse(),
        None => text.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let pairs = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        Params {
            pairs,
            errors: Vec::new(),
        }
    }

    #[test]
    fn everything_wrong_is_reported_at_once() {
        let mut params = params("limit=0&limit=9&colour=red&n=x&ok=7");
        let scope = Scope::of(&["x"]);
        params.page::<i64>(&scope).unwrap();
        assert_eq!(params.number("n", 1..=9), None);
        assert_eq!(params.number("ok", 1..=9), Some(7));
        let problem = params.finish().unwrap_err();
        let status = problem.status().as_u16();
        assert_eq!(status, 422);
        assert!(problem.detail().starts_with("3 values"), "{}", problem.detail());
    }
}
