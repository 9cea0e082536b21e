//! What has to be true of any text that is read as a canonical body.

use serde_json::{Map, Value};
use stampd::model::body::read;
use stampd::model::stream::Leaf;

/// Panics where a law is broken.
pub fn hold(text: &str) {
    let Ok(sealed) = read(text) else { return };
    assert_eq!(sealed.body, text, "what is accepted is kept byte for byte");
    assert_eq!(sealed.leaf, Leaf::of(text.as_bytes()));
    let value = serde_json::from_str(text).expect("a body is JSON");
    assert_eq!(canonical(&value), text, "a body is RFC 8785 JSON");
}

/// RFC 8785, for values without floats.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members = sorted(map)
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(canonical).collect();
            format!("[{}]", values.join(","))
        }
        Value::Number(number) => {
            assert!(
                number.as_i64().is_some_and(|number| number.unsigned_abs() < 1 << 53),
                "{number}"
            );
            number.to_string()
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
    }
}

/// By UTF-16 code units.
fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<_> = map.iter().collect();
    members.sort_by_cached_key(|(key, _)| key.encode_utf16().collect::<Vec<_>>());
    members
}
