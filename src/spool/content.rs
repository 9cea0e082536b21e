//! Contents stamped through the API: the agent's own `api` stream, and what is held of each.
//!
//! Promises: an order is acknowledged only when its stamp is durable; the same content again, also
//! at the same time, gets the first one's row; a row is told by the body that was hashed, and that
//! body is never purged. Requests that come together share a transaction, since the writer takes
//! whatever is queued; one that comes alone waits for nobody.
//!
//! Leaves to others: which words a caller may use (`api`), and what a row says
//! (`model::content`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, params};
use rustc_hash::FxHashMap;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::Spool;
use super::context::{self, Interned};
use super::error::SpoolError;
use super::log::{Entry, Links, prove, stamp_columns};
use super::position::Position;
use super::queue::Sending;
use super::reader::{Reader, open_read_only};
use super::repo::RepoId;
use super::schema::Blame;
use super::stream::stream_id;
use super::track::write;
use super::writer::Session;
use crate::model::content::{Order, Row, Stamped};
use crate::model::digest::Digest;
use crate::model::stamp::Context;

/// The repo of the `api` stream. No watched repo has an empty name.
pub(super) const OWN_REPO: &str = "";

/// The tenant of the `api` stream's own life; every stamp in it names its own.
const OWN_NAMESPACE: &str = "omninode.services.metadata";

/// Requests that may be with the writer at a time, well within its queue, so that sending never
/// blocks a task. Further ones wait.
const WAITING_MAX: usize = 512;

/// Reading connections.
const READERS_MAX: usize = 4;

/// Rows that one content is told by at most.
const ROWS_MAX: usize = 1_000;

/// Contexts kept interned; a caller chooses media types freely.
const CONTEXTS_MAX: usize = 512;

/// A handle to what was stamped through the API; clones share it.
#[derive(Clone, Debug)]
pub struct Contents {
    repo: RepoId,
    sending: Sending,
    waiting: Arc<Semaphore>,
    readers: Arc<Readers>,
}

/// The `api` stream as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentTotals {
    /// Where its stamps are.
    pub repo: RepoId,
    /// Contents that were stamped.
    pub contents: u64,
}

/// Connections that wait to be read from, and how many may be out.
#[derive(Debug)]
struct Readers {
    state_dir: PathBuf,
    /// Taken from and given back by every read.
    idle: Mutex<Vec<Reader>>,
    out: Arc<Semaphore>,
}

impl Spool {
    /// Opens the agent's own `api` stream for appending.
    ///
    /// Waits for the writer, which has to run.
    pub fn contents(&self) -> Result<Contents, SpoolError> {
        let repo = self.sending.order(|session| session.open_own(OWN_NAMESPACE)).wait()?;
        let state_dir = self.shared.config.state_dir.clone();
        let (idle, out) = (Mutex::default(), Arc::new(Semaphore::new(READERS_MAX)));
        Ok(Contents {
            repo,
            sending: self.sending.clone(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            readers: Arc::new(Readers { state_dir, idle, out }),
        })
    }
}

impl Contents {
    /// Stamps contents, all of them durable when it returns, in the order given. What was stamped
    /// before is told as it was.
    pub async fn stamp(&self, orders: Vec<Order>) -> Result<Vec<Stamped>, SpoolError> {
        let _room = self.waiting.acquire().await.map_err(|_| SpoolError::Stopped)?;
        let repo = self.repo;
        self.sending.order(move |session| session.stamp(repo, &orders)).await
    }

    /// The rows of a content, newest first, at most 1,000: in one namespace, at one path, or
    /// wherever it is.
    pub async fn find(
        &self,
        digest: &Digest,
        namespace: Option<&str>,
        path: Option<&str>,
    ) -> Result<Vec<Row>, SpoolError> {
        let (digest, namespace) = (*digest, namespace.map(str::to_owned));
        let path = path.map(str::to_owned);
        let find = move |reader: &Reader| {
            reader.contents_of(&digest, namespace.as_deref(), path.as_deref())
        };
        self.readers.read(find).await
    }

    /// How many contents a namespace holds, and a page of them, newest first.
    pub async fn page(
        &self,
        namespace: &str,
        limit: u32,
        offset: u64,
    ) -> Result<(u64, Vec<Row>), SpoolError> {
        let namespace = namespace.to_owned();
        self.readers.read(move |reader| reader.contents_page(&namespace, limit, offset)).await
    }

    /// How long the writer takes to come round to us.
    pub async fn ping(&self) -> Result<Duration, SpoolError> {
        let asked = Instant::now();
        let _room = self.waiting.acquire().await.map_err(|_| SpoolError::Stopped)?;
        self.sending.order(|_| Ok(())).await?;
        Ok(asked.elapsed())
    }
}

impl Readers {
    /// Reads on a thread of its own, since SQLite blocks.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Reader) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let permit = Arc::clone(&self.out).acquire_owned().await;
        let permit = permit.map_err(|_| SpoolError::Stopped)?;
        let readers = Arc::clone(self);
        let reading = spawn_blocking(move || {
            let _permit = permit;
            let reader = match readers.idle().pop() {
                Some(reader) => reader,
                None => open_read_only(&readers.state_dir)?,
            };
            let outcome = work(&reader);
            readers.idle().push(reader);
            outcome
        });
        // The runtime is going down.
        reading.await.unwrap_or(Err(SpoolError::Stopped))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// The `api` stream, where this spool ever had one.
    pub fn contents(&self) -> Result<Option<ContentTotals>, SpoolError> {
        self.conn
            .prepare_cached("SELECT id, (SELECT count(*) FROM content) FROM repo WHERE name = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([OWN_REPO], |row| {
                        let contents = row.get::<_, i64>(1)? as u64;
                        Ok(ContentTotals { repo: RepoId(row.get(0)?), contents })
                    })
                    .optional()
            })
            .map_err(self.blame.on("read the api stream"))
    }

    fn contents_of(
        &self,
        digest: &Digest,
        namespace: Option<&str>,
        path: Option<&str>,
    ) -> Result<Vec<Row>, SpoolError> {
        let on = self.blame.on("look for a content");
        let mut statement = self
            .conn
            .prepare_cached(concat!(
                "SELECT ",
                stamp_columns!(),
                " FROM stamp WHERE pos IN
                    (SELECT pos FROM content
                     WHERE digest = ?1 AND (?2 IS NULL OR namespace = ?2))
                  ORDER BY pos DESC"
            ))
            .map_err(&on)?;
        let entries =
            statement.query_map(params![digest.as_bytes(), namespace], Entry::read).map_err(&on)?;
        let mut rows = Vec::new();
        for entry in entries {
            let row = self.row_of(entry.map_err(&on)?)?;
            rows.extend(row.filter(|row| path.is_none() || row.file_path.as_deref() == path));
            if rows.len() == ROWS_MAX {
                break;
            }
        }
        Ok(rows)
    }

    fn contents_page(
        &self,
        namespace: &str,
        limit: u32,
        offset: u64,
    ) -> Result<(u64, Vec<Row>), SpoolError> {
        let list = || {
            // The number and the page are of one moment.
            let moment = self.conn.unchecked_transaction()?;
            let total: i64 = moment
                .prepare_cached("SELECT count(*) FROM content WHERE namespace = ?1")?
                .query_row([namespace], |row| row.get(0))?;
            let offset = i64::try_from(offset).unwrap_or(i64::MAX);
            let entries = moment
                .prepare_cached(concat!(
                    "SELECT ",
                    stamp_columns!(),
                    " FROM stamp WHERE pos IN
                        (SELECT pos FROM content WHERE namespace = ?1
                         ORDER BY pos DESC LIMIT ?2 OFFSET ?3)
                      ORDER BY pos DESC"
                ))?
                .query_map(params![namespace, limit, offset], Entry::read)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((total as u64, entries))
        };
        let (total, entries) = list().map_err(self.blame.on("list contents"))?;
        let rows = entries.into_iter().filter_map(|entry| self.row_of(entry).transpose());
        Ok((total, rows.collect::<Result<_, _>>()?))
    }

    /// The row that an entry tells; none when its body is gone, which no content's is.
    fn row_of(&self, entry: Entry) -> Result<Option<Row>, SpoolError> {
        Ok(self.seal(entry)?.and_then(|sealed| Row::told_by(&sealed.stamp)))
    }
}

/// The contexts of recent `api` stamps, by what they say.
#[derive(Default)]
pub(super) struct Recent(FxHashMap<Context, Interned>);

impl Recent {
    fn of(
        &mut self,
        context: &Context,
        conn: &Connection,
        blame: &Blame,
    ) -> Result<Interned, SpoolError> {
        if let Some(known) = self.0.get(context) {
            return Ok(known.clone());
        }
        if self.0.len() >= CONTEXTS_MAX {
            self.0.clear();
        }
        let interned =
            context::intern(conn, context.clone()).map_err(blame.on("intern a context"))?;
        self.0.insert(context.clone(), interned.clone());
        Ok(interned)
    }
}

impl Session<'_> {
    fn open_own(&mut self, namespace: &str) -> Result<RepoId, SpoolError> {
        let id = self
            .repo_row(OWN_REPO, &[], namespace)
            .map_err(self.settings.blame.on("open the api stream"))?;
        let context = Context {
            agent: self.settings.agent.clone(),
            repo: None,
            namespace: namespace.parse().expect("it is a namespace"),
            labels: BTreeMap::new(),
            git: None,
            file: None,
        };
        self.open_track(id, context)?;
        Ok(RepoId(id))
    }

    fn stamp(&mut self, repo: RepoId, orders: &[Order]) -> Result<Vec<Stamped>, SpoolError> {
        self.make_room()?;
        orders.iter().map(|order| self.stamp_one(repo, order)).collect()
    }

    fn stamp_one(&mut self, repo: RepoId, order: &Order) -> Result<Stamped, SpoolError> {
        let id = order.stamp_id();
        let blame = self.settings.blame.clone();
        let held =
            place_of(self.conn, &order.digest, id).map_err(blame.on("look for a content"))?;
        let (row, fresh) = match held {
            Some(at) => (self.row_at(at)?, false),
            None => (self.append_content(repo, id, order)?, true),
        };
        Ok(Stamped { row: Arc::new(row), event: None, fresh })
    }

    fn append_content(&mut self, repo: RepoId, id: Uuid, order: &Order) -> Result<Row, SpoolError> {
        let (conn, blame) = (self.conn, self.settings.blame.clone());
        let now = self.settings.clock.now();
        let track = self.tracks.get_mut(&repo.0).expect("a handle exists only of an open stream");
        let head = &mut track.head;
        let mut stamp = order.to_stamp(head.id, head.next().seq, &self.settings.agent, now);
        let context = self.recent.of(&stamp.context, conn, &blame)?;
        stamp.context = Arc::clone(context.rendered.context());
        let row = Row::told_by(&stamp).expect("the stamp of an order tells of its content");
        let (statements, rendered) = (&mut self.statements, &context.rendered);
        let at = write(statements, head, stamp, context.id, rendered, Links::default())
            .map_err(blame.on("append a stamp"))?;
        note(conn, id, at, order).map_err(blame.on("note a content"))?;
        self.appended += 1;
        Ok(row)
    }

    /// The row that a stamp tells, this transaction's too.
    fn row_at(&self, at: Position) -> Result<Row, SpoolError> {
        let (conn, blame) = (self.conn, &self.settings.blame);
        let read = || -> rusqlite::Result<_> {
            let stream = conn
                .prepare_cached("SELECT stream_id FROM stream WHERE id = ?1")?
                .query_row([at.stream], |row| stream_id(row, 0))?;
            let entry = conn
                .prepare_cached(concat!("SELECT ", stamp_columns!(), " FROM stamp WHERE pos = ?1"))?
                .query_row([at], Entry::read)?;
            Ok((stream, entry))
        };
        let (stream, entry) = read().map_err(blame.on("read a stamp"))?;
        let altered = || SpoolError::Altered { stream, seq: at.seq };
        let columns = entry.body.map_err(|_| altered())?;
        let rendered = context::load(conn, columns.context, blame)?;
        let stamp = columns.into_stamp(stream, at.seq, entry.stamped, &rendered);
        let sealed = prove(stream, at.seq, stamp, &rendered, &entry.leaf)?;
        Row::told_by(&sealed.stamp).ok_or_else(altered)
    }
}

fn place_of(conn: &Connection, digest: &Digest, id: Uuid) -> rusqlite::Result<Option<Position>> {
    conn.prepare_cached("SELECT pos FROM content WHERE digest = ?1 AND stamp_id = ?2")?
        .query_row(params![digest.as_bytes(), id.as_bytes()], |row| row.get(0))
        .optional()
}

fn note(conn: &Connection, id: Uuid, at: Position, order: &Order) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO content (digest, stamp_id, pos, namespace) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![order.digest.as_bytes(), id.as_bytes(), at, order.namespace.as_str()])
    .map(drop)
}

/// Lets a content whose stamp was at `old` follow it to `new`.
pub(super) fn follow(
    conn: &Connection,
    digest: &Digest,
    id: Uuid,
    old: Position,
    new: Position,
) -> rusqlite::Result<()> {
    let update = "UPDATE content SET pos = ?4 WHERE digest = ?1 AND stamp_id = ?2 AND pos = ?3";
    conn.prepare_cached(update)?
        .execute(params![digest.as_bytes(), id.as_bytes(), old, new])
        .map(drop)
}
