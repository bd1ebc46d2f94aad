//! The HTTP edge: extracts, makes one call, maps the answer.
//!
//! `edge` is what holds for every request, `problem` what is answered when something is wrong,
//! `v1` the routes. Handlers hold handles to the actors and to the store, and know neither slots nor
//! nodes nor SQL.

mod accept;
mod admission;
mod audit;
mod auth;
mod body;
mod browser;
mod call;
pub mod client_address;
mod compression;
mod cursor;
mod edge;
mod fault;
mod health;
mod idempotency;
mod json_text;
mod limit;
pub mod metrics;
pub mod openapi;
mod page;
mod params;
mod place;
pub mod problem;
mod qr_image;
mod request_id;
pub mod server;
mod state;
mod stream;
mod strict;
mod usage;
mod v1;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use roost_domain::ErrorCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use state::Http;

use problem::Problem;

/// Every route, with the edge around it.
pub fn router(http: Http) -> Router {
    let router = Router::from(node_routes())
        .nest("/v1", v1_with_callers(&http))
        .merge(openapi::serve_routes(&http))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(axum::middleware::from_fn_with_state(http.clone(), edge::edge));
    let router = match compression::layer(http.config()) {
        Some(compression) => router.layer(compression),
        None => router,
    };
    let router = match browser::cors(&http.config().cors) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        .layer(axum::middleware::from_fn(browser::protect))
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
    let layer = axum::middleware::from_fn_with_state(http.clone(), admission::layer);
    Router::from(v1::routes()).route_layer(layer)
}

async fn no_such_route(uri: Uri) -> Problem {
    let shown: String = uri.path().chars().take(200).collect();
    Problem::new(ErrorCode::NotFound, format!("there is no route {shown}"))
}

/// `Allow` is added by the router.
async fn no_such_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(
        ErrorCode::MethodNotAllowed,
        format!("{method} is not possible here; see Allow"),
    )
    .into_response()
}
