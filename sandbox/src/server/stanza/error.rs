//! Every error code a client may find in a stanza, but for those a fault was asked to send.
//!
//! The one list of them: what a client is told is named from here, and the user's page has a row for
//! each, which a test checks.

use crate::wire::node::Node;

macro_rules! stanza_errors {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal,)*) => {
        /// Why a client does not get what it asked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::server) enum StanzaError { $($(#[$doc])* $name,)* }

        impl StanzaError {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name,)*];

            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $code,)* }
            }

            /// As it stands in an attribute.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => stringify!($code),)* }
            }

            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

stanza_errors! {
    /// An account that would join a group is in it.
    AlreadyExists = 304 "already-exists",
    BadRequest = 400 "bad-request",
    NotAuthorized = 401 "not-authorized",
    /// The proof of a new companion's keys is not valid.
    SignatureMismatch = 401 "signature-mismatch",
    /// The companion is not linked, or no longer; the reason of a failure and of the end of a stream.
    DeviceRemoved = 401 "device_removed",
    Forbidden = 403 "forbidden",
    NotFound = 404 "item-not-found",
    NotAcceptable = 406 "not-acceptable",
    /// Somebody else was faster, or a participant is a member.
    Conflict = 409 "conflict",
    Gone = 410 "gone",
    TooLarge = 413 "request-too-large",
    GroupFull = 419 "resource-limit",
    Internal = 500 "internal-server-error",
    TooManyGroups = 500 "resource-limit",
    NotImplemented = 501 "feature-not-implemented",
    /// A queue of the receiver is full.
    Unavailable = 503 "service-unavailable",
    CollectionFull = 507 "collection-full",
    AppStateFull = 507 "app-state-full",
    /// A new companion is to log in.
    Restart = 515 "restart",
}

impl StanzaError {
    /// The child that explains a refusal.
    pub fn node(self) -> Node {
        Node::new("error")
            .attr("code", self.code())
            .attr("text", self.text())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::StanzaError;

    #[test]
    fn every_stanza_error_has_its_row_in_the_users_page() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = fs::read_to_string(root.join("../docs/sandbox.md")).unwrap();
        let (_, part) = page.split_once("\n### Stanza errors\n").unwrap();
        let part = part.split("\n#").next().unwrap();
        let rows: Vec<_> = part.lines().filter_map(|line| line.strip_prefix("| `")).collect();
        for error in StanzaError::ALL {
            let start = format!("{}` `{}` |", error.code(), error.text());
            let row = rows.iter().find_map(|row| row.strip_prefix(&start));
            assert!(row.is_some_and(|row| row.len() > 5), "no row for `{start}");
        }
        assert_eq!(rows.len(), StanzaError::ALL.len(), "a row for no error");
    }

    /// The types see to it where an error is passed on; this sees to attributes that are written in place.
    #[test]
    fn no_stanza_error_is_written_past_the_list() {
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server");
        let mut folders = vec![server];
        let mut read = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap_or_default();
                read += 1;
                for name in ["code", "error", "reason"] {
                    let start = format!("attr(\"{name}\", \"");
                    let is_literal = |(at, _): (usize, &str)| {
                        let value = text.as_bytes().get(at + start.len());
                        value.is_some_and(u8::is_ascii_digit)
                    };
                    let found = text.match_indices(&start).any(is_literal);
                    assert!(!found, "{} writes {start} with a code", path.display());
                }
            }
        }
        assert!(read > 100, "the sources are there");
    }
}
