//! Dead letters: records that could not be taken, whole, with the reason.
//!
//! They are written in the transaction that reads past them, so none is lost and none is there
//! twice. Putting them onto `<topic>.dlq`, and trying them again, is left to the adapter.

use std::time::SystemTime;

use serde_json::Value;
use tokio_postgres::{Client, Row, Statement};

use super::error::StoreError;
use super::session::Session;
use crate::runtime::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO public.adapter_dead (topic, partition, record_offset, \
     record_timestamp, key, value, header_names, header_values, error_type, error_message, \
     error_context) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::jsonb)";

const COLUMNS: &str = "id, topic, partition, record_offset, record_timestamp, key, value, \
     header_names, header_values, error_type, error_message, error_context, failed_at, \
     retry_count, published_at IS NOT NULL, resolved_at IS NOT NULL";

/// Any number that no other program is likely to lock: "letters" in ASCII.
const LOCK: i64 = 0x6c_6574_7465_7273;

/// A record with all it had, and where it lay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// Which of its partitions.
    pub partition: i32,
    /// Where in the partition.
    pub offset: i64,
    /// When it was sent.
    pub sent: Timestamp,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// A word for lists and metrics.
    pub error_type: String,
    /// For people.
    pub error_message: String,
    /// What else is known: the field, the event.
    pub error_context: Value,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Its number, in the order of failing.
    pub id: i64,
    /// The record.
    pub record: Record,
    /// Why it is here.
    pub reason: Reason,
    /// When it failed.
    pub failed_at: Timestamp,
    /// How often it was tried again.
    pub retry_count: i32,
    /// Whether it is on the topic of dead letters.
    pub published: bool,
    /// Whether a retry took it.
    pub resolved: bool,
}

/// Which dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that are not on their topic yet.
    Unpublished,
    /// Those that no retry took yet.
    Open,
    /// All.
    Every,
}

impl Which {
    const fn condition(self) -> &'static str {
        match self {
            Self::Unpublished => "published_at IS NULL",
            Self::Open => "resolved_at IS NULL",
            Self::Every => "true",
        }
    }
}

/// Fetches dead letters with numbers above `after`, oldest first.
pub async fn fetch(
    session: &mut Session,
    which: Which,
    after: i64,
    limit: u32,
) -> Result<Vec<Letter>, StoreError> {
    let query = format!(
        "SELECT {COLUMNS} FROM public.adapter_dead WHERE id > $1 AND {} ORDER BY id LIMIT $2",
        which.condition()
    );
    let limit = i64::from(limit);
    let rows = session.run(async |client| client.query(&query, &[&after, &limit]).await).await?;
    rows.iter().map(letter).collect::<Result<_, _>>().map_err(StoreError::from)
}

/// Takes the right to put letters onto their topics, which ends with the session; whether nobody
/// else has it.
pub async fn own(session: &mut Session) -> Result<bool, StoreError> {
    const TRY: &str = "SELECT pg_try_advisory_lock($1)";
    let row = session.run(async |client| client.query_one(TRY, &[&LOCK]).await).await?;
    Ok(row.try_get(0)?)
}

/// Notes that these are on their topic.
pub async fn published(session: &mut Session, ids: &[i64]) -> Result<(), StoreError> {
    mark(session, "published_at = now()", ids).await
}

/// Notes that a retry took these.
pub async fn resolved(session: &mut Session, ids: &[i64]) -> Result<(), StoreError> {
    mark(session, "resolved_at = now(), retry_count = retry_count + 1", ids).await
}

/// Notes that these were tried again, in vain.
pub async fn retried(session: &mut Session, ids: &[i64]) -> Result<(), StoreError> {
    mark(session, "retry_count = retry_count + 1", ids).await
}

async fn mark(session: &mut Session, what: &'static str, ids: &[i64]) -> Result<(), StoreError> {
    let update = format!("UPDATE public.adapter_dead SET {what} WHERE id = ANY ($1)");
    session.run(async |client| client.execute(&update, &[&ids]).await).await?;
    Ok(())
}

/// Writes one down. One by one, since a value can be large and they are rare.
pub(super) async fn insert(
    client: &Client,
    statement: &Statement,
    record: &Record,
    reason: &Reason,
) -> Result<(), tokio_postgres::Error> {
    let sent = SystemTime::from(record.sent);
    let names: Vec<String> = record.headers.iter().map(|(name, _)| storable(name)).collect();
    let values: Vec<Option<&[u8]>> =
        record.headers.iter().map(|(_, value)| value.as_deref()).collect();
    let (kind, message) = (storable(&reason.error_type), storable(&reason.error_message));
    let Record { topic, partition, offset, key, value, .. } = record;
    let context = reason.error_context.to_string().replace("\\u0000", "\\ufffd");
    client
        .execute(
            statement,
            &[
                topic, partition, offset, &sent, key, value, &names, &values, &kind, &message,
                &context,
            ],
        )
        .await?;
    Ok(())
}

/// A text as Postgres can store it: what failed must never fail again here.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn letter(row: &Row) -> Result<Letter, tokio_postgres::Error> {
    let names: Vec<String> = row.try_get(7)?;
    let values: Vec<Option<Vec<u8>>> = row.try_get(8)?;
    let record = Record {
        topic: row.try_get(1)?,
        partition: row.try_get(2)?,
        offset: row.try_get(3)?,
        sent: row.try_get::<_, SystemTime>(4)?.into(),
        key: row.try_get(5)?,
        value: row.try_get(6)?,
        headers: names.into_iter().zip(values).collect(),
    };
    let reason = Reason {
        error_type: row.try_get(9)?,
        error_message: row.try_get(10)?,
        error_context: row.try_get(11)?,
    };
    Ok(Letter {
        id: row.try_get(0)?,
        record,
        reason,
        failed_at: row.try_get::<_, SystemTime>(12)?.into(),
        retry_count: row.try_get(13)?,
        published: row.try_get(14)?,
        resolved: row.try_get(15)?,
    })
}
