//! One connection: requests are read from one buffer, answered and forgotten.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use httparse::{Header, Request, Status};
use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ledger::Mark;
use super::{Hook, Manner, Shared, signature};

const HEADERS_MAX: usize = 64;
/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 1 << 20;
const BUFFER_BYTES: usize = 4 << 10;
/// Every so manieth event has its signature looked at.
const VERIFIED_EACH: u32 = 64;

const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const REFUSED: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
const UNKNOWN: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const UNREADABLE: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What a complete request at the beginning of the buffer is.
struct Parsed {
    /// Which hook.
    hook: Option<usize>,
    mark: Option<Mark>,
    /// Whether the signature is right, if it was looked at.
    verified: Option<bool>,
    bytes: usize,
}

/// Answers requests until the caller closes.
pub async fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let parsed = match parse(&buffer, shared) {
            Ok(Some(parsed)) => parsed,
            Ok(None) if buffer.len() < REQUEST_BYTES_MAX => {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
                continue;
            }
            Ok(None) | Err(_) => return stream.write_all(UNREADABLE).await,
        };
        buffer.drain(..parsed.bytes);
        let answer = match parsed.hook.and_then(|number| shared.hook(number)) {
            Some(hook) => answer(&hook, &parsed, &mut stream, shared).await?,
            None => UNKNOWN,
        };
        stream.write_all(answer).await?;
    }
}

async fn answer(
    hook: &Arc<Hook>,
    parsed: &Parsed,
    stream: &mut TcpStream,
    shared: &Shared,
) -> Result<&'static [u8]> {
    let mut manner = *hook.manner.borrow();
    if manner == Manner::Hold {
        hook.holding.fetch_add(1, Ordering::Relaxed);
        let released = hold(hook, stream).await;
        hook.holding.fetch_sub(1, Ordering::Relaxed);
        manner = released?;
    }
    let at = shared.epoch.elapsed();
    let mut ledger = hook.ledger();
    if let Manner::Fail(of_a_thousand) = manner
        && is_one_of(of_a_thousand)
    {
        ledger.refused += 1;
        return Ok(REFUSED);
    }
    match parsed.mark {
        Some(mark) => ledger.take(mark, at),
        None => ledger.malformed += 1,
    }
    if let Some(right) = parsed.verified {
        ledger.verified += 1;
        ledger.unsigned += usize::from(!right);
    }
    Ok(TAKEN)
}

#[allow(clippy::disallowed_methods, reason = "no two runs are to fail alike")]
fn is_one_of(of_a_thousand: u16) -> bool {
    rand::rng().random_range(0..1_000) < of_a_thousand
}

/// Waits for another manner; an error when the caller gives up before.
async fn hold(hook: &Hook, stream: &mut TcpStream) -> Result<Manner> {
    let mut manner = hook.manner.subscribe();
    let mut byte = [0];
    tokio::select! {
        released = manner.wait_for(|manner| *manner != Manner::Hold) => {
            released.map(|manner| *manner).map_err(|_| Error::from(ErrorKind::ConnectionAborted))
        }
        // Nobody sends a second request before the first is answered, so it is the end in any case.
        _ = stream.read(&mut byte) => Err(ErrorKind::ConnectionReset.into()),
    }
}

/// Reads a request; `None` while it is incomplete.
fn parse(buffer: &[u8], shared: &Shared) -> Result<Option<Parsed>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let Status::Complete(head) = request.parse(buffer).map_err(Error::other)? else {
        return Ok(None);
    };
    let length = value(request.headers, "content-length").and_then(|text| text.parse().ok());
    let length: usize = length.ok_or_else(|| Error::other("no content-length"))?;
    let bytes = head.saturating_add(length);
    let Some(body) = buffer.get(head..bytes) else {
        return Ok(None);
    };
    let hook = request
        .path
        .and_then(|path| path.trim_start_matches('/').parse().ok());
    let mark = Mark::parse(body);
    let looked_at = mark.is_some_and(|mark| mark.index % VERIFIED_EACH == 0);
    let hook_of = |number: usize| shared.hook(number);
    let verified = match hook.filter(|_| looked_at).and_then(hook_of) {
        Some(hook) => hook.key.get().map(|key| {
            let text = |name| value(request.headers, name).unwrap_or_default();
            let (id, time) = (text("webhook-id"), text("webhook-timestamp"));
            signature::verify(key, id, time, body, text("webhook-signature"))
        }),
        None => None,
    };
    Ok(Some(Parsed {
        hook,
        mark,
        verified,
        bytes,
    }))
}

fn value<'a>(headers: &'a [Header<'_>], name: &str) -> Option<&'a str> {
    let header = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok()
}
