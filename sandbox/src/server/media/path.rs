//! Direct paths: the part of a media address after the host, and what clients append to it.

use std::borrow::Cow;

/// What a direct path says of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Named {
    pub number: u64,
    /// Keeps others from guessing addresses.
    pub nonce: u64,
    /// Unix seconds; some clients cut it off.
    pub expires_s: Option<u64>,
}

/// The address of a file: where it is by kind, which one it is, and until when.
pub(super) fn write(kind: &str, number: u64, nonce: u64, expires_s: u64) -> String {
    let folder = match kind {
        "video" | "gif" | "ptv" => "t62.7161-24",
        "audio" | "ptt" => "t62.7117-24",
        "document" => "t62.7119-24",
        "sticker" => "t62.15575-24",
        "md-msg-hist" | "md-app-state" => "t62.2534-4",
        "picture" => "t61.24694-24",
        _ => "t62.7118-24",
    };
    let end = if kind == "picture" { "jpg" } else { "enc" };
    format!(
        "/v/{folder}/{number}_{nonce:016x}_n.{end}?ccb=11-4&oh=01_Q5{nonce:016x}&oe={expires_s:X}&_nc_sid=5e03e0"
    )
}

/// Reads a direct path, with or without its query and whatever a client put behind it.
pub(super) fn read(path: &str) -> Option<Named> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let name = path.strip_prefix("/v/")?.split_once('/')?.1;
    let (number, rest) = name.split_once('_')?;
    let (nonce, _) = rest.split_once("_n.")?;
    let expires = parameter(query, "oe").and_then(|oe| u64::from_str_radix(&oe, 16).ok());
    Some(Named {
        number: number.parse().ok()?,
        nonce: u64::from_str_radix(nonce, 16).ok()?,
        expires_s: expires,
    })
}

/// A parameter of a query in which a second `?` counts as `&`: clients append `?auth=…` to direct
/// paths that have a query already. The first one of a name counts.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query
        .split(['&', '?'])
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .map(decoded)
}

/// Resolves percent escapes; what is no valid escape stays as it is.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}
