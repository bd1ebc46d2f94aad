//! Reading bodies and queries of control calls, with an error that names the place.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::{Problem, ProblemCode};

/// A JSON body. The content type is not looked at: this API is called by hand, too.
pub(super) struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| match rejection {
                BytesRejection::FailedToBufferBody(failed) if failed.status() == 413 => {
                    Problem::new(ProblemCode::BodyTooLarge, "the body is over the sandbox's limit")
                }
                _ => Problem::new(ProblemCode::InvalidBody, "the body could not be read"),
            })?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| problem(error, ""))?;
        json.end()
            .map_err(|error| Problem::new(ProblemCode::InvalidBody, error.to_string()))?;
        Ok(Self(value))
    }
}

/// Reads a part of a body; `at` is where it is.
pub(super) fn parse<T: DeserializeOwned>(value: Value, at: &str) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| problem(error, at))
}

fn problem(error: serde_path_to_error::Error<serde_json::Error>, at: &str) -> Problem {
    let pointer = format!("{at}{}", pointer(error.path()));
    let code = if error.inner().is_data() {
        ProblemCode::InvalidField
    } else {
        ProblemCode::InvalidBody
    };
    Problem::new(code, error.into_inner().to_string()).at(pointer)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// A query string.
pub(super) struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        match query {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::new(ProblemCode::InvalidQuery, rejection.body_text())),
        }
    }
}
