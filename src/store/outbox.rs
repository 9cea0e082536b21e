//! The outbox: pieces of streams that wait to go onto a topic, in 16 shards by key.
//!
//! Holds the SQL and what a piece says. Who owns a shard is decided by an advisory lock of the
//! session, so it is free again when its owner dies. Publishing is left to `outbox`.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::address::Address;
use super::error::StoreError;
use super::session::Session;
use crate::model::batch::{Batch, Entry};
use crate::model::body;
use crate::model::stream::{Leaf, StreamId};
use crate::runtime::time::Timestamp;

/// Advisory locks of shards are (this, shard): "stam" in ASCII.
const LOCK: i32 = 0x7374_616d;

/// Pieces looked at together.
const PIECES_MAX: i64 = 1_000;

/// Entries of a batch, and their bytes as the database counts them.
const ENTRIES_MAX: i64 = 5_000;
const BYTES_MAX: i64 = 4 << 20;

const SHARDS: &str = "SELECT s::int2 FROM generate_series(0, 15) s
    WHERE EXISTS (SELECT FROM public.outbox WHERE shard = s::int2)";

const CLAIM: &str = "SELECT pg_catalog.pg_try_advisory_lock($1, $2)";
const RELEASE: &str = "SELECT pg_catalog.pg_advisory_unlock($1, $2)";

const PIECES: &str = "SELECT id, stream_id, first_seq, next_seq FROM public.outbox
    WHERE shard = $1 ORDER BY id LIMIT $2";

const ENTRIES: &str = "SELECT seq, leaf, body, reason, since FROM (
        SELECT *, sum(bytes) OVER (ORDER BY seq) - bytes AS before FROM (
            SELECT seq, leaf, body::text AS body, NULL AS reason, NULL AS since,
                pg_column_size(body) AS bytes
            FROM public.stamp_events WHERE stream_id = $1 AND seq >= $2 AND seq < $3
            UNION ALL
            SELECT seq, leaf, NULL, reason, since, 0
            FROM public.withheld w WHERE stream_id = $1 AND seq >= $2 AND seq < $3
                AND NOT EXISTS (SELECT FROM public.stamp_events e
                    WHERE e.stream_id = w.stream_id AND e.seq = w.seq)) held) counted
    WHERE before < $4 ORDER BY seq";

const TAKE_OUT: &str = "WITH gone AS (
        DELETE FROM public.outbox WHERE shard = $1 AND id = ANY ($2))
    UPDATE public.outbox SET first_seq = $4 WHERE shard = $1 AND id = $3";

const DEPTH: &str = "SELECT coalesce(sum(next_seq - first_seq), 0)::int8, min(created_at)
    FROM public.outbox";

/// A piece of a stream that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its id; those of one stream are in the stream's order.
    pub id: i64,
    /// The stream.
    pub stream: StreamId,
    /// Its first position.
    pub first_seq: u64,
    /// The position after its last.
    pub next_seq: u64,
}

/// Pieces of one stream that follow on one another, and what they say as far as a batch reaches.
#[derive(Debug)]
pub struct Load {
    shard: i16,
    /// The pieces, in order.
    pub pieces: Vec<Piece>,
    /// Their entries from the first on.
    pub batch: Batch,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Entries.
    pub entries: u64,
    /// Since when the oldest does.
    pub oldest: Option<Timestamp>,
}

/// A session to the outbox.
pub struct Outbox(Session);

impl Outbox {
    /// Connects.
    pub async fn open(address: &Address) -> Result<Self, StoreError> {
        let mut session = Session::open(address).await?;
        // What is taken out was confirmed by the broker; when a crash brings it back, it is sent
        // again under the same identity. So nothing here need wait for the disk.
        let relaxed = "SET synchronous_commit = off";
        session.run(async |client| client.batch_execute(relaxed).await).await?;
        Ok(Self(session))
    }

    /// The shards in which something waits.
    pub async fn shards(&mut self) -> Result<Vec<i16>, StoreError> {
        let rows = self.query(SHARDS, &[]).await?;
        rows.iter().map(|row| row.try_get(0).map_err(StoreError::from)).collect()
    }

    /// Tries to become the owner of a shard, and tells what waits in it; none when another owns it.
    pub async fn claim(&mut self, shard: i16) -> Result<Option<Vec<Piece>>, StoreError> {
        let number = i32::from(shard);
        let claimed = self
            .0
            .run(async |client| {
                // One after the other on the server: the pieces are those of the owner.
                let claim = [(&LOCK as &(dyn ToSql + Sync), Type::INT4), (&number, Type::INT4)];
                let pieces =
                    [(&shard as &(dyn ToSql + Sync), Type::INT2), (&PIECES_MAX, Type::INT8)];
                let (claim, pieces) = tokio::try_join!(
                    client.query_typed(CLAIM, &claim),
                    client.query_typed(PIECES, &pieces)
                )?;
                let is_ours = claim.first().map_or(Ok(false), |row| row.try_get(0))?;
                Ok(is_ours.then_some(pieces))
            })
            .await?;
        Ok(claimed.map(|rows| to_pieces(&rows)).transpose()?)
    }

    /// What waits in a shard of ours.
    pub async fn pieces(&mut self, shard: i16) -> Result<Vec<Piece>, StoreError> {
        let rows = self.query(PIECES, &[(&shard, Type::INT2), (&PIECES_MAX, Type::INT8)]).await?;
        Ok(to_pieces(&rows)?)
    }

    /// Gives a shard up.
    pub async fn release(&mut self, shard: i16) -> Result<(), StoreError> {
        let number = i32::from(shard);
        self.query(RELEASE, &[(&LOCK, Type::INT4), (&number, Type::INT4)]).await?;
        Ok(())
    }

    /// Reads what pieces that follow on one another say.
    pub async fn load(&mut self, shard: i16, pieces: Vec<Piece>) -> Result<Load, StoreError> {
        let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
        let (stream, from) = (first.stream.as_uuid(), first.first_seq as i64);
        let to = (last.next_seq as i64).min(from + ENTRIES_MAX);
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&stream, Type::UUID),
            (&from, Type::INT8),
            (&to, Type::INT8),
            (&BYTES_MAX, Type::INT8),
        ];
        let rows = self.query(ENTRIES, &parameters).await?;
        let mut entries = Vec::with_capacity(rows.len());
        for (seq, row) in (from..).zip(&rows) {
            if row.try_get::<_, i64>(0)? != seq {
                break;
            }
            entries.push(to_entry(row)?);
        }
        let batch = Batch { stream: first.stream, first_seq: first.first_seq, entries };
        Ok(Load { shard, pieces, batch })
    }

    /// Takes out what lies before `size`: the broker has it.
    pub async fn take_out(&mut self, load: &Load, size: u64) -> Result<(), StoreError> {
        let done: Vec<i64> = load.done(size).map(|piece| piece.id).collect();
        let part = load.pieces.iter().find(|piece| piece.first_seq < size && size < piece.next_seq);
        let (part, size) = (part.map(|piece| piece.id), size as i64);
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&load.shard, Type::INT2),
            (&done, Type::INT8_ARRAY),
            (&part, Type::INT8),
            (&size, Type::INT8),
        ];
        self.query(TAKE_OUT, &parameters).await?;
        Ok(())
    }

    /// How much waits in all shards.
    pub async fn depth(&mut self) -> Result<Depth, StoreError> {
        let rows = self.query(DEPTH, &[]).await?;
        let Some(row) = rows.first() else { return Ok(Depth::default()) };
        let oldest: Option<SystemTime> = row.try_get(1)?;
        let entries: i64 = row.try_get(0)?;
        Ok(Depth { entries: entries as u64, oldest: oldest.map(Timestamp::from) })
    }

    async fn query(
        &mut self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, StoreError> {
        self.0.run(async |client| client.query_typed(sql, parameters).await).await
    }
}

impl Load {
    /// The pieces that lie before `size`.
    pub fn done(&self, size: u64) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().take_while(move |piece| piece.next_seq <= size)
    }
}

/// The pieces of each stream that follow on one another, by stream.
pub fn runs(pieces: &[Piece]) -> Vec<Vec<Piece>> {
    let mut by_stream: BTreeMap<StreamId, Vec<Vec<Piece>>> = BTreeMap::new();
    for &piece in pieces {
        let runs = by_stream.entry(piece.stream).or_default();
        match runs.last_mut() {
            Some(run) if run[run.len() - 1].next_seq == piece.first_seq => run.push(piece),
            _ => runs.push(vec![piece]),
        }
    }
    by_stream.into_values().flatten().collect()
}

fn to_pieces(rows: &[Row]) -> Result<Vec<Piece>, tokio_postgres::Error> {
    let piece = |row: &Row| {
        Ok(Piece {
            id: row.try_get(0)?,
            stream: StreamId::from_uuid(row.try_get::<_, Uuid>(1)?),
            first_seq: row.try_get::<_, i64>(2)? as u64,
            next_seq: row.try_get::<_, i64>(3)? as u64,
        })
    };
    rows.iter().map(piece).collect()
}

fn to_entry(row: &Row) -> Result<Entry, tokio_postgres::Error> {
    let leaf: &[u8] = row.try_get(1)?;
    let leaf = Leaf::from_bytes(leaf.try_into().unwrap_or_default());
    let body: Option<&str> = row.try_get(2)?;
    let (Some(body), None) = (body, row.try_get::<_, Option<String>>(3)?) else {
        let since: Option<SystemTime> = row.try_get(4)?;
        let since = since.map_or(Timestamp::from_nanos(0), Timestamp::from);
        let reason: Option<String> = row.try_get(3)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(id: i64, stream: u128, first_seq: u64, next_seq: u64) -> Piece {
        Piece { id, stream: StreamId::from_uuid(Uuid::from_u128(stream)), first_seq, next_seq }
    }

    #[test]
    fn runs_keep_the_order_of_each_stream_and_end_at_its_gaps() {
        let pieces = [
            piece(1, 7, 0, 2),
            piece(2, 8, 0, 1),
            piece(3, 7, 2, 3),
            piece(4, 7, 5, 6),
            piece(5, 8, 1, 9),
        ];
        let ids: Vec<Vec<i64>> =
            runs(&pieces).iter().map(|run| run.iter().map(|piece| piece.id).collect()).collect();
        assert_eq!(ids, [vec![1, 3], vec![4], vec![2, 5]]);
    }

    #[test]
    fn a_piece_is_done_when_all_of_it_is() {
        let pieces = vec![piece(1, 7, 0, 2), piece(2, 7, 2, 5)];
        let batch = Batch { stream: pieces[0].stream, first_seq: 0, entries: Vec::new() };
        let load = Load { shard: 0, pieces, batch };
        let done = |size| load.done(size).count();
        assert_eq!([done(0), done(1), done(2), done(4), done(5)], [0, 0, 1, 1, 2]);
    }
}
