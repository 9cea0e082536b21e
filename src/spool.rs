//! The spool: one SQLite file that holds the index of what is on disk and the log of its stamps.
//!
//! Promises: a receipt that says yes means durable; a stamp's `(stream, seq)` is given once and
//! never again; seqs have no gaps; a body that is read back is the one that was hashed, or an error.
//! One thread writes ([`Writer`]); everyone else sends it work through [`Spool`] and [`Repo`], or
//! reads through a [`Reader`] of their own.
//!
//! Leaves to others: what to look at and when (`scan`), what a sink is sent and when (`sync`), and
//! what an observation means (`model::change`).

mod content;
mod context;
mod cursor;
mod dead;
mod epoch;
mod error;
mod history;
mod index;
mod listing;
mod lock;
mod log;
mod position;
mod queue;
mod reader;
mod repo;
mod retention;
mod schema;
mod stream;
mod track;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::watch;

pub use self::content::{ContentTotals, Contents};
pub use self::cursor::Cursor;
pub use self::dead::{DeadLetter, DeadStamp};
pub use self::error::SpoolError;
pub use self::history::{All, Interval};
pub use self::index::{Glance, Known, Look};
pub use self::listing::{Changes, Listed, Reached};
pub use self::queue::Receipt;
pub use self::reader::{Reader, RepoInfo, StreamHead, Totals, open_read_only};
pub use self::repo::{Appended, Repo, RepoId, RepoSpec};
pub use self::retention::Purged;
pub use self::track::Stamped;
pub use self::writer::Writer;

use self::queue::Sending;
use self::schema::Blame;
use self::writer::Settings;
use crate::model::digest::Digest;
use crate::model::intelligence::Intelligence;
use crate::model::path::RepoPath;
use crate::model::stamp::Agent;
use crate::runtime::clock::Clock;

/// Looks up what is said of the content of a file at a path. It is asked for each stamp of a content,
/// by the thread that writes, and so has to answer at once.
pub type Annotate = Arc<dyn Fn(&Digest, &RepoPath) -> Option<Intelligence> + Send + Sync>;

/// Where the spool lies and how much it keeps.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory of the spool and its lock; ours alone.
    pub state_dir: PathBuf,
    /// How long a body is kept after every sink confirmed it.
    pub retention: Duration,
    /// How large the spool may grow before it takes no more stamps, in bytes.
    pub max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/stampd"),
            retention: Duration::from_hours(90 * 24),
            max_bytes: 4 << 30,
        }
    }
}

/// Who stamps: what the agent part of every context is made of.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The machine's name.
    pub host: String,
    /// stampd's version.
    pub version: String,
    /// The machine's identity; only a digest of it is kept.
    pub machine_id: String,
}

/// Opens the spool of a state directory, making it if there is none.
///
/// The writer has to run for any receipt to be fulfilled.
pub fn open(config: Config, seed: Seed, clock: Clock) -> Result<(Spool, Writer), SpoolError> {
    let lock = lock::acquire(&config.state_dir)?;
    let path = schema::path_in(&config.state_dir);
    let blame = Blame::new(&path);
    let conn = schema::open_for_writing(&path)?;
    let inode = schema::inode(&path)
        .map_err(|source| SpoolError::Unwritable { dir: config.state_dir.clone(), source })?;
    let id = begin(&conn).map_err(blame.on("read who stamps"))?;
    let agent = Agent { id: id.clone(), host: seed.host, version: seed.version };
    let (sending, queue) = queue::queue();
    let commits = Arc::new(watch::Sender::new(0));
    let shared =
        Arc::new(Shared { config: config.clone(), agent_id: id, commits: commits.clone() });
    let origin = origin(&seed.machine_id, inode);
    let settings = Settings { config, agent, origin, clock, blame, commits };
    Ok((Spool { sending, shared }, Writer { conn, queue, settings, lock }))
}

/// Notes that we are at work, until the writer ends in order, and says which agent this is: one per
/// state directory.
fn begin(conn: &Connection) -> rusqlite::Result<String> {
    let tx = conn.unchecked_transaction()?;
    tx.execute("INSERT OR REPLACE INTO meta VALUES ('clean', '0')", [])?;
    let known: Option<String> = tx
        .query_row("SELECT value FROM meta WHERE key = 'agent_id'", [], |row| row.get(0))
        .optional()?;
    let id = known.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    tx.execute("INSERT OR IGNORE INTO meta VALUES ('agent_id', ?1)", [&id])?;
    tx.commit()?;
    Ok(id)
}

/// A machine's identity is not for others to know, so a digest stands for it.
fn origin(machine_id: &str, inode: u64) -> [u8; 32] {
    *Digest::of(format!("stampd spool {machine_id} {inode}").as_bytes()).as_bytes()
}

/// A handle to the spool; clones share it. The writer ends when the last handle, of repos too, is
/// dropped.
#[derive(Clone, Debug)]
pub struct Spool {
    sending: Sending,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    agent_id: String,
    commits: Arc<watch::Sender<u64>>,
}

impl Spool {
    /// From here on, stamps of files carry what `annotate` says of their contents.
    ///
    /// Waits for the writer, which has to run.
    pub fn annotate(&self, annotate: Annotate) -> Result<(), SpoolError> {
        let set = self.sending.order(move |session| {
            session.annotate = Some(annotate);
            Ok(())
        });
        set.wait()
    }

    /// The agent of this state directory.
    pub fn agent_id(&self) -> &str {
        &self.shared.agent_id
    }

    /// Opens a reading connection. Each user has its own.
    pub fn reader(&self) -> Result<Reader, SpoolError> {
        open_read_only(&self.shared.config.state_dir)
    }

    /// Changes after each commit that appended stamps.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.shared.commits.subscribe()
    }
}
