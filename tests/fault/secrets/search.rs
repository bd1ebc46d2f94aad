//! Finds secrets in bytes, however they are written: as they are, in hex, in base64, escaped as JSON.

use std::collections::HashSet;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

/// Bytes of a key that are looked for at once: of a key of 32 bytes at least one such window is whole in
/// whatever its bytes stand next to.
const WINDOW: usize = 16;
/// Shorter runs of hex or base64 hold no secret.
const RUN_MIN: usize = 16;

/// What is looked for.
#[derive(Default)]
pub struct Wanted {
    /// Names and texts.
    texts: Vec<(String, Vec<u8>)>,
    /// Parts of keys.
    windows: HashSet<[u8; WINDOW]>,
}

impl Wanted {
    pub fn text(&mut self, name: &str, text: &str) {
        assert!(text.len() >= 8, "{name} is too short to be looked for");
        self.texts.push((name.to_owned(), text.as_bytes().to_vec()));
    }

    /// Looks for every part of a value that may be of a key: bytes that no text or number has.
    pub fn keys_in(&mut self, value: &[u8]) {
        for window in value.windows(WINDOW) {
            let distinct: HashSet<u8> = window.iter().copied().collect();
            let printable = window.iter().filter(|byte| (b' '..0x7f).contains(*byte)).count();
            if distinct.len() >= 12 && printable < WINDOW - 3 {
                self.windows.insert(window.try_into().unwrap());
            }
        }
    }

    /// The same where keys are written in a text.
    pub fn encoded_keys_in(&mut self, text: &[u8]) {
        for form in forms(text).into_iter().chain(numbers(text)) {
            self.keys_in(&form);
        }
    }

    /// Part of one of the keys.
    pub fn a_key(&self) -> [u8; WINDOW] {
        *self.windows.iter().next().unwrap()
    }

    pub fn keys(&self) -> usize {
        self.windows.len()
    }

    /// What of it is in these bytes, in whatever form.
    pub fn find_in(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for form in forms(bytes) {
            for (name, text) in &self.texts {
                if contains(&form, text) {
                    found.push(name.clone());
                }
            }
            for window in form.windows(WINDOW) {
                if self.windows.contains(window) {
                    found.push("a part of a key".to_owned());
                    break;
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    let first = text[0];
    bytes
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == first && bytes[at..].starts_with(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes, and everything in them that is hex, base64 or JSON, decoded.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![bytes.to_vec(), unescaped(bytes)];
    forms.push(decoded(bytes, |byte| byte.is_ascii_hexdigit(), 2, &|run| {
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
        run.chunks_exact(2)
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
            .collect()
    }));
    let lenient = NO_PAD
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    for (alphabet, more) in [(STANDARD, b"+/"), (URL_SAFE, b"-_")] {
        let engine = GeneralPurpose::new(&alphabet, lenient);
        forms.push(decoded(
            bytes,
            |byte| byte.is_ascii_alphanumeric() || more.contains(&byte),
            4,
            &|run| {
                // One letter too many is no byte.
                let whole = run.len() - usize::from(run.len() % 4 == 1);
                engine.decode(&run[..whole]).unwrap_or_default()
            },
        ));
    }
    forms
}

/// Every run of digits, decoded from each place at which a value may begin in it, with what separates them.
fn decoded(
    bytes: &[u8],
    is_digit: impl Fn(u8) -> bool,
    group: usize,
    decode: &dyn Fn(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let mut all = Vec::new();
    for run in bytes
        .split(|byte| !is_digit(*byte))
        .filter(|run| run.len() >= RUN_MIN)
    {
        for begin in 0..group {
            all.extend(decode(&run[begin..]));
            all.push(0);
        }
    }
    all
}

/// Escapes of JSON undone, twice: JSON may stand in JSON.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let once = unescape(bytes);
    let twice = unescape(&once);
    [once, twice].concat()
}

fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            plain.push(*first);
            continue;
        }
        match tail {
            [b'u', a, b, c, d, after @ ..] => {
                let digits = [*a, *b, *c, *d];
                let code = std::str::from_utf8(&digits).ok();
                let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
                let letter = code.and_then(char::from_u32).unwrap_or('\u{FFFD}');
                plain.extend(letter.to_string().bytes());
                rest = after;
            }
            [b'n', after @ ..] => {
                plain.push(b'\n');
                rest = after;
            }
            [escaped, after @ ..] => {
                plain.push(*escaped);
                rest = after;
            }
            [] => {}
        }
    }
    plain
}

/// Lists of numbers below 256, as JSON writes bytes.
fn numbers(bytes: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(bytes);
    text.split(['[', ']'])
        .filter_map(|list| list.split(',').map(|number| number.trim().parse().ok()).collect())
        .collect()
}

#[test]
fn a_text_and_a_key_are_found_in_every_form_and_nothing_else_is() {
    use base64::engine::general_purpose::{STANDARD as PADDED, URL_SAFE_NO_PAD};

    let key: Vec<u8> = (0..32)
        .map(|n: u8| n.wrapping_mul(37).wrapping_add(200))
        .collect();
    let text = "p\u{e4}ss \"word\" /x?";
    let mut wanted = Wanted::default();
    wanted.text("the text", text);
    wanted.keys_in(&key);
    assert_eq!(
        wanted.find_in(b"something else, \x00\x01 and 0123456789abcdef"),
        [""; 0]
    );
    for (secret, count) in [(text.as_bytes(), 1), (&key[..], 1)] {
        for (before, after) in [("", ""), ("a", ""), ("ab=", "z"), ("abc\"", "\"yz")] {
            let around = |form: &[u8]| [before.as_bytes(), form, after.as_bytes()].concat();
            let forms = [
                around(secret),
                around(hex(secret).as_bytes()),
                around(hex(secret).to_uppercase().as_bytes()),
                around(PADDED.encode(secret).as_bytes()),
                around(URL_SAFE_NO_PAD.encode(secret).as_bytes()),
                PADDED.encode(around(secret)).into_bytes(),
            ];
            for form in forms {
                assert_eq!(
                    wanted.find_in(&form).len(),
                    count,
                    "{}",
                    String::from_utf8_lossy(&form)
                );
            }
        }
    }
    let json = serde_json::json!({"inner": serde_json::json!({"text": text}).to_string()}).to_string();
    assert_eq!(wanted.find_in(json.as_bytes()), ["the text"]);
    assert_eq!(
        wanted.find_in(b"{\"t\":\"p\\u00e4ss \\\"word\\\" \\/x?\"}"),
        ["the text"]
    );
    let listed = format!("{key:?}");
    let mut from_list = Wanted::default();
    from_list.encoded_keys_in(listed.as_bytes());
    assert_eq!(from_list.find_in(&key).len(), 1);
}
