//! What went wrong, in the words of the API.

use std::error::Error;
use std::io;
use std::sync::Arc;

use hyper::http::Extensions;
use hyper_util::client::legacy::Error as ClientError;
use roost_domain::webhook::client::{CallFailure, TargetError};

use super::connect::ConnectError;
use super::stream::{Flood, Meter};

/// Longest text of a failure: a certificate may hold thousands of names, and all of them are in what
/// the TLS library says.
const TEXT_CHARS_MAX: usize = 300;

/// Why a request got no answer.
pub(super) fn of(error: &ClientError) -> CallFailure {
    if let Some(error) = find::<ConnectError>(error) {
        return of_connect(error);
    }
    if let Some(error) = find::<h2::Error>(error) {
        return of_h2(error);
    }
    if let Some(error) = find::<io::Error>(error) {
        return of_io(error);
    }
    match find::<hyper::Error>(error) {
        Some(error) if error.is_parse_too_large() => {
            CallFailure::Protocol("the head of the answer is too large".into())
        }
        Some(error) if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => {
            CallFailure::Closed("the connection was closed before an answer".into())
        }
        Some(error) => CallFailure::Protocol(short(format!("what came is not HTTP: {error}"))),
        None if error.is_connect() => CallFailure::Connect("no connection".into()),
        None => CallFailure::Closed("the connection was closed before an answer".into()),
    }
}

/// Whether the request may be sent once more at once: it went out on a connection that the endpoint
/// was just closing because it had been idle, or the endpoint says that it has not looked at it.
pub(super) fn is_stale(error: &ClientError) -> bool {
    if find::<h2::Error>(error).is_some_and(|error| {
        error.is_remote()
            && (error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
    }) {
        return true;
    }
    let Some(connected) = error
        .connect_info()
        .filter(|connected| !connected.is_negotiated_h2())
    else {
        return false;
    };
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    extras.get::<Arc<Meter>>().is_some_and(|meter| meter.is_stale())
        && matches!(of(error), CallFailure::Closed(_))
}

pub(super) fn of_connect(error: &ConnectError) -> CallFailure {
    let text = short(error.to_string());
    match error {
        ConnectError::Forbidden(_) => CallFailure::Forbidden(text),
        ConnectError::Dns { .. } => CallFailure::Dns(text),
        ConnectError::Tcp { .. } => CallFailure::Connect(text),
        ConnectError::Tls { .. } => CallFailure::Tls(text),
        ConnectError::Slow { .. } => CallFailure::Timeout(text),
    }
}

/// A URL that is not posted to any more, for example because the policy has changed.
pub(super) fn of_target(error: TargetError) -> CallFailure {
    match error {
        TargetError::Invalid(text) | TargetError::Forbidden(text) => CallFailure::Forbidden(short(text)),
        TargetError::Unresolvable(text) => CallFailure::Dns(short(text)),
    }
}

fn of_h2(error: &h2::Error) -> CallFailure {
    if let Some(error) = error.get_io() {
        return of_io(error);
    }
    if error.is_remote() {
        return CallFailure::Closed(short(format!("the endpoint ended the exchange: {error}")));
    }
    CallFailure::Protocol(short(format!("what came is not HTTP/2: {error}")))
}

fn of_io(error: &io::Error) -> CallFailure {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<Flood>()) {
        return CallFailure::Protocol(error.to_string());
    }
    if inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
        return CallFailure::Tls(short(format!("TLS failed: {error}")));
    }
    CallFailure::Closed(short(format!("the connection ended before an answer: {error}")))
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn short(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
