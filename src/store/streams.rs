//! Appending to streams: the one way for the agent's own road, the bridge's and the adapter's.
//!
//! The work is `stampd_append`'s (`migrations/postgres`): it locks the stream, refuses a fork,
//! inserts what is new, and says how long the contiguous prefix is. Here the pieces become its
//! arrays, and several pieces become one transaction.

use std::time::SystemTime;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::error::StoreError;
use super::session::Session;
use crate::model::batch::{Batch, Entry};
use crate::model::stream::Leaf;

pub(super) const APPEND: &str = "SELECT new_size, head, accepted, duplicates \
     FROM public.stampd_append($1, $2, $3, $4, $5, $6, $7, $8)";

/// Whether a piece may begin beyond the end of what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// It is not taken; the size tells where to begin.
    Refused,
    /// It is stored, and counts once the gap is closed. Only servers may.
    Kept,
}

/// What a stream is after an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The length of the contiguous prefix that is held.
    pub size: u64,
    /// The leaf at `size - 1`.
    pub head: Option<Leaf>,
    /// Entries that were new.
    pub accepted: u64,
    /// Entries that were there already.
    pub duplicates: u64,
}

/// Appends pieces of streams in one transaction, durable when this returns; the answers are in the
/// order of the pieces. A piece of at most 5,000 entries.
pub async fn append(
    session: &mut Session,
    batches: &[&Batch],
    gaps: Gaps,
) -> Result<Vec<Appended>, StoreError> {
    let statement = session.append_statement().await?;
    let pieces: Vec<Piece<'_>> = batches.iter().map(|batch| Piece::new(batch, gaps)).collect();
    match pieces.as_slice() {
        // A statement alone is a transaction, in a third of the round trips.
        [piece] => {
            session.run(async |client| Ok(vec![piece.send(client, &statement).await?])).await
        }
        pieces => session.run(async |client| send_all(client, &statement, pieces).await).await,
    }
}

async fn send_all(
    client: &mut Client,
    statement: &Statement,
    pieces: &[Piece<'_>],
) -> Result<Vec<Appended>, tokio_postgres::Error> {
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    // Everyone locks streams in this order, so nobody waits in a circle.
    order.sort_by_key(|&index| (pieces[index].stream, pieces[index].first_seq));
    let transaction = client.transaction().await?;
    let mut answers = vec![None; pieces.len()];
    for index in order {
        answers[index] = Some(pieces[index].send(transaction.client(), statement).await?);
    }
    transaction.commit().await?;
    Ok(answers.into_iter().flatten().collect())
}

impl Session {
    async fn append_statement(&mut self) -> Result<Statement, StoreError> {
        if let Some(statement) = &self.append {
            return Ok(statement.clone());
        }
        let statement = self.run(async |client| client.prepare(APPEND).await).await?;
        Ok(self.append.insert(statement).clone())
    }
}

/// A batch as the arrays of `stampd_append`.
pub(super) struct Piece<'b> {
    pub(super) stream: Uuid,
    pub(super) first_seq: i64,
    pub(super) bodies: Vec<Option<&'b str>>,
    pub(super) leaves: Vec<u8>,
    pub(super) stamp_ids: Vec<u8>,
    pub(super) reasons: Vec<Option<&'b str>>,
    pub(super) sinces: Vec<Option<SystemTime>>,
    beyond: bool,
}

impl<'b> Piece<'b> {
    pub(super) fn new(batch: &'b Batch, gaps: Gaps) -> Self {
        let (stream, count) = (batch.stream.as_uuid(), batch.entries.len());
        let mut piece = Self::empty(stream, batch.first_seq, count, gaps);
        for entry in &batch.entries {
            piece.push(entry);
        }
        piece
    }

    /// A piece that begins at a position, with room for `count` entries.
    pub(super) fn empty(stream: Uuid, first_seq: u64, count: usize, gaps: Gaps) -> Self {
        Self {
            stream,
            first_seq: first_seq as i64,
            bodies: Vec::with_capacity(count),
            leaves: Vec::with_capacity(32 * count),
            stamp_ids: Vec::with_capacity(16 * count),
            reasons: Vec::with_capacity(count),
            sinces: Vec::with_capacity(count),
            beyond: gaps == Gaps::Kept,
        }
    }

    /// The position after the last.
    pub(super) fn next_seq(&self) -> i64 {
        self.first_seq + self.bodies.len() as i64
    }

    /// Takes the entry of the next position.
    pub(super) fn push(&mut self, entry: &'b Entry) {
        self.leaves.extend_from_slice(entry.leaf().as_bytes());
        let (body, id, reason, since) = match entry {
            Entry::Stamp(sealed) => {
                let id = sealed.stamp.content_id().unwrap_or_else(Uuid::nil);
                (Some(sealed.body.as_str()), id, None, None)
            }
            Entry::Withheld { reason, since, .. } => {
                (None, Uuid::nil(), Some(reason.as_str()), Some((*since).into()))
            }
        };
        self.bodies.push(body);
        self.stamp_ids.extend_from_slice(id.as_bytes());
        self.reasons.push(reason);
        self.sinces.push(since);
    }

    /// Appends it, within whatever transaction there is.
    pub(super) async fn send(
        &self,
        client: &Client,
        statement: &Statement,
    ) -> Result<Appended, tokio_postgres::Error> {
        let arguments: [&(dyn ToSql + Sync); 8] = [
            &self.stream,
            &self.first_seq,
            &self.bodies,
            &self.leaves,
            &self.stamp_ids,
            &self.reasons,
            &self.sinces,
            &self.beyond,
        ];
        appended(&client.query_one(statement, &arguments).await?)
    }
}

/// Reads the answer of `stampd_append`, or of what answers as it does.
pub(super) fn appended(row: &Row) -> Result<Appended, tokio_postgres::Error> {
    let head: Option<&[u8]> = row.try_get(1)?;
    Ok(Appended {
        size: row.try_get::<_, i64>(0)? as u64,
        head: head.and_then(|bytes| bytes.try_into().ok()).map(Leaf::from_bytes),
        accepted: row.try_get::<_, i64>(2)? as u64,
        duplicates: row.try_get::<_, i64>(3)? as u64,
    })
}
