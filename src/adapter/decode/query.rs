//! Questions about the tables. Which entities, fields and operators there are is for whoever
//! answers to say.

use super::Refusal;
use super::fields::{Fields, TEXT_CHARS_MAX};
use crate::model::operation::Query;

/// Rows of an answer, at most.
pub const LIMIT_MAX: i64 = 1_000;
/// Rows that may be skipped.
pub const OFFSET_MAX: i64 = 10_000;
/// Rows of an answer where the question does not say.
const LIMIT: i64 = 100;

/// One question.
pub(super) fn decode(data: Fields<'_>) -> Result<Query, Refusal> {
    Ok(Query {
        entity_type: data.word("entity_type", 100)?,
        filters: data.extra("filters")?,
        sort_by: data.owned("sort_by", TEXT_CHARS_MAX)?,
        sort_order: data.owned("sort_order", 10)?,
        limit: data.integer("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT) as u32,
        offset: data.integer("offset", 0, OFFSET_MAX)?.unwrap_or(0) as u32,
    })
}
