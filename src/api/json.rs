//! JSON from strangers: one tree, or the reason why there is none.
//!
//! Stricter than most readers. A key that comes twice, a lone surrogate, nesting beyond 128 levels and
//! a document of very many small values are errors, so that nothing behind this point meets what two
//! readers read differently. U+0000, which databases refuse, is noticed, for the caller to judge.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Values of one document: a tree takes many times the room of its text.
const VALUES_MAX: u32 = 1_000_000;

/// Why a text is not taken as JSON.
#[derive(Debug, thiserror::Error)]
#[error("read the body as JSON: {0}")]
pub(crate) struct Malformed(#[from] serde_json::Error);

/// A document.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) tree: Value,
    /// Whether U+0000 is somewhere in it.
    pub(crate) has_nul: bool,
}

/// Reads one document.
pub(crate) fn parse(text: &[u8]) -> Result<Parsed, Malformed> {
    let (left, has_nul) = (Cell::new(VALUES_MAX), Cell::new(false));
    let mut reader = serde_json::Deserializer::from_slice(text);
    let tree = Tree { left: &left, has_nul: &has_nul }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(Parsed { tree, has_nul: has_nul.get() })
}

/// Whether U+0000 is somewhere in a value.
pub(super) fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(members) => {
            members.iter().any(|(key, value)| key.contains('\0') || holds_nul(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Makes a value, and counts it.
#[derive(Clone, Copy)]
struct Tree<'a> {
    left: &'a Cell<u32>,
    has_nul: &'a Cell<bool>,
}

impl Tree<'_> {
    fn look_at(self, text: &str) {
        if text.as_bytes().contains(&0) {
            self.has_nul.set(true);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom("it holds too many values"))?);
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
        self.look_at(&text);
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
            self.look_at(&key);
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} comes twice")));
            }
            object.insert(key, members.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_what_any_reader_reads() {
        let text = r#"{"a":[1,-2,2.5,true,null,"\u00e4\ud83d\ude00"],"b":{}}"#;
        let usual: Value = serde_json::from_str(text).expect("is JSON");
        assert_eq!(parse(text.as_bytes()).expect("is JSON").tree, usual);
    }

    #[test]
    fn what_readers_disagree_on_is_refused() {
        for (text, word) in [
            (&br#"{"a":1,"a":2}"#[..], "twice"),
            (br#"{"a":{"b":[{"c":1,"\u0063":1}]}}"#, "twice"),
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
    fn u_0000_is_noticed_wherever_it_is() {
        for (text, has_nul) in [
            (r#"["\u0000"]"#, true),
            (r#"{"a":{"\u0000":1}}"#, true),
            (r#"{"a":[{"b":"c\u0000"}]}"#, true),
            (r#"{"a":["\u0001",0,null,false]}"#, false),
        ] {
            let parsed = parse(text.as_bytes()).expect("is JSON");
            assert_eq!((parsed.has_nul, holds_nul(&parsed.tree)), (has_nul, has_nul), "{text}");
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
