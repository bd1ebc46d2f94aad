//! Keys of link state: readable, sortable, and without bytes that a database refuses in text.

use std::borrow::Cow;
use std::fmt::Write;

/// Stands between the parts of a key. Escaped inside of parts.
pub(super) const SEPARATOR: char = '|';

/// A number that sorts as text as it sorts as a number.
pub(super) fn number(id: u32) -> String {
    format!("{id:010}")
}

/// The number behind such a key.
pub(super) fn parse_number(key: &str) -> Option<u32> {
    key.parse().ok()
}

/// One part of a key. Ids come from strangers: whatever could be taken for a separator, or is no
/// text to a database, is escaped.
pub(super) fn part(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c != SEPARATOR && c != '%' && !c.is_control();
    if text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if plain(c) {
            escaped.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{:x};", u32::from(c));
        }
    }
    Cow::Owned(escaped)
}

/// Several parts as one key.
pub(super) fn join<const N: usize>(parts: [&str; N]) -> String {
    let mut key = String::with_capacity(parts.iter().map(|text| text.len() + 1).sum());
    for (index, text) in parts.into_iter().enumerate() {
        if index > 0 {
            key.push(SEPARATOR);
        }
        key.push_str(&part(text));
    }
    key
}

/// What every key begins with whose first part is this one.
pub(super) fn prefix(first: &str) -> String {
    let mut key = part(first).into_owned();
    key.push(SEPARATOR);
    key
}

/// Bytes as hexadecimal text.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The original of a part.
pub(super) fn unescape(part: &str) -> Option<String> {
    let mut text = String::with_capacity(part.len());
    let mut rest = part;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let (code, after) = rest[at + 1..].split_once(';')?;
        text.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_as_text() {
        let mut keys = [number(10), number(9), number(u32::MAX), number(0)];
        keys.sort();
        assert_eq!(keys.map(|key| parse_number(&key).unwrap()), [0, 9, 10, u32::MAX]);
    }

    #[test]
    fn parts_cannot_be_taken_for_others() {
        assert_ne!(join(["a|b", "c"]), join(["a", "b|c"]));
        assert_eq!(join(["a\0", "%"]), "a%0;|%25;");
        assert!(join(["group", "device"]).starts_with(&prefix("group")));
        for text in ["plain@lid", "a|b%c\0d\u{1f}", "%25;", ""] {
            assert_eq!(unescape(&part(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_not_escaped_right_is_refused() {
        assert_eq!(unescape("%zz;"), None);
        assert_eq!(unescape("%25"), None);
        assert_eq!(unescape("%110000;"), None);
    }
}
