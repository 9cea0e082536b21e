//! What an intelligence service says of a content, as a stamp's body can hold it: a JSON object of
//! which there is one canonical text.
//!
//! A body has no floats, and its keys are ASCII: a number that is no small integer becomes its text,
//! and what cannot be held is nothing.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Bytes of the text: it is in every body that tells of the content.
pub const BYTES_MAX: usize = 16 * 1024;

/// The first integer that JSON readers with doubles cannot tell from its neighbour.
const INTEGER_END: u64 = 1 << 53;

/// Canonical JSON of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Intelligence(String);

/// It is no object that a body can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hold what was said of the content: it is no object of at most 16 KiB with ASCII keys")]
pub struct Unfit;

impl Intelligence {
    /// Takes what a service said.
    pub fn new(said: Map<String, Value>) -> Result<Self, Unfit> {
        let said = held(Value::Object(said)).ok_or(Unfit)?;
        let text = said.to_string();
        if text.len() > BYTES_MAX { Err(Unfit) } else { Ok(Self(text)) }
    }

    /// Takes what stands in a body; it must be as [`new`](Self::new) makes it.
    pub fn of_body(said: Map<String, Value>) -> Result<Self, Unfit> {
        let text = Value::Object(said.clone()).to_string();
        Self::new(said).ok().filter(|held| held.0 == text).ok_or(Unfit)
    }

    /// Canonical JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The object.
    pub fn to_object(&self) -> Map<String, Value> {
        serde_json::from_str(&self.0).expect("it is made from an object")
    }
}

impl TryFrom<String> for Intelligence {
    type Error = Unfit;

    fn try_from(text: String) -> Result<Self, Unfit> {
        let held = serde_json::from_str(&text).map_err(|_| Unfit).and_then(Self::of_body)?;
        if held.0 == text { Ok(held) } else { Err(Unfit) }
    }
}

impl From<Intelligence> for String {
    fn from(intelligence: Intelligence) -> Self {
        intelligence.0
    }
}

/// A value as it can be held; none where it cannot.
fn held(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(_) => Some(value),
        Value::Number(number) => {
            let is_small = number.as_i64().is_some_and(|int| int.unsigned_abs() < INTEGER_END);
            Some(if is_small { number.into() } else { number.to_string().into() })
        }
        Value::String(text) => (!text.contains('\0')).then_some(Value::String(text)),
        Value::Array(values) => {
            values.into_iter().map(held).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        Value::Object(members) => {
            let member = |(key, value): (String, Value)| {
                let is_key = key.is_ascii() && !key.contains('\0');
                is_key.then_some(key).zip(held(value))
            };
            members.into_iter().map(member).collect::<Option<Map<_, _>>>().map(Value::Object)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("an object") };
        object
    }

    #[test]
    fn what_is_held_is_canonical_and_has_no_floats() {
        let said = json!({"b": 0.5, "a": [1, -3, 1e300, null, "ä"], "n": u64::MAX});
        let held = Intelligence::new(object(said)).expect("it can be held");
        assert_eq!(
            held.as_str(),
            r#"{"a":[1,-3,"1e+300",null,"ä"],"b":"0.5","n":"18446744073709551615"}"#
        );
    }

    #[test]
    fn it_comes_back_from_a_body_and_from_a_spool() {
        let held = Intelligence::new(object(json!({"b": "0.5", "a": 1}))).expect("it can be held");
        assert_eq!(Intelligence::of_body(held.to_object()), Ok(held.clone()));
        let text = serde_json::to_string(&held).expect("is text");
        assert_eq!(serde_json::from_str::<Intelligence>(&text).expect("is read"), held);
    }

    #[test]
    fn what_cannot_be_held_is_nothing() {
        for said in [
            json!({"ä": 1}),
            json!({"a": {"\u{10000}": 1}}),
            json!({"a": ["b\0"]}),
            json!({"a": "x".repeat(BYTES_MAX)}),
        ] {
            assert_eq!(Intelligence::new(object(said)), Err(Unfit));
        }
        assert_eq!(Intelligence::of_body(object(json!({"a": 0.5}))), Err(Unfit));
        assert!(serde_json::from_value::<Intelligence>(json!("[1]")).is_err());
        assert!(serde_json::from_value::<Intelligence>(json!("{ }")).is_err());
    }
}
