//! The writer's line to the database: its session, and the stream that it appends to.
//!
//! **Invariant**: `tail` is where the stream ends as far as we were told. When the database says
//! something else, the stream is left as it is and another is opened: a seq is never given twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::Statement;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::Config;
use super::reads::{BY_ID, to_rows};
use crate::model::body::{Rendered, seal};
use crate::model::content::{Order, Row};
use crate::model::digest::hex;
use crate::model::stamp::{Agent, Context, Previous, Sealed, Stamp};
use crate::model::stream::{Leaf, StreamId};
use crate::runtime::time::Timestamp;
use crate::store::Session;
use crate::store::address::Address;
use crate::store::error::StoreError;

const STAMP: &str = "SELECT event, held \
     FROM public.stampd_stamp($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// The append and the outbox in one statement, which is one transaction.
const OPEN: &str = "SELECT CASE WHEN $5 THEN public.stampd_publish($1, 0, 1) END \
     FROM public.stampd_append($1, 0, ARRAY[$2], $3, $4, ARRAY[NULL::text], \
        ARRAY[NULL::timestamptz], false)";

const END: &str = "SELECT size, head FROM public.stampd_end($1)";

/// Where a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) stream: StreamId,
    pub(super) size: u64,
    pub(super) leaf: Option<Leaf>,
}

/// A session with what is prepared in it.
pub(super) struct Line {
    session: Session,
    stamp: Statement,
    by_id: Statement,
}

/// Orders as stamps, ready to go at the end of a stream.
pub(super) struct Piece {
    pub(super) sealed: Vec<Sealed>,
    first: Tail,
}

/// What the database says to a piece.
pub(super) enum Said {
    /// It is committed; the id of its row in the outbox.
    Taken(Option<i64>),
    /// Nothing is written, since these are held: for each of the piece the row's id.
    Held(Vec<Option<Uuid>>),
}

impl Piece {
    /// Makes the stamps that follow on `tail`.
    pub(super) fn of<'o>(
        orders: impl Iterator<Item = &'o Order>,
        tail: Tail,
        agent: &Agent,
        now: Timestamp,
    ) -> Self {
        let mut known: Option<Rendered> = None;
        let stamp = |(seq, order): (u64, &Order)| {
            let mut stamp = order.to_stamp(tail.stream, seq, agent, now);
            // Most are of the tenant of the one before.
            let fits = |known: &Rendered| *known.context() == stamp.context;
            let shared = match known.take().filter(fits) {
                Some(known) => {
                    stamp.context = Arc::clone(known.context());
                    known
                }
                None => Rendered::new(Arc::clone(&stamp.context)),
            };
            seal(stamp, known.insert(shared))
        };
        Self { sealed: (tail.size..).zip(orders).map(stamp).collect(), first: tail }
    }

    /// Where the stream ends once the piece is in.
    pub(super) fn end(&self) -> Tail {
        Tail {
            stream: self.first.stream,
            size: self.first.size + self.sealed.len() as u64,
            leaf: self.sealed.last().map(|sealed| sealed.leaf).or(self.first.leaf),
        }
    }
}

impl Line {
    /// Connects and prepares.
    pub(super) async fn open(address: &Address, config: &Config) -> Result<Self, StoreError> {
        let mut session = Session::open(address).await?.with_patience(config.patience);
        let (stamp, by_id) = session
            .run(async |client| {
                let by_id = client.prepare_typed(BY_ID, &[Type::UUID_ARRAY]);
                tokio::try_join!(client.prepare(STAMP), by_id)
            })
            .await?;
        Ok(Self { session, stamp, by_id })
    }

    /// Sends a piece.
    pub(super) async fn send(&mut self, piece: &Piece, publish: bool) -> Result<Said, StoreError> {
        let columns = Columns::of(piece);
        let stream = piece.first.stream.as_uuid();
        let first_seq = piece.first.size as i64;
        let arguments: [&(dyn ToSql + Sync); 9] = [
            &stream,
            &first_seq,
            &columns.bodies,
            &columns.leaves,
            &columns.ids,
            &columns.digests,
            &columns.namespaces,
            &columns.paths,
            &publish,
        ];
        let Self { session, stamp, .. } = self;
        let row = session.run(async |client| client.query_one(&*stamp, &arguments).await).await?;
        let held: Option<Vec<Option<Uuid>>> = row.try_get(1)?;
        Ok(match held {
            Some(held) => Said::Held(held),
            None => Said::Taken(row.try_get(0)?),
        })
    }

    /// The rows of these ids, in any order.
    pub(super) async fn rows(&mut self, ids: &[Uuid]) -> Result<Vec<Row>, StoreError> {
        let Self { session, by_id, .. } = self;
        let rows = session.run(async |client| client.query(&*by_id, &[&ids]).await).await?;
        to_rows(&rows)
    }

    /// Where the database has the end of a stream, once what was on its way is there or gone.
    pub(super) async fn end(&mut self, stream: StreamId) -> Result<Tail, StoreError> {
        let id = stream.as_uuid();
        let row = self
            .session
            .run(async |client| {
                let rows = client.query_typed(END, &[(&id, Type::UUID)]).await?;
                Ok(rows.into_iter().next().expect("a function gives one row"))
            })
            .await?;
        let leaf: Option<&[u8]> = row.try_get(1)?;
        Ok(Tail {
            stream,
            size: row.try_get::<_, i64>(0)? as u64,
            leaf: leaf.and_then(|bytes| bytes.try_into().ok()).map(Leaf::from_bytes),
        })
    }

    /// Opens a new stream, which names the one before it.
    pub(super) async fn open_stream(
        &mut self,
        config: &Config,
        previous: Option<Tail>,
    ) -> Result<Tail, StoreError> {
        let opened = opening(config, previous);
        let id = opened.stamp.stream;
        let (stream, leaf, nil) = (id.as_uuid(), opened.leaf.as_bytes().as_slice(), [0_u8; 16]);
        let (nil, publish) = (nil.as_slice(), config.outbox.is_some());
        self.session
            .run(async |client| {
                let arguments: [(&(dyn ToSql + Sync), Type); 5] = [
                    (&stream, Type::UUID),
                    (&opened.body, Type::TEXT),
                    (&leaf, Type::BYTEA),
                    (&nil, Type::BYTEA),
                    (&publish, Type::BOOL),
                ];
                client.query_typed(OPEN, &arguments).await
            })
            .await?;
        Ok(Tail { stream: id, size: 1, leaf: Some(opened.leaf) })
    }
}

/// The first stamp of a new stream.
fn opening(config: &Config, previous: Option<Tail>) -> Sealed {
    let context = Context {
        agent: config.agent.clone(),
        repo: None,
        namespace: config.namespace.clone(),
        labels: BTreeMap::new(),
        git: None,
        file: None,
    };
    let context = Arc::new(context);
    let now = config.clock.now();
    let previous = previous.map(|tail| Previous {
        stream: tail.stream,
        size: tail.size,
        leaf: tail.leaf.map(|leaf| hex(leaf.as_bytes())),
    });
    let stream = StreamId::from_uuid(Uuid::now_v7());
    let stamp = Stamp::opened(stream, Arc::clone(&context), previous, now);
    seal(stamp, &Rendered::new(context))
}

/// A piece as the arrays of `stampd_stamp`.
struct Columns<'p> {
    bodies: Vec<&'p str>,
    leaves: Vec<u8>,
    ids: Vec<Uuid>,
    digests: Vec<String>,
    namespaces: Vec<&'p str>,
    paths: Vec<Option<&'p str>>,
}

impl<'p> Columns<'p> {
    fn of(piece: &'p Piece) -> Self {
        let sealed = &piece.sealed;
        let each = || sealed.iter().map(|sealed| &sealed.stamp);
        Self {
            bodies: sealed.iter().map(|sealed| sealed.body.as_str()).collect(),
            leaves: sealed.iter().flat_map(|sealed| *sealed.leaf.as_bytes()).collect(),
            ids: each().filter_map(Stamp::content_id).collect(),
            digests: each().filter_map(|stamp| Some(stamp.digest?.to_string())).collect(),
            namespaces: each().map(|stamp| stamp.context.namespace.as_str()).collect(),
            paths: each().map(|stamp| stamp.detail.place.as_deref()).collect(),
        }
    }
}
