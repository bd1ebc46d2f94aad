//! Texts with names in braces, filled in when they are used: in answers by rule, and in scenarios.

use serde_json::Value;

/// Replaces `{name}` in every text of a JSON value by what `value_of` knows; other braces stay.
pub(super) fn fill(template: &Value, value_of: &dyn Fn(&str) -> Option<String>) -> Value {
    match template {
        Value::String(text) => Value::String(fill_text(text, value_of)),
        Value::Array(items) => items.iter().map(|item| fill(item, value_of)).collect(),
        Value::Object(fields) => {
            let filled = fields
                .iter()
                .map(|(name, value)| (name.clone(), fill(value, value_of)));
            Value::Object(filled.collect())
        }
        other => other.clone(),
    }
}

/// As [`fill`], for one text.
pub(super) fn fill_text(template: &str, value_of: &dyn Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let named = rest
            .find('}')
            .and_then(|close| Some((close, value_of(&rest[1..close])?)));
        match named {
            Some((close, value)) => {
                filled.push_str(&value);
                rest = &rest[close + 1..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::fill;

    #[test]
    fn known_names_are_filled_in_everywhere_and_others_stay() {
        let value_of = |name: &str| (name == "n").then(|| "7".to_owned());
        let filled = fill(
            &json!({"a": "no {n} of {m} {{n}} {", "b": ["{n}{n}", 5], "{n}": null}),
            &value_of,
        );
        assert_eq!(
            filled,
            json!({"a": "no 7 of {m} {7} {", "b": ["77", 5], "{n}": null})
        );
    }
}
