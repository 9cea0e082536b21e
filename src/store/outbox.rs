//! The outbox: pieces of streams that wait to go onto a topic, in 16 shards by key.
//!
//! Holds the SQL and what a piece says. Who owns a shard is decided by an advisory lock of the
//! session, so it is free again when its owner dies; whoever wishes for a shard that another owns
//! says so by a second lock, which the owner looks at. Publishing is left to `outbox`.

mod entries;
mod shards;
mod tray;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};
use uuid::Uuid;

use self::entries::ENTRIES;
pub use self::shards::Shards;
pub use self::tray::{Laid, Tray};
use super::address::Address;
use super::error::StoreError;
use super::session::Session;
use crate::model::batch::Batch;
use crate::model::stream::StreamId;
use crate::runtime::time::Timestamp;

/// Advisory locks of shards are (this, shard): "stam" in ASCII.
const LOCK: i32 = 0x7374_616d;
/// Wishes for shards are (this, shard), shared by all who have them.
const WISH: i32 = LOCK + 1;

/// Pieces looked at together, of each shard.
const PIECES_MAX: i64 = 1_000;

/// Entries of a batch, and their bytes as the database counts them.
pub const ENTRIES_MAX: u64 = 5_000;
const BYTES_MAX: i64 = 4 << 20;

/// What is taken out was confirmed by the broker; when a crash brings it back, it is sent again under
/// the same identity: nothing here need wait for the disk. Plans are made once, perhaps over tables
/// that are empty, and are to be good for full ones: by their indexes.
const SETTINGS: &str = "SET synchronous_commit = off; SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

const TAKE_OUT: &str =
    "DELETE FROM public.outbox o USING unnest($1::int2[], $2::int8[]) g (shard, id)
    WHERE o.shard = g.shard AND o.id = g.id";

const CUT: &str = "UPDATE public.outbox o SET first_seq = g.size
    FROM unnest($1::int2[], $2::int8[], $3::int8[]) g (shard, id, size)
    WHERE o.shard = g.shard AND o.id = g.id";

const RELEASE: &str = "SELECT pg_catalog.pg_advisory_unlock($1, s) FROM unnest($2::int4[]) s";
const UNWISH: &str = "SELECT pg_catalog.pg_advisory_unlock_shared($1, s) FROM unnest($2::int4[]) s";
const WISH_FOR: &str = "SELECT pg_catalog.pg_advisory_lock_shared($1, s) FROM unnest($2::int4[]) s";
const CLAIM: &str =
    "SELECT s FROM unnest($2::int4[]) s WHERE pg_catalog.pg_try_advisory_lock($1, s)";
/// Held for this statement only.
const WISHED: &str =
    "SELECT s FROM unnest($2::int4[]) s WHERE NOT pg_catalog.pg_try_advisory_xact_lock($1, s)";

const PIECES: &str = "SELECT o.id, o.stream_id, o.first_seq, o.next_seq FROM unnest($1::int2[]) s
    CROSS JOIN LATERAL (SELECT * FROM public.outbox WHERE shard = s ORDER BY id LIMIT $2) o";

const LEFT: &str = "SELECT s FROM generate_series(0, 15) s WHERE (
        SELECT created_at FROM public.outbox WHERE shard = s::int2 ORDER BY id LIMIT 1)
    < now() - make_interval(secs => $1)";

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
    /// The pieces, in order.
    pub pieces: Vec<Piece>,
    /// Their entries from the first on.
    pub batch: Batch,
}

/// What the broker has confirmed and the outbox need not keep.
#[derive(Debug, Default)]
pub struct Gone {
    shards: Vec<i16>,
    ids: Vec<i64>,
    /// Of these only what lies before a position.
    parts: Vec<(i16, i64, i64)>,
}

/// What is asked of the database at once. It is done in the order of the fields.
#[derive(Debug, Default)]
pub struct Ask {
    /// Rows to take out.
    pub gone: Gone,
    /// Shards of ours to give up.
    pub release: Shards,
    /// Shards that we wish another to give up: all of them, each time.
    pub wish: Shards,
    /// Shards to become the owner of, if nobody is.
    pub claim: Shards,
    /// Shards of ours to look into; those to claim are looked into in any case.
    pub read: Shards,
    /// Shards of ours of which to tell whether another wishes for them.
    pub watch: Shards,
}

/// What the database says to that.
#[derive(Debug, Default)]
pub struct Answer {
    /// Shards that are ours now.
    pub claimed: Shards,
    /// The first pieces of the shards looked into, whoever owns them, in the order of their ids for
    /// each shard.
    pub pieces: Vec<Piece>,
    /// Shards in which there are more.
    pub more: Shards,
    /// Shards of ours that another wishes for.
    pub wished: Shards,
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
pub struct Outbox {
    session: Session,
    prepared: Prepared,
    /// The wishes that are ours.
    wishes: Shards,
}

struct Prepared {
    take_out: Statement,
    claim: Statement,
    pieces: Statement,
    wished: Statement,
    entries: Statement,
}

impl Outbox {
    /// Connects.
    pub async fn open(address: &Address) -> Result<Self, StoreError> {
        let mut session = Session::open(address).await?;
        let prepared = session.run(async |client| {
            let ((), take_out, claim, pieces, wished, entries) = tokio::try_join!(
                client.batch_execute(SETTINGS),
                client.prepare(TAKE_OUT),
                client.prepare(CLAIM),
                client.prepare(PIECES),
                client.prepare(WISHED),
                client.prepare(ENTRIES),
            )?;
            Ok(Prepared { take_out, claim, pieces, wished, entries })
        });
        let prepared = Box::pin(prepared).await?;
        Ok(Self { session, prepared, wishes: Shards::default() })
    }

    /// Does all that is asked, in one exchange.
    pub async fn exchange(&mut self, ask: &Ask) -> Result<Answer, StoreError> {
        let Self { session, prepared, wishes } = self;
        let answer = session.run(async |client| {
            // One after the other on the server: what is taken out is not read again, what is given up
            // has nothing in it that was published, and the pieces are those of the owner.
            let (.., claimed, pieces, wished) = tokio::try_join!(
                take_out(client, &prepared.take_out, &ask.gone),
                cut(client, &ask.gone),
                lock(client, RELEASE, LOCK, ask.release),
                lock(client, UNWISH, WISH, *wishes - ask.wish),
                lock(client, WISH_FOR, WISH, ask.wish - *wishes),
                told(client, &prepared.claim, LOCK, ask.claim),
                pieces(client, &prepared.pieces, ask.claim | ask.read),
                told(client, &prepared.wished, WISH, ask.watch),
            )?;
            let more = full(&pieces);
            Ok(Answer { claimed, pieces, more, wished })
        });
        // Boxed, as what is done side by side takes some 30 KB together.
        let answer = Box::pin(answer).await?;
        *wishes = ask.wish;
        Ok(answer)
    }

    /// Reads what runs of pieces say, up to the size of a batch for all of them together.
    pub async fn load(&mut self, runs: Vec<Vec<Piece>>) -> Result<Vec<Load>, StoreError> {
        let (mut streams, mut firsts, mut nexts) = (Vec::new(), Vec::new(), Vec::new());
        for run in &runs {
            let (first, last) = (run[0], run[run.len() - 1]);
            streams.push(first.stream.as_uuid());
            firsts.push(first.first_seq as i64);
            nexts.push(last.next_seq.min(first.first_seq + ENTRIES_MAX) as i64);
        }
        let bytes = BYTES_MAX / (runs.len() as i64).max(1);
        let Self { session, prepared, .. } = self;
        let arguments: [&(dyn ToSql + Sync); 4] = [&streams, &firsts, &nexts, &bytes];
        let rows =
            session.run(async |client| client.query(&prepared.entries, &arguments).await).await?;
        let mut loads: Vec<Load> = runs.into_iter().map(Load::empty).collect();
        for row in &rows {
            let (number, seq) = entries::place(row)?;
            let batch = &mut loads[number].batch;
            // What lies behind a hole has to wait for it.
            if batch.end() == seq {
                batch.entries.push(entries::entry(row)?);
            }
        }
        Ok(loads)
    }

    /// How much waits in all shards, and in which something has waited for longer than `age`.
    pub async fn look(&mut self, age: Duration) -> Result<(Depth, Shards), StoreError> {
        let age: [&(dyn ToSql + Sync); 1] = [&age.as_secs_f64()];
        let (depth, left) = self
            .session
            .run(async |client| {
                tokio::try_join!(client.query_one(DEPTH, &[]), client.query(LEFT, &age))
            })
            .await?;
        let oldest: Option<SystemTime> = depth.try_get(1)?;
        let entries: i64 = depth.try_get(0)?;
        let depth = Depth { entries: entries as u64, oldest: oldest.map(Timestamp::from) };
        Ok((depth, numbered(&left)?))
    }
}

async fn take_out(client: &Client, statement: &Statement, gone: &Gone) -> Result<(), Error> {
    if !gone.ids.is_empty() {
        client.execute(statement, &[&gone.shards, &gone.ids]).await?;
    }
    Ok(())
}

async fn cut(client: &Client, gone: &Gone) -> Result<(), Error> {
    if !gone.parts.is_empty() {
        let shards: Vec<i16> = gone.parts.iter().map(|&(shard, ..)| shard).collect();
        let ids: Vec<i64> = gone.parts.iter().map(|&(_, id, _)| id).collect();
        let sizes: Vec<i64> = gone.parts.iter().map(|&(.., size)| size).collect();
        client.execute(CUT, &[&shards, &ids, &sizes]).await?;
    }
    Ok(())
}

/// Locks or unlocks.
async fn lock(client: &Client, sql: &str, kind: i32, shards: Shards) -> Result<(), Error> {
    if !shards.is_empty() {
        client.query(sql, &[&kind, &shards.numbers::<i32>()]).await?;
    }
    Ok(())
}

/// The shards of which a statement about locks tells.
async fn told(
    client: &Client,
    statement: &Statement,
    kind: i32,
    shards: Shards,
) -> Result<Shards, Error> {
    if shards.is_empty() {
        return Ok(shards);
    }
    numbered(&client.query(statement, &[&kind, &shards.numbers::<i32>()]).await?)
}

async fn pieces(
    client: &Client,
    statement: &Statement,
    shards: Shards,
) -> Result<Vec<Piece>, Error> {
    if shards.is_empty() {
        return Ok(Vec::new());
    }
    let rows = client.query(statement, &[&shards.numbers::<i16>(), &PIECES_MAX]).await?;
    rows.iter().map(to_piece).collect()
}

fn numbered(rows: &[Row]) -> Result<Shards, Error> {
    rows.iter().map(|row| Ok(Shards::one(row.try_get::<_, i32>(0)? as u8))).collect()
}

/// The shards of which there are as many pieces as are looked at together.
fn full(pieces: &[Piece]) -> Shards {
    let shards: Shards = pieces.iter().map(Piece::shard).collect();
    let count = |one: Shards| pieces.iter().filter(|piece| piece.shard() == one).count();
    shards.each().filter(|one| count(*one) as i64 >= PIECES_MAX).collect()
}

fn to_piece(row: &Row) -> Result<Piece, Error> {
    Ok(Piece {
        id: row.try_get(0)?,
        stream: StreamId::from_uuid(row.try_get::<_, Uuid>(1)?),
        first_seq: row.try_get::<_, i64>(2)? as u64,
        next_seq: row.try_get::<_, i64>(3)? as u64,
    })
}

impl Piece {
    /// The shard in which it waits.
    pub fn shard(&self) -> Shards {
        Shards::of(self.stream)
    }
}

impl Load {
    /// Takes in what follows on it.
    pub fn append(&mut self, mut next: Self) {
        debug_assert_eq!(self.batch.end(), next.batch.first_seq, "nothing lies between");
        self.pieces.append(&mut next.pieces);
        self.batch.entries.append(&mut next.batch.entries);
    }

    fn empty(pieces: Vec<Piece>) -> Self {
        let Piece { stream, first_seq, .. } = pieces[0];
        Self { batch: Batch { stream, first_seq, entries: Vec::new() }, pieces }
    }
}

impl Gone {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.parts.is_empty()
    }

    /// What lies before `size` of these pieces, which are of one stream and in order.
    pub fn add(&mut self, pieces: &[Piece], size: u64) {
        for piece in pieces {
            let shard = i16::from(piece.shard().number());
            if piece.next_seq <= size {
                self.shards.push(shard);
                self.ids.push(piece.id);
            } else if piece.first_seq < size {
                self.parts.push((shard, piece.id, size as i64));
            }
        }
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
    fn a_piece_is_gone_when_all_of_it_is() {
        let pieces = [piece(1, 7, 0, 2), piece(2, 7, 2, 5)];
        let gone = |size| {
            let mut gone = Gone::default();
            gone.add(&pieces, size);
            (gone.ids, gone.parts)
        };
        assert_eq!(gone(0), (vec![], vec![]));
        assert_eq!(gone(1), (vec![], vec![(7, 1, 1)]));
        assert_eq!(gone(2), (vec![1], vec![]));
        assert_eq!(gone(4), (vec![1], vec![(7, 2, 4)]));
        assert_eq!(gone(5), (vec![1, 2], vec![]));
    }
}
