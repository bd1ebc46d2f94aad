//! The HTTP edge: extracts, makes one call, maps the answer.
//!
//! `edge` is what holds for every request, `problem` what is answered when something is wrong,
//! `v1` the routes. Handlers hold handles to the actors and to the store, and know neither slots nor
//! nodes nor SQL.

mod accept;
mod auth;
mod body;
pub mod client_address;
mod cursor;
mod edge;
mod fault;
mod health;
mod idempotency;
mod json_text;
pub mod metrics;
pub mod openapi;
mod page;
mod params;
pub mod problem;
mod qr_image;
mod request_id;
pub mod server;
mod state;
mod stream;
mod v1;

use axum::Router;
use axum::http::{Method, Uri};
use roost_domain::ErrorCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use state::Http;

use problem::Problem;

/// Every route, with the edge around it.
pub fn router(http: Http) -> Router {
    Router::from(node_routes())
        .nest("/v1", v1_with_callers(&http))
        .merge(openapi::serve_routes(&http))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(axum::middleware::from_fn_with_state(http.clone(), edge::edge))
        .with_state(http)
}

/// Every route with its description.
fn described() -> OpenApiRouter<Http> {
    node_routes().nest("/v1", v1::routes())
}

fn node_routes() -> OpenApiRouter<Http> {
    OpenApiRouter::default()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::show))
}

/// The routes of `/v1`, with authentication around them.
fn v1_with_callers(http: &Http) -> Router<Http> {
    let layer = axum::middleware::from_fn_with_state(http.clone(), auth::layer);
    Router::from(v1::routes()).route_layer(layer)
}

async fn no_such_route(uri: Uri) -> Problem {
    let shown: String = uri.path().chars().take(200).collect();
    Problem::new(ErrorCode::NotFound, format!("there is no route {shown}"))
}

async fn no_such_method(method: Method) -> Problem {
    Problem::new(
        ErrorCode::MethodNotAllowed,
        format!("{method} is not possible here; see Allow"),
    )
}
