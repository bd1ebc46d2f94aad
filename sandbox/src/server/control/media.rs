//! Media by hand: what a phone is to send, what is stored, and letting addresses expire.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::account::{Page, list_limit};
use super::body::{Body, Params};
use super::message;
use super::problem::{Problem, ProblemCode};
use crate::server::config::SandboxConfig;
use crate::server::media::{StoreError, Stored};
use crate::server::phone::MediumKind;
use crate::server::phone::media::{About, NewMedium, THUMBNAIL, address};
use crate::server::service::Service;

const TEXT_BYTES_MAX: usize = 65_536;
const NAME_BYTES_MAX: usize = 1_024;
const THUMBNAIL_BYTES_MAX: usize = 64 << 10;
const LIST_MAX: usize = 10_000;
/// What encryption adds to a file, at most.
const PADDING_BYTES: u64 = 16 + 10;

/// Messages are among them: their bodies may hold a file.
pub(super) fn routes(config: &SandboxConfig) -> Router<Arc<Service>> {
    let body_bytes_max = config.body_bytes_max.max(config.media_body_bytes_max);
    let messages = get(message::list).post(message::send);
    Router::new()
        .route(
            "/accounts/{phone}/messages",
            messages.layer(DefaultBodyLimit::max(body_bytes_max)),
        )
        .route("/accounts/{phone}/messages/{id}/media", get(message::media))
        .route("/media", get(list))
        .route("/media/expire", post(expire))
        .route("/ca.pem", get(ca_pem))
}

/// A medium to send: its bytes in base64, or how many are to be made up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMedia {
    kind: MediumKind,
    data: Option<String>,
    size: Option<u64>,
    mimetype: Option<String>,
    caption: Option<String>,
    file_name: Option<String>,
    seconds: Option<u32>,
    width: Option<u32>,
    height: Option<u32>,
    /// A small JPEG in base64; images and videos have a gray square without it.
    thumbnail: Option<String>,
}

/// A medium that can be made.
pub(super) struct Checked {
    kind: MediumKind,
    source: Source,
    about: About,
    thumbnail: Option<Vec<u8>>,
}

enum Source {
    Given(Vec<u8>),
    MadeUp(usize),
}

impl NewMedia {
    pub(super) fn check(self, blob_bytes_max: u64) -> Result<Checked, Problem> {
        let invalid = |pointer: &'static str, detail: String| {
            Err(Problem::new(ProblemCode::InvalidField, detail).at(pointer))
        };
        let bytes_max = blob_bytes_max.saturating_sub(PADDING_BYTES);
        let is_within = |bytes: u64| (1..=bytes_max).contains(&bytes);
        let source = match (self.data, self.size) {
            (Some(data), None) => Source::Given(decode(&data, "/media/data")?),
            (None, Some(size)) if is_within(size) => Source::MadeUp(usize::try_from(size).unwrap_or(0)),
            (None, Some(_)) => return invalid("/media/size", format!("a size is from 1 to {bytes_max}")),
            _ => return invalid("/media", "give either data or size".to_owned()),
        };
        if let Source::Given(bytes) = &source
            && !is_within(bytes.len() as u64)
        {
            return invalid("/media/data", format!("a medium has 1 to {bytes_max} bytes"));
        }
        let kind = self.kind;
        let is_visible = matches!(kind, MediumKind::Image | MediumKind::Video);
        let thumbnail = match &self.thumbnail {
            Some(text) => Some(decode(text, "/media/thumbnail")?),
            None => is_visible.then(|| THUMBNAIL.to_vec()),
        };
        if thumbnail
            .as_ref()
            .is_some_and(|jpeg| jpeg.len() > THUMBNAIL_BYTES_MAX)
        {
            let detail = format!("a thumbnail has at most {THUMBNAIL_BYTES_MAX} bytes");
            return invalid("/media/thumbnail", detail);
        }
        for (pointer, text, bytes_max) in [
            ("/media/caption", &self.caption, TEXT_BYTES_MAX),
            ("/media/file_name", &self.file_name, NAME_BYTES_MAX),
            ("/media/mimetype", &self.mimetype, NAME_BYTES_MAX),
        ] {
            if text.as_ref().is_some_and(|text| text.len() > bytes_max) {
                return invalid(pointer, format!("it has at most {bytes_max} bytes"));
            }
        }
        let takes_time = matches!(kind, MediumKind::Audio | MediumKind::Voice | MediumKind::Video);
        let about = About {
            mimetype: self.mimetype.unwrap_or_else(|| mimetype(kind).to_owned()),
            caption: self.caption,
            file_name: self
                .file_name
                .or_else(|| (kind == MediumKind::Document).then(|| "document".to_owned())),
            seconds: self.seconds.or(takes_time.then_some(1)),
            width: self.width.or(is_visible.then_some(8)),
            height: self.height.or(is_visible.then_some(8)),
        };
        Ok(Checked {
            kind,
            source,
            about,
            thumbnail,
        })
    }
}

impl Checked {
    /// The medium itself. Takes time and memory in proportion to its size.
    pub(super) fn make(self) -> Result<NewMedium, StoreError> {
        let bytes = match self.source {
            Source::Given(bytes) => bytes,
            Source::MadeUp(size) => made_up(size),
        };
        Ok(NewMedium {
            kind: self.kind,
            bytes,
            about: self.about,
            thumbnail: self.thumbnail,
        })
    }
}

/// Bytes that nobody else has, but for the shortest.
fn made_up(size: usize) -> Vec<u8> {
    let seed = rand::random::<[u8; 32]>();
    seed.iter().copied().cycle().take(size).collect()
}

fn mimetype(kind: MediumKind) -> &'static str {
    match kind {
        MediumKind::Image => "image/jpeg",
        MediumKind::Video => "video/mp4",
        MediumKind::Audio => "audio/mpeg",
        MediumKind::Voice => "audio/ogg; codecs=opus",
        MediumKind::Document => "application/octet-stream",
        MediumKind::Sticker => "image/webp",
    }
}

fn decode(text: &str, pointer: &'static str) -> Result<Vec<u8>, Problem> {
    let invalid = |_| Problem::new(ProblemCode::InvalidField, "it is not valid base64").at(pointer);
    STANDARD.decode(text).map_err(invalid)
}

/// Works on a whole file, off the threads that serve; only a few files are in memory at a time.
pub(super) async fn in_background<T: Send + 'static>(
    service: &Arc<Service>,
    work: impl FnOnce(&Service) -> T + Send + 'static,
) -> Result<T, Problem> {
    let failed = || Problem::new(ProblemCode::Internal, "the file could not be worked on");
    let permit = service.media.phone_files.clone().acquire_owned().await;
    let permit = permit.map_err(|_| failed())?;
    let worker = service.clone();
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&worker);
        drop(permit);
        done
    });
    done.await.map_err(|_| failed())
}

/// A file as an answer.
pub(super) fn file(bytes: Vec<u8>, kind: Option<&str>) -> Response {
    let kind = kind.and_then(|kind| HeaderValue::from_str(kind).ok());
    let kind = kind.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"));
    let mut response = Response::new(HttpBody::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// The `number` of the last file of the page before.
    after: Option<u64>,
    limit: Option<usize>,
}

/// A stored file as the API shows it.
#[derive(Serialize)]
pub(super) struct FileView {
    number: u64,
    kind: Box<str>,
    /// Of the encrypted file.
    bytes: u64,
    file_enc_sha256: String,
    direct_path: String,
    url: String,
    /// The account that uploaded it, by its phone number.
    uploaded_by: Option<String>,
    /// Unix seconds.
    expires_at: u64,
    expired: bool,
}

#[derive(Serialize)]
pub(super) struct Files {
    #[serde(flatten)]
    page: Page<FileView>,
    /// Bytes in use, unfinished uploads included.
    bytes_stored: u64,
}

pub(super) async fn list(
    State(service): Shared,
    Params(params): Params<ListParams>,
) -> Result<Json<Files>, Problem> {
    let limit = list_limit(params.limit, LIST_MAX)?;
    let media = &service.media;
    let mut files = media.store.list(params.after.unwrap_or(0), limit + 1);
    let more = files.len() > limit;
    files.truncate(limit);
    let next_cursor = files.last().filter(|_| more).map(|file| file.number.to_string());
    let numbers: std::collections::HashMap<_, _> = service
        .accounts()
        .into_iter()
        .map(|account| (account.raw_id, account.pn.to_string()))
        .collect();
    let view = |file: Stored| FileView {
        number: file.number,
        bytes: file.row.bytes,
        file_enc_sha256: STANDARD.encode(file.row.hash),
        direct_path: file.direct_path(),
        url: media.url(&file),
        uploaded_by: numbers.get(&file.row.account).cloned(),
        expires_at: file.row.expires_s,
        expired: file.is_expired(),
        kind: file.row.kind,
    };
    Ok(Json(Files {
        page: Page {
            data: files.into_iter().map(view).collect(),
            next_cursor,
        },
        bytes_stored: media.store.budget.used(),
    }))
}

/// What is to expire: one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpireBody {
    direct_path: Option<String>,
    /// A media message, as any phone knows it.
    whatsapp_id: Option<String>,
    /// Every address.
    #[serde(default)]
    all: bool,
    /// Every token for uploads.
    #[serde(default)]
    auth: bool,
}

#[derive(Serialize)]
pub(super) struct Expired {
    /// Addresses that were good until now.
    expired: usize,
}

/// Lets addresses, or tokens, expire now.
pub(super) async fn expire(
    State(service): Shared,
    Body(body): Body<ExpireBody>,
) -> Result<Json<Expired>, Problem> {
    let media = &service.media;
    let not_found = |pointer| {
        let detail = "no stored file has this address, or belongs to this message";
        Problem::new(ProblemCode::MediaNotFound, detail).at(pointer)
    };
    let _unit = service.journal.unit();
    let expired = match body {
        ExpireBody {
            direct_path: Some(path),
            whatsapp_id: None,
            all: false,
            auth: false,
        } => {
            let (file, _) = media.find(&path).ok_or_else(|| not_found("/direct_path"))?;
            media.store.expire(|number, _| number == file.number)
        }
        ExpireBody {
            direct_path: None,
            whatsapp_id: Some(id),
            all: false,
            auth: false,
        } => {
            let accounts = service.accounts();
            let path = accounts.iter().find_map(|account| address(account, &id));
            let file = path.and_then(|path| media.find(&path));
            let (file, _) = file.ok_or_else(|| not_found("/whatsapp_id"))?;
            media.store.expire(|_, row| row.hash == file.row.hash)
        }
        ExpireBody {
            direct_path: None,
            whatsapp_id: None,
            all,
            auth,
        } if all || auth => {
            if auth {
                media.expire_tokens();
            }
            if all { media.store.expire(|_, _| true) } else { 0 }
        }
        _ => {
            let detail = "name one of direct_path and whatsapp_id, or all, or auth, or both of these";
            return Err(Problem::new(ProblemCode::InvalidField, detail));
        }
    };
    Ok(Json(Expired { expired }))
}

/// The certificate that clients have to trust for media.
pub(super) async fn ca_pem(State(service): Shared) -> Response {
    let pem = service.media.ca_pem().as_bytes().to_vec();
    file(pem, Some("application/x-pem-file"))
}
