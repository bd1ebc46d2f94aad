//! Uploads: `POST /mms/<kind>/<hash>?auth=…&token=<hash>`, a probe with `resume=1`, and the rest of an
//! interrupted one with `file_offset`.
//!
//! The body goes to the store block by block. It is answered when its hash is right and its address
//! is kept; what came before an interruption is kept as a draft.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::Serialize;
use serde_json::json;

use super::blob::{BLOCK_BYTES, Draft, Hash};
use super::fault::Verdict;
use super::listener::Cut;
use super::path::{decoded, parameter};
use super::store::{StoreError, Stored};
use super::{Holder, Media};
use crate::server::fault::MediaAction;
use crate::server::service::Service;

const KIND_BYTES_MAX: usize = 40;
/// What is read of a body that is refused, so that the client gets to read why.
const DRAINED_BYTES_MAX: u64 = 64 << 20;

/// The answer to an upload.
#[derive(Serialize)]
struct Uploaded {
    url: String,
    direct_path: String,
    handle: String,
}

/// Why an upload failed; the client reads it as JSON.
#[derive(Debug)]
pub(super) struct Failure(StatusCode, String);

impl Failure {
    pub fn new(status: StatusCode, detail: impl ToString) -> Self {
        Self(status, detail.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(status, message) = self;
        let body = json!({"error": {"code": status.as_u16(), "message": message}});
        (status, Json(body)).into_response()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let status = match error {
            StoreError::Full => StatusCode::INSUFFICIENT_STORAGE,
            StoreError::Gone | StoreError::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if let StoreError::Io(source) = &error {
            tracing::error!(error = %source, "an uploaded file could not be stored");
        }
        Self::new(status, error)
    }
}

/// What an upload asks for.
struct Request {
    holder: Holder,
    kind: String,
    hash: Hash,
    offset: Option<u64>,
    is_probe: bool,
    /// As the client announces it.
    bytes: u64,
}

pub(super) async fn handle(
    State(service): State<Arc<Service>>,
    Path((kind, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    Extension(cut): Extension<Cut>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut body = body.into_data_stream();
    let query = query.unwrap_or_default();
    let outcome = async {
        let request = Request::read(&service.media, [&kind, &name], &query, &headers)?;
        if request.is_probe {
            return Ok(probe(&service.media, &request));
        }
        let holder = Some(request.holder);
        let verdict = Verdict::of(&service, holder, MediaAction::Upload, request.bytes);
        if let Some(status) = verdict.status.and_then(|code| StatusCode::from_u16(code).ok()) {
            return Err(Failure::new(status, "the sandbox was told to answer this"));
        }
        receive(&service, request, &mut body, verdict, &cut).await
    };
    match outcome.await {
        Ok(answer) => answer,
        Err(failure) => {
            drain(&mut body, service.config.idle_timeout).await;
            failure.into_response()
        }
    }
}

impl Request {
    fn read(
        media: &Media,
        [kind, name]: [&str; 2],
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Self, Failure> {
        let bad = |detail| Failure::new(StatusCode::BAD_REQUEST, detail);
        let auth = parameter(query, "auth");
        let checked = media.tokens.check(auth.as_deref(), crate::server::sync::now_s());
        let holder = checked.map_err(|error| Failure::new(StatusCode::UNAUTHORIZED, error))?;
        let is_kind = |kind: &str| kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if kind.len() > KIND_BYTES_MAX || !is_kind(kind) {
            return Err(bad("the path names no type of media"));
        }
        let hash = read_hash(name).ok_or_else(|| bad("the path does not end in a base64url SHA-256"))?;
        let token = parameter(query, "token");
        if token.as_deref().and_then(read_hash) != Some(hash) {
            return Err(bad("the token is not the hash in the path"));
        }
        let offset = match parameter(query, "file_offset") {
            Some(text) => Some(text.parse().map_err(|_| bad("file_offset is no number"))?),
            None => None,
        };
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok());
        Ok(Self {
            holder,
            kind: kind.to_owned(),
            hash,
            offset,
            is_probe: parameter(query, "resume").is_some_and(|value| value != "0"),
            bytes: length.and_then(|text| text.parse().ok()).unwrap_or(0),
        })
    }
}

/// A hash as clients write it: base64 of either alphabet, padded or not.
fn read_hash(text: &str) -> Option<Hash> {
    let text = decoded(text);
    let text = text.trim_end_matches('=');
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .ok()?;
    bytes.try_into().ok()
}

/// Says how much of a file is there already.
fn probe(media: &Media, request: &Request) -> Response {
    if let Some(stored) = media.store.address(&request.hash, &request.kind) {
        let answer = uploaded(media, &stored);
        let answer = json!({"resume": "complete", "url": answer.url, "direct_path": answer.direct_path});
        return Json(answer).into_response();
    }
    let bytes = media.store.draft_bytes(&request.hash).unwrap_or(0);
    Json(json!({"resume": bytes.to_string()})).into_response()
}

fn uploaded(media: &Media, stored: &Stored) -> Uploaded {
    let direct_path = stored.direct_path();
    Uploaded {
        url: format!("{}&mms3=true", media.url(stored)),
        handle: URL_SAFE_NO_PAD.encode(direct_path.as_bytes()),
        direct_path,
    }
}

/// An upload in progress: what has come is kept if it is given up.
struct Upload<'a> {
    media: &'a Media,
    hash: Hash,
    draft: Option<Draft>,
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let Some(draft) = self.draft.take() {
            self.media.store.keep_draft(self.hash, draft);
        }
    }
}

async fn receive(
    service: &Service,
    request: Request,
    body: &mut BodyDataStream,
    verdict: Verdict,
    cut: &Cut,
) -> Result<Response, Failure> {
    let media = &service.media;
    let bytes_max = service.config.media_blob_bytes_max;
    let too_large = || {
        let detail = format!("a file has at most {bytes_max} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    if request.offset.unwrap_or(0).saturating_add(request.bytes) > bytes_max {
        return Err(too_large());
    }
    let draft = media.store.draft(&request.hash, request.offset).ok_or_else(|| {
        let detail = "no upload was interrupted at this offset; ask with resume=1";
        Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, detail)
    })?;
    let mut upload = Upload {
        media,
        hash: request.hash,
        draft: Some(draft),
    };
    let mut blocks = Blocks::new(body, service.config.idle_timeout, verdict);
    while let Some(block) = blocks.next().await? {
        let Some(draft) = &mut upload.draft else { break };
        if draft.bytes() + block.len() as u64 > bytes_max {
            return Err(too_large());
        }
        let lacks = draft.lacks(block.len() as u64);
        media.store.reserve(&mut draft.share, lacks)?;
        draft.append(block).await.map_err(StoreError::Io)?;
        if blocks.is_cut {
            drop(upload);
            cut.now().await;
        }
    }
    let stored = finish(service, upload, &request).await?;
    Ok(Json(uploaded(media, &stored)).into_response())
}

async fn finish(service: &Service, mut upload: Upload<'_>, request: &Request) -> Result<Stored, Failure> {
    let media = &service.media;
    let hash = match &mut upload.draft {
        Some(draft) => draft.hash().await.map_err(StoreError::Io)?,
        None => request.hash,
    };
    if let Some(draft) = upload.draft.take() {
        if hash != request.hash {
            draft.discard();
            let detail = "the bytes do not have the hash in the path";
            return Err(Failure::new(StatusCode::BAD_REQUEST, detail));
        }
        media.store.complete(hash, draft)?;
    }
    let stored = match media.store.address(&hash, &request.kind) {
        Some(stored) => stored,
        None => media
            .store
            .publish(&hash, &request.kind, request.holder.account)?,
    };
    service.counters.media_uploads.one();
    let lost = |error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error);
    service.journal.barrier().await.map_err(lost)?;
    Ok(stored)
}

/// A body in blocks of about the same size, no faster than it may be.
struct Blocks<'a> {
    body: &'a mut BodyDataStream,
    patience: Duration,
    verdict: Verdict,
    read: u64,
    /// The last block was as far as the body may come.
    is_cut: bool,
    rest: Bytes,
    /// Why there is no more, told after what came before.
    broken: Option<Failure>,
}

impl<'a> Blocks<'a> {
    fn new(body: &'a mut BodyDataStream, patience: Duration, verdict: Verdict) -> Self {
        Self {
            body,
            patience,
            verdict,
            read: 0,
            is_cut: false,
            rest: Bytes::new(),
            broken: None,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(failure) = self.broken.take() {
            return Err(failure);
        }
        let mut room = BLOCK_BYTES as u64;
        if let Some(rate) = self.verdict.bytes_per_second {
            room = room.min(rate.get().div_ceil(10));
        }
        if let Some(cut_after) = self.verdict.cut_after {
            room = room.min(cut_after.saturating_sub(self.read));
            self.is_cut = self.read + room >= cut_after;
        }
        let room = usize::try_from(room).unwrap_or(BLOCK_BYTES);
        let mut block = BytesMut::with_capacity(room);
        while block.len() < room {
            if self.rest.is_empty() {
                match self.read().await {
                    Ok(Some(bytes)) => self.rest = bytes,
                    Err(failure) => {
                        self.is_cut = false;
                        self.broken = Some(failure);
                        break;
                    }
                    Ok(None) => {
                        self.is_cut = false;
                        break;
                    }
                }
            }
            let taken = self.rest.split_to(self.rest.len().min(room - block.len()));
            block.extend_from_slice(&taken);
        }
        self.read += block.len() as u64;
        if let Some(rate) = self.verdict.bytes_per_second {
            let pause = block.len() as f64 / rate.get() as f64;
            tokio::time::sleep(Duration::from_secs_f64(pause)).await;
        }
        match self.broken.take() {
            Some(failure) if block.is_empty() => Err(failure),
            broken => {
                self.broken = broken;
                Ok((!block.is_empty() || self.is_cut).then(|| block.freeze()))
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, Failure> {
        let broken = |detail: String| Failure::new(StatusCode::BAD_REQUEST, detail);
        match tokio::time::timeout(self.patience, self.body.next()).await {
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(Some(Err(error))) => Err(broken(format!("the body broke off: {error}"))),
            Ok(None) => Ok(None),
            Err(_) => Err(Failure::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not go on in time",
            )),
        }
    }
}

/// Reads what a refused client still sends, within limits.
async fn drain(body: &mut BodyDataStream, patience: Duration) {
    let reading = async {
        let mut read = 0;
        while let Some(Ok(bytes)) = body.next().await {
            read += bytes.len() as u64;
            if read > DRAINED_BYTES_MAX {
                return;
            }
        }
    };
    // A client that stalls is not waited for.
    let _ = tokio::time::timeout(patience, reading).await;
}
