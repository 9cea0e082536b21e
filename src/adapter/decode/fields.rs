//! Fields of a JSON object, each read as what it must be. A field that is null is not there.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::refusal::{Problem, Refusal};
use crate::runtime::time::Timestamp;

/// The longest text of a field that has no limit of its own, which is the column's.
pub(super) const TEXT_CHARS_MAX: usize = 65_536;

/// A field that is not what it must be.
pub(super) fn refused(field: &'static str, problem: Problem) -> Refusal {
    Refusal::Field { field, problem }
}

/// Demands a field.
pub(super) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or_else(|| refused(field, Problem::Missing))
}

/// Demands a text that a column takes.
pub(super) fn check_text(field: &'static str, text: &str, chars_max: usize) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(refused(field, Problem::Empty));
    }
    // Counted only where the bytes do not settle it.
    if text.len() > chars_max && text.chars().count() > chars_max {
        return Err(refused(field, Problem::TooLong(chars_max)));
    }
    if text.contains('\0') {
        return Err(refused(field, Problem::Nul));
    }
    Ok(())
}

/// An object's fields.
#[derive(Clone, Copy)]
pub(super) struct Fields<'m>(pub(super) &'m Map<String, Value>);

impl<'m> Fields<'m> {
    fn value(self, field: &str) -> Option<&'m Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn raw_text(self, field: &'static str) -> Result<Option<&'m str>, Refusal> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| refused(field, Problem::NotA("a text")))?;
        Ok(Some(text))
    }

    /// A text of at least one and at most `chars_max` characters.
    pub(super) fn text(
        self,
        field: &'static str,
        chars_max: usize,
    ) -> Result<Option<&'m str>, Refusal> {
        let text = self.raw_text(field)?;
        text.map_or(Ok(()), |text| check_text(field, text, chars_max))?;
        Ok(text)
    }

    /// The same, to keep.
    pub(super) fn owned(
        self,
        field: &'static str,
        chars_max: usize,
    ) -> Result<Option<String>, Refusal> {
        Ok(self.text(field, chars_max)?.map(str::to_owned))
    }

    /// The same, which must be there.
    pub(super) fn word(self, field: &'static str, chars_max: usize) -> Result<String, Refusal> {
        required(field, self.owned(field, chars_max)?)
    }

    /// A text that may be empty, which then says nothing.
    pub(super) fn note(
        self,
        field: &'static str,
        chars_max: usize,
    ) -> Result<Option<String>, Refusal> {
        match self.raw_text(field)? {
            None | Some("") => Ok(None),
            Some(_) => self.owned(field, chars_max),
        }
    }

    /// A UUID.
    pub(super) fn uuid(self, field: &'static str) -> Result<Option<Uuid>, Refusal> {
        let Some(text) = self.raw_text(field)? else { return Ok(None) };
        Uuid::parse_str(text).map(Some).map_err(|_| refused(field, Problem::NotA("a UUID")))
    }

    /// A time in RFC 3339; one without an offset is in UTC.
    pub(super) fn time(self, field: &'static str) -> Result<Option<Timestamp>, Refusal> {
        let Some(text) = self.raw_text(field)? else { return Ok(None) };
        let time = Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}Z")));
        time.map(Some).ok_or_else(|| {
            refused(field, Problem::NotA("a time in RFC 3339 between the years 1678 and 2261"))
        })
    }

    /// An integer within bounds.
    pub(super) fn integer(
        self,
        field: &'static str,
        least: i64,
        most: i64,
    ) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let number = value.as_i64().ok_or_else(|| {
            let problem =
                if value.is_u64() { Problem::TooBig(most) } else { Problem::NotA("an integer") };
            refused(field, problem)
        })?;
        match number {
            less if less < least => Err(refused(field, Problem::TooSmall(least))),
            more if more > most => Err(refused(field, Problem::TooBig(most))),
            fits => Ok(Some(fits)),
        }
    }

    /// A count: an integer that is not negative.
    pub(super) fn count(self, field: &'static str) -> Result<Option<i64>, Refusal> {
        self.integer(field, 0, i64::MAX)
    }

    /// A count that fits `integer` columns.
    pub(super) fn small_count(self, field: &'static str) -> Result<Option<i32>, Refusal> {
        Ok(self.integer(field, 0, i32::MAX.into())?.map(|count| count as i32))
    }

    /// An object of any JSON.
    pub(super) fn object(self, field: &'static str) -> Result<Option<Map<String, Value>>, Refusal> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let map = value.as_object().ok_or_else(|| refused(field, Problem::NotA("an object")))?;
        if map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)) {
            return Err(refused(field, Problem::Nul));
        }
        Ok(Some(map.clone()))
    }

    /// The same, empty when it is not there.
    pub(super) fn extra(self, field: &'static str) -> Result<Map<String, Value>, Refusal> {
        Ok(self.object(field)?.unwrap_or_default())
    }
}

/// Whether U+0000 is anywhere within. The depth is bounded by the JSON reader.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
