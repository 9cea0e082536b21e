//! What pieces say: entries of streams, as the record holds them.

use std::time::SystemTime;

use serde_json::Value;
use tokio_postgres::Row;

use crate::model::batch::Entry;
use crate::model::body;
use crate::model::stream::Leaf;
use crate::runtime::time::Timestamp;

/// The entries of several runs, each as far as so many bytes reach.
pub(super) const ENTRIES: &str =
    "SELECT run.number, held.seq, held.leaf, held.body, held.reason, held.since
    FROM unnest($1::uuid[], $2::int8[], $3::int8[]) WITH ORDINALITY
        run (stream, first_seq, next_seq, number)
    CROSS JOIN LATERAL (
        SELECT *, sum(bytes) OVER (ORDER BY seq) - bytes AS before FROM (
            SELECT e.seq, e.leaf, e.body::text AS body, NULL AS reason, NULL::timestamptz AS since,
                pg_catalog.pg_column_size(e.body) AS bytes
            FROM public.stamp_events e
            WHERE e.stream_id = run.stream AND e.seq >= run.first_seq AND e.seq < run.next_seq
            UNION ALL
            SELECT w.seq, w.leaf, NULL, w.reason, w.since, 0
            FROM public.withheld w
            WHERE w.stream_id = run.stream AND w.seq >= run.first_seq AND w.seq < run.next_seq
                AND NOT EXISTS (SELECT FROM public.stamp_events e
                    WHERE e.stream_id = w.stream_id AND e.seq = w.seq)) counted) held
    WHERE held.before < $4 ORDER BY run.number, held.seq";

/// The number of the run that a row belongs to, and the row's seq.
pub(super) fn place(row: &Row) -> Result<(usize, u64), tokio_postgres::Error> {
    Ok((row.try_get::<_, i64>(0)? as usize - 1, row.try_get::<_, i64>(1)? as u64))
}

/// The entry of a row.
pub(super) fn entry(row: &Row) -> Result<Entry, tokio_postgres::Error> {
    let leaf: &[u8] = row.try_get(2)?;
    let leaf = Leaf::from_bytes(leaf.try_into().unwrap_or_default());
    let body: Option<&str> = row.try_get(3)?;
    let (Some(body), None) = (body, row.try_get::<_, Option<String>>(4)?) else {
        let since: Option<SystemTime> = row.try_get(5)?;
        let since = since.map_or(Timestamp::from_nanos(0), Timestamp::from);
        let reason: Option<String> = row.try_get(4)?;
        return Ok(Entry::Withheld { leaf, reason: reason.unwrap_or_default(), since });
    };
    // The database keeps the keys in another order; canonical JSON has them sorted.
    let canonical = serde_json::from_str::<Value>(body).map(|tree| tree.to_string());
    let sealed = canonical.ok().and_then(|body| body::read(&body).ok());
    Ok(match sealed.filter(|sealed| sealed.leaf == leaf) {
        Some(sealed) => Entry::Stamp(Box::new(sealed)),
        // Of a newer stampd, or changed since: its position is told all the same.
        None => Entry::Withheld {
            leaf,
            reason: "this stampd cannot render the body".to_owned(),
            since: Timestamp::from_nanos(0),
        },
    })
}
