//! Ingest: streams of agents that come through a bridge.
//!
//! The work is `stampd_ingest`'s (`migrations/postgres`): the append that every road takes, whether
//! the stream is the token's, and the outbox, in one transaction. Promises: a piece that is confirmed
//! is on disk, with its rows of `metadata_stamps` and its place in the outbox; the same piece again
//! has no further effect. What a piece says was checked by whoever calls.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::address::Address;
use super::error::StoreError;
use super::outbox::Tray;
use super::pool::{Pool, Usage};
use super::streams::{Appended, Gaps, Piece, appended};
use crate::model::batch::Batch;
use crate::model::digest::Digest;
use crate::model::namespace::Namespace;
use crate::model::stream::{CompactRange, Leaf, StreamId};

const APPEND: &str = "SELECT new_size, head, accepted, duplicates \
     FROM public.stampd_ingest($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const BEARERS: &str =
    "SELECT id, name, digest, namespaces FROM public.stampd_tokens WHERE revoked_at IS NULL";

const STREAM: &str = "SELECT size, token FROM public.streams WHERE stream_id = $1";

const LEDGER: &str = "SELECT id FROM public.stampd_ledger";

/// Where a body came after its leaf, both tables have the position, with one leaf.
const LEAVES: &str = "SELECT leaf FROM (
        SELECT seq, leaf FROM public.stamp_events
            WHERE stream_id = $1 AND seq >= $2 AND seq < $3
        UNION SELECT seq, leaf FROM public.withheld
            WHERE stream_id = $1 AND seq >= $2 AND seq < $3) held
    ORDER BY seq";

/// Leaves read at once for a root.
const LEAVES_MAX: u64 = 10_000;

/// The streams of agents that come through a bridge; a handle to share.
#[derive(Clone)]
pub struct Ingest {
    pool: Pool,
    outbox: Option<Arc<Tray>>,
}

/// A token in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Which token.
    pub id: i64,
    /// Whose it is.
    pub name: String,
    /// What it is known by.
    pub digest: Digest,
    /// What is in scope; empty for all.
    pub namespaces: Vec<String>,
}

impl Bearer {
    /// Whether it may speak of the namespace.
    pub fn may(&self, namespace: &Namespace) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|own| own == namespace.as_str())
    }
}

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The length of the contiguous prefix that is held.
    pub size: u64,
    /// The RFC 6962 tree hash of that prefix.
    pub root: [u8; 32],
}

/// Why a piece or a question was refused.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The database did not do it; its class says what helps.
    #[error(transparent)]
    Store(StoreError),
    /// The token was revoked since it was last looked at.
    #[error("the token was revoked")]
    Revoked,
    /// The stream belongs to another token, or to a namespace that is not in scope.
    #[error("the stream is another agent's")]
    Foreign,
}

impl From<StoreError> for IngestError {
    fn from(error: StoreError) -> Self {
        match error.code() {
            "ST003" => Self::Revoked,
            "ST004" => Self::Foreign,
            _ => Self::Store(error),
        }
    }
}

impl Ingest {
    /// Connects to nothing yet. At most `sessions_max` pieces are appended at once, each within
    /// `patience`. Where somebody is to be told of the outbox, they go there too.
    pub fn new(
        address: Address,
        sessions_max: usize,
        patience: Duration,
        outbox: Option<Arc<Tray>>,
    ) -> Self {
        Self { pool: Pool::new(address, sessions_max, patience), outbox }
    }

    /// How many sessions there are.
    pub fn usage(&self) -> Usage {
        self.pool.usage()
    }

    /// Every token in force.
    pub async fn bearers(&self) -> Result<Vec<Bearer>, StoreError> {
        let rows = self.pool.query(BEARERS, &[]).await?;
        Ok(rows.iter().map(bearer).collect::<Result<_, _>>()?)
    }

    /// The identity of the record; `None` where the database lost it.
    pub async fn ledger(&self) -> Result<Option<Uuid>, StoreError> {
        let rows = self.pool.query(LEDGER, &[]).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
    }

    /// What a stream of the bearer's is; `None` when it has none of that identity.
    pub async fn extent(
        &self,
        bearer: &Bearer,
        stream: StreamId,
    ) -> Result<Option<Extent>, IngestError> {
        let id = stream.as_uuid();
        let rows = self.pool.query(STREAM, &[(&id, Type::UUID)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (size, owner) = owned(row).map_err(StoreError::from)?;
        match owner {
            None => Ok(None),
            Some(owner) if owner != bearer.name => Err(IngestError::Foreign),
            Some(_) => Ok(Some(self.measure(id, size).await?)),
        }
    }

    /// Reads the leaves up to `size`; what is appended meanwhile does not matter.
    async fn measure(&self, stream: Uuid, size: u64) -> Result<Extent, StoreError> {
        let mut tree = CompactRange::default();
        while tree.size() < size {
            let (from, to) = (tree.size() as i64, size.min(tree.size() + LEAVES_MAX) as i64);
            let range =
                [(&stream as _, Type::UUID), (&from as _, Type::INT8), (&to as _, Type::INT8)];
            let rows = self.pool.query(LEAVES, &range).await?;
            if rows.is_empty() {
                // Restored to an older state in between.
                break;
            }
            for row in &rows {
                let leaf: &[u8] = row.try_get(0)?;
                tree.push(&Leaf::from_bytes(leaf.try_into().unwrap_or([0; 32])));
            }
        }
        Ok(Extent { size: tree.size(), root: tree.root() })
    }

    /// Appends a piece of a stream for the bearer, durable when this returns. A piece that begins
    /// beyond what is held, or of a stream that the bearer has yet to tell from its beginning, is
    /// not taken: the size tells where to begin.
    pub async fn append(&self, bearer: &Bearer, batch: &Batch) -> Result<Appended, IngestError> {
        let piece = Piece::new(batch, Gaps::Refused);
        let publish = self.outbox.is_some();
        // Asking twice is what a piece that comes twice is.
        let rows = self
            .pool
            .query(
                APPEND,
                &[
                    (&bearer.id, Type::INT8),
                    (&piece.stream, Type::UUID),
                    (&piece.first_seq, Type::INT8),
                    (&piece.bodies, Type::TEXT_ARRAY),
                    (&piece.leaves, Type::BYTEA),
                    (&piece.stamp_ids, Type::BYTEA),
                    (&piece.reasons, Type::TEXT_ARRAY),
                    (&piece.sinces, Type::TIMESTAMPTZ_ARRAY),
                    (&publish, Type::BOOL),
                ],
            )
            .await?;
        if let Some(outbox) = &self.outbox {
            outbox.ring(batch.stream);
        }
        let row = rows.first().expect("a function with OUT parameters gives one row");
        Ok(appended(row).map_err(StoreError::from)?)
    }
}

fn bearer(row: &Row) -> Result<Bearer, tokio_postgres::Error> {
    let digest: &[u8] = row.try_get(2)?;
    Ok(Bearer {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        digest: Digest::from_bytes(digest.try_into().expect("the column holds 32 bytes")),
        namespaces: row.try_get(3)?,
    })
}

fn owned(row: &Row) -> Result<(u64, Option<String>), tokio_postgres::Error> {
    Ok((row.try_get::<_, i64>(0)? as u64, row.try_get(1)?))
}
