//! `GET /docs`: Swagger UI, from files inside the binary. It fetches nothing from outside, and a
//! content security policy holds it to that.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use roost_domain::ErrorCode;

use super::serve::Asset;
use crate::http::Http;
use crate::http::problem::{Answer, Problem};

const PAGE: &str = include_str!("viewer/index.html");
const START: &str = include_str!("viewer/start.js");
/// Of Swagger UI's files only these are needed; the page and its start are our own.
const LIBRARY: [(&str, &str); 2] = [
    ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ("swagger-ui.css", "text/css; charset=utf-8"),
];

/// Scripts, styles and calls from and to here only, small pictures inside the style sheet, and nobody
/// frames the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

struct File {
    name: &'static str,
    asset: Asset,
    gzip: bool,
}

/// `/docs`, and its files below it.
pub fn routes() -> Router<Http> {
    let files: Arc<[File]> = files().into();
    let index = Asset::new(PAGE, "text/html; charset=utf-8");
    Router::new()
        .route(
            "/docs",
            get(async move |headers: HeaderMap| guarded(index.answer(&headers))),
        )
        .route(
            "/docs/{file}",
            get(async move |Path(name): Path<String>, headers: HeaderMap| open(&files, &name, &headers)),
        )
}

fn files() -> Vec<File> {
    let mut files = vec![File {
        name: "start.js",
        asset: Asset::new(START, "text/javascript; charset=utf-8"),
        gzip: false,
    }];
    let config = Arc::new(utoipa_swagger_ui::Config::default());
    for (name, media) in LIBRARY {
        // The build script has put it there; a release of Swagger UI without it fails the test below.
        if let Ok(Some(file)) = utoipa_swagger_ui::serve(name, Arc::clone(&config)) {
            files.push(File {
                name,
                asset: Asset::new(file.bytes.into_owned(), media),
                gzip: file.gzpipped,
            });
        }
    }
    files
}

fn open(files: &[File], name: &str, headers: &HeaderMap) -> Answer<Response> {
    let file = files
        .iter()
        .find(|file| file.name == name)
        .ok_or_else(|| Problem::not_found("file"))?;
    if !file.gzip {
        return Ok(guarded(file.asset.answer(headers)));
    }
    if !takes_gzip(headers) {
        let detail = "this file is there in gzip only";
        return Err(Problem::new(ErrorCode::NotAcceptable, detail));
    }
    let encoding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
    Ok(guarded((encoding, file.asset.answer(headers)).into_response()))
}

/// Who says nothing takes every encoding.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut said = headers.get_all(header::ACCEPT_ENCODING).iter().peekable();
    said.peek().is_none()
        || said
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|coding| {
                let (name, quality) = coding.split_once(';').unwrap_or((coding, "q=1"));
                let refused = quality.trim().trim_start_matches("q=").parse() == Ok(0.0_f32);
                (!refused).then(|| name.trim())
            })
            .any(|name| name == "gzip" || name == "*")
}

fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_inside_the_binary() {
        let files = files();
        for part in PAGE.split("\"docs/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(files.iter().any(|file| file.name == name), "{name}");
        }
        assert_eq!(files.len(), 1 + LIBRARY.len());
        for outside in ["http://", "https://", "//"] {
            assert!(!PAGE.contains(&format!("\"{outside}")) && !START.contains(&format!("\"{outside}")));
        }
    }

    #[test]
    fn gzip_is_sent_unless_it_is_refused() {
        for (said, takes) in [
            (None, true),
            (Some("gzip, br"), true),
            (Some("br;q=1, *;q=0.1"), true),
            (Some("identity"), false),
            (Some("gzip;q=0, identity"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(said) = said {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(said));
            }
            assert_eq!(takes_gzip(&headers), takes, "{said:?}");
        }
    }
}
