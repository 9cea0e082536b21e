//! Questions about the tables, answered by a SELECT that is put together from our own words.
//!
//! **Invariant**: no word of a question gets into the statement. Entities, fields and operators are
//! looked up, and what is written is the text of the table that they were found in; values are bound.
//! A transaction that cannot write, with a bound on its time, does the rest.
//!
//! Getting the question and sending the answer is left to the adapter.

mod entities;

use std::time::Duration;

use serde_json::{Map, Value};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::error::StoreError;
use super::session::Session;
use crate::model::class::Class;
use crate::model::operation::Query;
use crate::runtime::time::Timestamp;
use entities::{ALL, Entity, Kind};

/// Values of one question, at most.
const VALUES_MAX: usize = 200;

/// How long a question may take the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// What fits a message of the usual size together with an envelope.
const ANSWER_BYTES_MAX: usize = 900 << 10;

/// What may stand between a field and a value.
const OPERATORS: [(&str, &str); 7] = [
    ("eq", "="),
    ("ne", "<>"),
    ("lt", "<"),
    ("lte", "<="),
    ("gt", ">"),
    ("gte", ">="),
    ("in", "IN"),
];

/// What rows there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The rows, in the order that was asked for.
    pub rows: Vec<Value>,
    /// Whether there are more: beyond the limit, or beyond what an answer holds.
    pub has_more: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The question names something that may not be asked, or in another way.
    #[error("answer a question: {field}: {problem}")]
    Refused {
        /// The part of the question.
        field: String,
        /// What is wrong with it, and what is right.
        problem: String,
    },
    /// It takes too long.
    #[error("answer a question: it takes longer than {} s; narrow it by a filter", PATIENCE.as_secs())]
    TooSlow,
    /// The road or the server.
    #[error(transparent)]
    Store(StoreError),
}

/// Answers a question.
pub async fn answer(session: &mut Session, query: &Query) -> Result<Answer, QueryError> {
    let select = Select::of(query)?;
    let rows = session.run(async |client| select.fetch(client).await).await;
    collect(&rows.map_err(blame)?, query.limit)
}

/// Whether the question is at fault, or the road or the server.
fn blame(error: StoreError) -> QueryError {
    match error.class() {
        // The server said so. Where we gave up waiting for it, the session must go.
        Class::RetrySmaller if error.leaves_session_usable() => QueryError::TooSlow,
        // Such as a number that the column's type has no room for.
        Class::Reject => refused("filters", error.reason()),
        Class::RetrySmaller | Class::Retry | Class::Park | Class::Fork => QueryError::Store(error),
    }
}

fn refused(field: impl Into<String>, problem: impl Into<String>) -> QueryError {
    QueryError::Refused { field: field.into(), problem: problem.into() }
}

/// Takes as many rows as were asked for and fit.
fn collect(rows: &[Row], limit: u32) -> Result<Answer, QueryError> {
    let mut answer = Answer::default();
    let mut bytes = 0;
    for row in rows {
        let text: &str = row.try_get(0).map_err(|error| QueryError::Store(error.into()))?;
        bytes += text.len() + 1;
        if answer.rows.len() == limit as usize || bytes > ANSWER_BYTES_MAX {
            answer.has_more = true;
            break;
        }
        answer.rows.push(serde_json::from_str(text).expect("the server writes JSON"));
    }
    if answer.rows.is_empty() && answer.has_more {
        return Err(refused("offset", "the row there does not fit into an answer"));
    }
    Ok(answer)
}

/// A statement and its values.
#[derive(Debug, PartialEq, Eq)]
struct Select {
    sql: String,
    values: Vec<String>,
}

impl Select {
    fn of(query: &Query) -> Result<Self, QueryError> {
        let entity = Entity::find(&query.entity_type).ok_or_else(|| {
            let names: Vec<&str> = ALL.iter().map(|entity| entity.names[0]).collect();
            refused("entity_type", format!("is none of {}", names.join(", ")))
        })?;
        let (conditions, values) = conditions(entity, &query.filters)?;
        let order = order(entity, query)?;
        let fields: Vec<&str> = entity.fields.iter().map(|(name, _)| *name).collect();
        let sql = format!(
            "SELECT to_jsonb(q)::text FROM (SELECT {} FROM public.{}{conditions} ORDER BY {order} \
             LIMIT {} OFFSET {}) q",
            fields.join(", "),
            entity.table,
            // One more tells whether there are more.
            u64::from(query.limit) + 1,
            query.offset,
        );
        Ok(Self { sql, values })
    }

    async fn fetch(&self, client: &mut Client) -> Result<Vec<Row>, tokio_postgres::Error> {
        let transaction = client.build_transaction().read_only(true).start().await?;
        let bound = format!(
            "SET LOCAL statement_timeout = {}; SET LOCAL TimeZone = 'UTC'",
            PATIENCE.as_millis()
        );
        transaction.batch_execute(&bound).await?;
        let values: Vec<&(dyn ToSql + Sync)> = self.values.iter().map(|value| value as _).collect();
        let rows = transaction.query(&self.sql, &values).await?;
        transaction.rollback().await?;
        Ok(rows)
    }
}

/// Which rows: every filter holds.
fn conditions(
    entity: &Entity,
    filters: &Map<String, Value>,
) -> Result<(String, Vec<String>), QueryError> {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    for (key, wanted) in filters {
        let (name, operator) = key.split_once("__").unwrap_or((key, ""));
        let field = entity.field(name).ok_or_else(|| {
            let names = entity.fields.iter().filter(|(_, kind)| *kind != Kind::Json);
            let names: Vec<&str> = names.map(|(name, _)| *name).collect();
            refused("filters", format!("{name:?} is none of {}", names.join(", ")))
        })?;
        let mut add = |operator: &str, wanted: &Value| {
            conditions.push(condition(field, operator, wanted, &mut values)?);
            Ok(())
        };
        match wanted {
            Value::Object(several) if operator.is_empty() => {
                several.iter().try_for_each(|(operator, wanted)| add(operator, wanted))?;
            }
            Value::Array(_) if operator.is_empty() => add("in", wanted)?,
            _ if operator.is_empty() => add("eq", wanted)?,
            _ => add(operator, wanted)?,
        }
    }
    if values.len() > VALUES_MAX {
        return Err(refused("filters", format!("has more than {VALUES_MAX} values")));
    }
    let conditions = match conditions.as_slice() {
        [] => String::new(),
        some => format!(" WHERE {}", some.join(" AND ")),
    };
    Ok((conditions, values))
}

fn condition(
    (name, kind): (&'static str, Kind),
    operator: &str,
    wanted: &Value,
    values: &mut Vec<String>,
) -> Result<String, QueryError> {
    let Some((_, sql)) = OPERATORS.iter().find(|(own, _)| *own == operator) else {
        let names: Vec<&str> = OPERATORS.iter().map(|(name, _)| *name).collect();
        return Err(refused(name, format!("{operator:?} is none of {}", names.join(", "))));
    };
    let mut bind = |value: &Value| {
        let (value, cast) = bound(name, kind, value)?;
        values.push(value);
        Ok(format!("${}::text{cast}", values.len()))
    };
    match (*sql, wanted) {
        ("IN", Value::Array(several)) if !several.is_empty() => {
            let places: Vec<String> = several.iter().map(bind).collect::<Result<_, _>>()?;
            Ok(format!("{name} IN ({})", places.join(", ")))
        }
        ("IN", _) => Err(refused(name, "\"in\" takes a list of values")),
        ("=", Value::Null) => Ok(format!("{name} IS NULL")),
        ("<>", Value::Null) => Ok(format!("{name} IS NOT NULL")),
        // What is not there differs from any value.
        ("<>", value) => Ok(format!("{name} IS DISTINCT FROM {}", bind(value)?)),
        (sql, value) => Ok(format!("{name} {sql} {}", bind(value)?)),
    }
}

/// A value as the text that is bound, and what makes it the field's kind.
fn bound(
    name: &'static str,
    kind: Kind,
    value: &Value,
) -> Result<(String, &'static str), QueryError> {
    let text = value.as_str().filter(|text| !text.contains('\0'));
    let (value, cast, what) = match kind {
        Kind::Json => return Err(refused(name, "cannot be compared")),
        Kind::Integer => {
            (value.as_i64().map(|number| number.to_string()), "::bigint", "an integer")
        }
        Kind::Text => (text.map(str::to_owned), "", "a text without U+0000"),
        Kind::Time => (text.and_then(time), "::timestamptz", "a time in RFC 3339"),
        Kind::Uuid => {
            let uuid = text.and_then(|text| uuid::Uuid::parse_str(text).ok());
            (uuid.map(|uuid| uuid.to_string()), "::uuid", "a UUID")
        }
    };
    value.map(|value| (value, cast)).ok_or_else(|| refused(name, format!("takes {what}")))
}

/// A time without an offset is in UTC.
fn time(text: &str) -> Option<String> {
    let time = Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}Z")))?;
    Some(time.to_string())
}

fn order(entity: &Entity, query: &Query) -> Result<String, QueryError> {
    let direction = match query.sort_order.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("asc") => "ASC",
        Some("desc") => "DESC",
        Some(_) => return Err(refused("sort_order", "is neither asc nor desc")),
    };
    let key = entity.key();
    let Some(wanted) = &query.sort_by else { return Ok(format!("{key} {direction}")) };
    match entity.field(wanted) {
        Some((name, _)) if name == key => Ok(format!("{key} {direction}")),
        Some((name, kind)) if kind != Kind::Json => {
            Ok(format!("{name} {direction}, {key} {direction}"))
        }
        _ => Err(refused("sort_by", format!("{wanted:?} is no field to sort by"))),
    }
}

#[cfg(test)]
mod tests;
