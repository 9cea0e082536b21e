//! The writer: the one thread that changes the spool.
//!
//! It takes whatever is queued and never waits for more, makes it one transaction, commits, and only
//! then acknowledges, lets the in-memory index follow, and tells the sinks. Any error of the file is
//! fatal: nothing of the transaction is acknowledged, and opening again replays what is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;
use rustc_hash::FxHashMap;
use tokio::sync::watch;

use super::content::Recent;
use super::error::SpoolError;
use super::lock::Lock;
use super::queue::{Acknowledge, Queue, Task};
use super::schema::Blame;
use super::track::{Statements, Step, Track};
use super::{Annotate, Config};
use crate::model::stamp::Agent;
use crate::runtime::clock::Clock;

/// The stamps that one transaction takes at most, unless a single task brings more.
const GROUP_STAMPS_MAX: usize = 10_000;

/// From so many stamps in one transaction on, we are in a first scan or the like.
const BULK_STAMPS_MIN: usize = 500;

/// Pages of write-ahead log after which they are copied into the file, and in bulk: 6 MB, so that no caller
/// waits long for the copying (of 16 MB it took as long as a hundred transactions), and 80 MB so that a first
/// scan is not held up by copying pages which the next group changes again.
const CHECKPOINT_PAGES: u32 = 1_500;
const CHECKPOINT_PAGES_BULK: u32 = 20_000;

/// The writing end of a spool: hand it to a thread of its own.
#[derive(Debug)]
pub struct Writer {
    pub(super) conn: Connection,
    pub(super) queue: Queue,
    pub(super) settings: Settings,
    /// Last, so that the connection is closed before another process may open one.
    pub(super) lock: Lock,
}

/// What the writer was opened with.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) agent: Agent,
    /// Digest of the machine and the file: streams of another origin are not continued.
    pub(super) origin: [u8; 32],
    pub(super) clock: Clock,
    pub(super) blame: Blame,
    /// Counts commits that appended stamps; read by every sink.
    pub(super) commits: Arc<watch::Sender<u64>>,
}

impl Writer {
    /// Works until every handle is dropped and nothing is queued, then checkpoints and marks the
    /// spool as left in order. Sleeps while there is nothing to do.
    pub fn run(self) -> Result<(), SpoolError> {
        let Self { mut conn, queue, settings, lock } = self;
        let blame = settings.blame.clone();
        let logged = Arc::new(AtomicU32::new(0));
        let note = Arc::clone(&logged);
        // In place of SQLite's own checkpoints, which a commit waits for.
        conn.wal_hook(Some(move |_: &mut Wal, pages| {
            note.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(blame.on("follow the write-ahead log"))?;
        let mut session = Session::new(&conn, settings, logged)?;
        while let Some(first) = queue.next() {
            session.commit_group(first, &queue)?;
        }
        drop(session);
        conn.execute_batch(
            "UPDATE meta SET value = '1' WHERE key = 'clean'; PRAGMA wal_checkpoint(TRUNCATE);",
        )
        .map_err(blame.on("close"))?;
        drop(conn);
        drop(lock);
        Ok(())
    }
}

/// The writer at work.
pub(super) struct Session<'c> {
    pub(super) conn: &'c Connection,
    pub(super) settings: Settings,
    pub(super) statements: Statements<'c>,
    pub(super) tracks: FxHashMap<i64, Track>,
    /// What `api` stamps share.
    pub(super) recent: Recent,
    /// Who says something of files' contents, if anybody does.
    pub(super) annotate: Option<Annotate>,
    /// Stamps appended by the transaction under way.
    pub(super) appended: usize,
    /// Pages of write-ahead log after the last commit.
    logged: Arc<AtomicU32>,
}

impl<'c> Session<'c> {
    fn new(
        conn: &'c Connection,
        settings: Settings,
        logged: Arc<AtomicU32>,
    ) -> Result<Self, SpoolError> {
        let statements =
            Statements::prepare(conn).map_err(settings.blame.on("prepare statements"))?;
        let (tracks, recent, annotate) = (FxHashMap::default(), Recent::default(), None);
        Ok(Self { conn, settings, statements, tracks, recent, annotate, appended: 0, logged })
    }

    /// Commits `first` and what else is queued as one transaction, acknowledges all of it, and only then
    /// tidies up.
    fn commit_group(&mut self, first: Task, queue: &Queue) -> Result<(), SpoolError> {
        self.execute("BEGIN IMMEDIATE", "begin a transaction")?;
        self.appended = 0;
        let mut acknowledgements = Vec::new();
        let mut task = Some(first);
        while let Some(Task { work }) = task {
            acknowledgements.push(work(self)?);
            task = if self.appended < GROUP_STAMPS_MAX { queue.try_next() } else { None };
        }
        self.save_heads()?;
        self.execute("COMMIT", "commit")?;
        self.committed(acknowledgements);
        self.checkpoint()
    }

    /// Writes how far every stream reaches now.
    pub(super) fn save_heads(&mut self) -> Result<(), SpoolError> {
        for track in self.tracks.values_mut() {
            track
                .head
                .save(&mut self.statements.save_head)
                .map_err(self.settings.blame.on("write the head of a stream"))?;
        }
        Ok(())
    }

    /// The order matters: whoever is told finds the index and the log as they were told.
    fn committed(&mut self, acknowledgements: Vec<Acknowledge>) {
        for track in self.tracks.values_mut() {
            track.committed();
        }
        for acknowledge in acknowledgements {
            acknowledge();
        }
        if self.appended > 0 {
            self.settings.commits.send_modify(|count| *count += 1);
        }
    }

    /// Copies the log's pages into the file when there are enough, without waiting for readers.
    fn checkpoint(&self) -> Result<(), SpoolError> {
        let bulk = self.appended >= BULK_STAMPS_MIN;
        let pages = if bulk { CHECKPOINT_PAGES_BULK } else { CHECKPOINT_PAGES };
        if self.logged.load(Ordering::Relaxed) < pages {
            return Ok(());
        }
        self.conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(self.settings.blame.on("copy the write-ahead log"))
    }

    fn execute(&self, sql: &'static str, action: &'static str) -> Result<(), SpoolError> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(drop)
            .map_err(self.settings.blame.on(action))
    }

    /// The open repo of an id, and what a step of it needs.
    pub(super) fn step(&mut self, repo: i64) -> (&mut Track, Step<'_, 'c>) {
        let track = self.tracks.get_mut(&repo).expect("a handle exists only of an open repo");
        let now = self.settings.clock.now();
        let (conn, blame) = (self.conn, &self.settings.blame);
        let annotate = self.annotate.as_ref();
        (track, Step { conn, blame, statements: &mut self.statements, annotate, now })
    }
}
