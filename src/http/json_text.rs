//! JSON that a client sends and Roost passes on as it is: what reads it later must not stumble.
//!
//! The raw text that serde keeps may nest without end, hold halves of surrogate pairs, name a field
//! twice and break lines. All of it would only hurt those who read the log: parsers of receivers, of
//! which one takes the first of two fields and another the last, and event streams, where a line break
//! ends the event.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Levels of arrays and objects that a value may have. Readers commonly stop at 128, and the value comes to
/// them inside an event, and that inside a list.
const LEVELS_MAX: usize = 100;
/// Characters of a field's name that are shown.
const SHOWN_CHARS_MAX: usize = 60;

/// The same value on one line, when every reader can read it. The error is for humans.
pub fn compact(raw: &RawValue) -> Result<Box<RawValue>, String> {
    let text = raw.get();
    serde_json::from_str::<Readable>(text).map_err(|error| error.to_string())?;
    if levels(text) > LEVELS_MAX {
        return Err(format!("nested more than {LEVELS_MAX} levels deep"));
    }
    if !text
        .bytes()
        .any(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
    {
        return Ok(raw.to_owned());
    }
    let mut compact = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for char in text.chars() {
        if quoted || !matches!(char, ' ' | '\t' | '\r' | '\n') {
            compact.push(char);
        }
        if escaped {
            escaped = false;
        } else {
            escaped = quoted && char == '\\';
            quoted ^= char == '"';
        }
    }
    RawValue::from_string(compact).map_err(|error| error.to_string())
}

/// How deeply arrays and objects are nested in well-formed JSON.
fn levels(text: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' if !quoted => now += 1,
            b']' | b'}' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
        if escaped {
            escaped = false;
        } else {
            escaped = quoted && byte == b'\\';
            quoted ^= byte == b'"';
        }
    }
    most
}

/// Reads a value in full, within the reader's limit of depth, and keeps nothing of it.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value::<Self>()?;
            if let Some(twice) = names.replace(name) {
                let shown: String = twice.chars().take(SHOWN_CHARS_MAX).collect();
                return Err(A::Error::custom(format_args!("the field {shown:?} comes twice")));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_is_nested_so_far_that_it_can_be_read_inside_an_event() {
        let nested = |levels: usize| format!("{}\"]]}}\"{}", "[".repeat(levels), "]".repeat(levels));
        assert!(compact(&raw(&nested(LEVELS_MAX))).is_ok());
        let refused = compact(&raw(&nested(LEVELS_MAX + 1))).unwrap_err();
        assert!(refused.contains("100 levels"), "{refused}");
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn spaces_outside_of_texts_go() {
        let spaced = "{ \"a b\" :\n[ 1.50,\t\"\\\" , \\\\\" , null ] }";
        assert_eq!(
            compact(&raw(spaced)).unwrap().get(),
            r#"{"a b":[1.50,"\" , \\",null]}"#
        );
        assert_eq!(
            compact(&raw(r#"{"b":1,"a":2}"#)).unwrap().get(),
            r#"{"b":1,"a":2}"#
        );
    }

    #[test]
    fn what_others_cannot_read_is_refused() {
        for text in [
            &format!("{}{}", "[".repeat(500), "]".repeat(500)),
            r#"{"a":"\ud800"}"#,
            r#"{"\udc00":1}"#,
            "[1e999]",
            r#"{"a":1,"b":2,"a":1}"#,
            r#"[{"a":{"b":1,"\u0062":2}}]"#,
        ] {
            assert!(compact(&raw(text)).is_err(), "{text:.40}");
        }
    }

    proptest! {
        #[test]
        fn the_value_stays_the_same(text in any::<String>(), number in any::<i32>()) {
            let value = serde_json::json!({"a": [text, number, {"b c": null}]});
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let compact = compact(&raw(&pretty)).unwrap();
            prop_assert!(!compact.get().contains('\n'));
            prop_assert_eq!(compact.get(), serde_json::to_string(&value).unwrap());
        }
    }
}
