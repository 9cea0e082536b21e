//! JSON from strangers: one tree, or the reason why there is none.
//!
//! Stricter than most readers. A key that comes twice, U+0000 anywhere, a lone surrogate, nesting
//! beyond 128 levels and a document of very many small values are errors, so that nothing behind
//! this point meets what a database refuses or what two readers read differently.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Values of one document: a tree takes many times the room of its text.
const VALUES_MAX: u32 = 1_000_000;

/// Why a text is not taken as JSON.
#[derive(Debug, thiserror::Error)]
#[error("read the body as JSON: {0}")]
pub(super) struct Malformed(#[from] serde_json::Error);

/// Reads one document.
pub(super) fn parse(text: &[u8]) -> Result<Value, Malformed> {
    let left = Cell::new(VALUES_MAX);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let tree = Tree(&left).deserialize(&mut reader)?;
    reader.end()?;
    Ok(tree)
}

/// Makes a value, and counts it.
#[derive(Clone, Copy)]
struct Tree<'a>(&'a Cell<u32>);

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| D::Error::custom("it holds too many values"))?);
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number.map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        without_nul(&text)?;
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            without_nul(&key)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} comes twice")));
            }
            object.insert(key, members.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

fn without_nul<E: Error>(text: &str) -> Result<(), E> {
    if text.as_bytes().contains(&0) {
        return Err(E::custom("a text holds U+0000"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_what_any_reader_reads() {
        let text = r#"{"a":[1,-2,2.5,true,null,"\u00e4\ud83d\ude00"],"b":{}}"#;
        let usual: Value = serde_json::from_str(text).expect("is JSON");
        assert_eq!(parse(text.as_bytes()).expect("is JSON"), usual);
    }

    #[test]
    fn what_readers_disagree_on_is_refused() {
        for (text, word) in [
            (&br#"{"a":1,"a":2}"#[..], "twice"),
            (br#"{"a":{"b":[{"c":1,"\u0063":1}]}}"#, "twice"),
            (br#"["\u0000"]"#, "U+0000"),
            (br#"{"\u0000":1}"#, "U+0000"),
            (br#"["\ud800"]"#, "hex escape"),
            (br#"["\udc00"]"#, "surrogate"),
            (b"[\"\xff\"]", "unicode"),
            (br#"{"a":"#, "EOF"),
            (b"", "EOF"),
            (b"{} {}", "trailing"),
            (b"[1e999]", "range"),
            (b"[NaN]", "expected"),
        ] {
            let error = parse(text).expect_err("is refused").to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn neither_depth_nor_breadth_harms() {
        let deep = "[".repeat(10_000);
        assert!(parse(deep.as_bytes()).is_err());
        let deep = format!("{}{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        assert!(parse(deep.as_bytes()).is_err());
        let broad = format!("[{}0]", "0,".repeat(VALUES_MAX as usize));
        assert!(parse(broad.as_bytes()).is_err());
    }
}
