//! The members of a JSON object, taken one by one with their types. Null is as good as absent, and
//! what nobody takes is ignored.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::problem::{Code, Problem};
use crate::model::digest::Digest;
use crate::model::namespace::Namespace;

/// Members that are left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    members: Map<String, Value>,
    /// What stands before a field's name in a message: `options.`.
    within: &'static str,
}

impl Fields {
    /// Takes an object.
    pub(crate) fn of(tree: Value) -> Result<Self, Problem> {
        match tree {
            Value::Object(members) => Ok(Self { members, within: "" }),
            _ => Err(Problem::new(Code::ValidationError, "the body must be a JSON object")),
        }
    }

    fn problem(&self, key: &str, rule: &str) -> Problem {
        Problem::field(format!("{}{key}", self.within), rule)
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.members.remove(key).filter(|value| !value.is_null())
    }

    /// A text of any length.
    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>, Problem> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.problem(key, "must be a string")),
        }
    }

    /// A text of at most so many characters.
    pub(super) fn short_text(
        &mut self,
        key: &str,
        chars_max: usize,
    ) -> Result<Option<String>, Problem> {
        let text = self.text(key)?;
        if text.as_ref().is_some_and(|text| text.chars().count() > chars_max) {
            return Err(self.problem(key, &format!("must be at most {chars_max} characters")));
        }
        Ok(text)
    }

    /// A text or a number, as text: for ids that callers give in either form.
    pub(super) fn loose_text(&mut self, key: &str) -> Result<Option<String>, Problem> {
        match self.take(key) {
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::String(text)) => Ok(Some(text)),
            None => Ok(None),
            Some(_) => Err(self.problem(key, "must be a string")),
        }
    }

    /// An integer of 32 bits.
    pub(crate) fn integer(&mut self, key: &str) -> Result<Option<i32>, Problem> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.problem(key, "must be an integer of 32 bits"))
    }

    /// A number of bytes, as a database holds it.
    pub(super) fn size(&mut self, key: &str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_u64().filter(|number| i64::try_from(*number).is_ok());
        number.map(Some).ok_or_else(|| self.problem(key, "must be an integer of 0 or more"))
    }

    /// Yes or no.
    pub(crate) fn switch(&mut self, key: &str) -> Result<Option<bool>, Problem> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(on)),
            Some(_) => Err(self.problem(key, "must be true or false")),
        }
    }

    /// An object; an absent one is empty.
    pub(crate) fn object(&mut self, key: &str) -> Result<Map<String, Value>, Problem> {
        match self.take(key) {
            None => Ok(Map::new()),
            Some(Value::Object(members)) => Ok(members),
            Some(_) => Err(self.problem(key, "must be an object")),
        }
    }

    /// The members of `options`.
    pub(super) fn options(&mut self) -> Result<Self, Problem> {
        Ok(Self { members: self.object("options")?, within: "options." })
    }

    /// An array.
    pub(super) fn array(&mut self, key: &str) -> Result<Option<Vec<Value>>, Problem> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => Err(self.problem(key, "must be an array")),
        }
    }

    /// A UUID.
    pub(super) fn uuid(&mut self, key: &str) -> Result<Option<Uuid>, Problem> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.problem(key, "must be a UUID"))
    }

    /// A digest in hexadecimal.
    pub(super) fn digest(&mut self, key: &str) -> Result<Option<Digest>, Problem> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.problem(key, "must be 64 hexadecimal digits"))
    }

    /// A namespace to write into.
    pub(super) fn namespace(&mut self, key: &str) -> Result<Option<Namespace>, Problem> {
        self.text(key)?.map(|text| namespace(&text)).transpose()
    }

    /// A word for a namespace, where nothing is written: ours or one of older programs.
    pub(super) fn namespace_word(&mut self, key: &str) -> Result<Option<String>, Problem> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        namespace_word(&text)?;
        Ok(Some(text))
    }
}

fn namespace(text: &str) -> Result<Namespace, Problem> {
    text.parse().map_err(|_| {
        namespace_problem(
            "namespace must be three segments of a-z, 0-9 and _, such as \
             \"omninode.services.metadata\"",
        )
    })
}

/// Checks a word for a namespace where nothing is written.
pub(super) fn namespace_word(text: &str) -> Result<(), Problem> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if text.is_empty() || text.len() > 255 || !text.chars().all(is_word) {
        let rule = "namespace must be 1 to 255 letters, digits, dots, _ and -";
        return Err(namespace_problem(rule));
    }
    Ok(())
}

fn namespace_problem(message: &str) -> Problem {
    Problem { field: Some("namespace".to_owned()), ..Problem::new(Code::NamespaceInvalid, message) }
}
