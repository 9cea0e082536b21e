//! Handles of repos: opening one, and appending to its stream.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::params;

use super::Spool;
use super::context::Contexts;
use super::error::SpoolError;
use super::index::{Known, read_row, row_columns};
use super::log::Links;
use super::queue::{Receipt, Sending};
use super::stream;
use super::track::{Fact, Stamped, Track};
use super::writer::Session;
use crate::model::change::Observation;
use crate::model::namespace::Namespace;
use crate::model::path::RepoPath;
use crate::model::stamp::{Context, Detail, Git, Kind};
use crate::model::stream::StreamId;
use crate::runtime::time::Timestamp;

/// A repo in this spool. It stays the same across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoId(pub(super) i64);

/// A repo to open.
#[derive(Clone, Debug)]
pub struct RepoSpec {
    /// Its name: what makes it the same repo when it is opened again.
    pub name: String,
    /// Its root, for people who ask by path.
    pub root: PathBuf,
    /// The tenant of its stamps.
    pub namespace: Namespace,
    /// Labels of its stamps.
    pub labels: BTreeMap<String, String>,
    /// Where git stands.
    pub git: Option<Git>,
}

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The repo's stream.
    pub stream: StreamId,
    /// The stamps it made, in order.
    pub stamps: Vec<Stamped>,
    /// Observations that told nothing new.
    pub unchanged: usize,
}

/// A handle to a repo that is open for appending; clones share it.
#[derive(Clone, Debug)]
pub struct Repo {
    id: RepoId,
    known: Arc<Known>,
    previous_commit: Option<Timestamp>,
    sending: Sending,
}

impl Spool {
    /// Opens a repo for appending, and its stream when it has none that may be continued.
    ///
    /// Waits for the writer, which has to run.
    pub fn open_repo(&self, spec: RepoSpec) -> Result<Repo, SpoolError> {
        let opened = self.sending.order(move |session| session.open_repo(&spec)).wait()?;
        let (id, known, previous_commit) = opened;
        Ok(Repo { id, known, previous_commit, sending: self.sending.clone() })
    }
}

impl Repo {
    /// Its identity in this spool.
    pub fn id(&self) -> RepoId {
        self.id
    }

    /// What is durable of it, for comparing with the disk.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// When the last run took its newest stamp: the `since` of a `started` stamp.
    pub fn previous_commit(&self) -> Option<Timestamp> {
        self.previous_commit
    }

    /// Decides about observations and makes what they tell durable. Waits while the queue is full.
    pub fn append(&self, observations: Vec<Observation>) -> Receipt<Appended> {
        let id = self.id;
        self.sending.append(move |session| session.append(id, observations))
    }

    /// Appends a stamp of the stream's own life: `started`, `stopped`, `coverage`.
    pub fn life(&self, kind: Kind, detail: Detail, seen: Timestamp) -> Receipt<Appended> {
        let id = self.id;
        self.sending.append(move |session| session.life(id, kind, detail, seen))
    }

    /// From here on stamps carry these; what was appended before keeps its own. The name is what the
    /// repo is called in stamps: here it is known by the one it was opened by.
    pub fn set_context(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
        git: Option<Git>,
    ) -> Receipt<()> {
        let id = self.id;
        self.sending.append(move |session| {
            let (track, _) = session.step(id.0);
            track.contexts.rebase(|context| {
                (context.repo, context.labels, context.git) = (Some(name), labels, git);
            });
            Ok(())
        })
    }
}

pub(super) type Opened = (RepoId, Arc<Known>, Option<Timestamp>);

impl Session<'_> {
    fn open_repo(&mut self, spec: &RepoSpec) -> Result<Opened, SpoolError> {
        let blame = self.settings.blame.clone();
        let id = self
            .repo_row(&spec.name, spec.root.as_os_str().as_bytes(), spec.namespace.as_str())
            .map_err(blame.on("open a repo"))?;
        let context = Context {
            agent: self.settings.agent.clone(),
            repo: Some(spec.name.clone()),
            namespace: spec.namespace.clone(),
            labels: spec.labels.clone(),
            git: spec.git.clone(),
            file: None,
        };
        self.open_track(id, context)
    }

    /// Opens the stream of a repo's row, a new one when its newest may not be continued.
    pub(super) fn open_track(&mut self, id: i64, context: Context) -> Result<Opened, SpoolError> {
        let blame = self.settings.blame.clone();
        if let Some(track) = self.tracks.get_mut(&id) {
            track.contexts = Contexts::new(context);
            return Ok((RepoId(id), Arc::clone(&track.known), Some(track.head.committed_at())));
        }
        let known = Arc::new(self.load_known(id).map_err(blame.on("load the file index"))?);
        let newest = stream::newest(self.conn, id).map_err(blame.on("read a stream"))?;
        let previous_commit = newest.as_ref().map(|(head, _)| head.committed_at());
        let mut contexts = Contexts::new(context);
        let head = match newest {
            Some((head, origin)) if origin == self.settings.origin => head,
            older => {
                let older = older.map(|(head, _)| head);
                let previous = older
                    .as_ref()
                    .map(|head| stream::previous(self.conn, head, head.tree.size()))
                    .transpose()
                    .map_err(blame.on("read the end of a stream"))?;
                let context = contexts.of(None, self.conn, &blame)?.id;
                self.create_stream(id, older.as_ref(), context, previous)?
            }
        };
        self.tracks.insert(id, Track::new(id, Arc::clone(&known), head, contexts));
        Ok((RepoId(id), known, previous_commit))
    }

    pub(super) fn repo_row(
        &self,
        name: &str,
        root: &[u8],
        namespace: &str,
    ) -> rusqlite::Result<i64> {
        self.conn
            .prepare_cached(
                "INSERT INTO repo (name, root, namespace) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE
                   SET root = excluded.root, namespace = excluded.namespace
                 RETURNING id",
            )?
            .query_row(params![name, root, namespace], |row| row.get(0))
    }

    fn load_known(&self, repo: i64) -> rusqlite::Result<Known> {
        let known = Known::new();
        let mut statement = self.conn.prepare(concat!(
            "SELECT path, ",
            row_columns!(),
            " FROM file WHERE repo_id = ?1"
        ))?;
        let mut rows = statement.query([repo])?;
        while let Some(row) = rows.next()? {
            let path = RepoPath::new(row.get_ref(0)?.as_blob()?)
                .ok_or(rusqlite::Error::IntegralValueOutOfRange(0, 0))?;
            let placed = read_row(row, 1)?;
            let change = known.change(known.key(&path), &path, None, &placed.row);
            known.apply([change]);
        }
        Ok(known)
    }

    fn append(
        &mut self,
        repo: RepoId,
        observations: Vec<Observation>,
    ) -> Result<Appended, SpoolError> {
        self.make_room()?;
        let (track, mut step) = self.step(repo.0);
        let mut stamps = Vec::with_capacity(observations.len());
        let all = observations.len();
        for observation in observations {
            stamps.extend(track.observe(&mut step, observation)?);
        }
        let stream = track.head.id;
        self.appended += stamps.len();
        Ok(Appended { stream, unchanged: all - stamps.len(), stamps })
    }

    fn life(
        &mut self,
        repo: RepoId,
        kind: Kind,
        detail: Detail,
        seen: Timestamp,
    ) -> Result<Appended, SpoolError> {
        self.make_room()?;
        if kind == Kind::Coverage {
            self.note_coverage(repo.0, &detail)
                .map_err(self.settings.blame.on("note the coverage"))?;
        }
        let (track, mut step) = self.step(repo.0);
        let at = track.push(&mut step, Fact::of_life(kind, detail, seen), Links::default())?;
        let stream = track.head.id;
        self.appended += 1;
        let stamped = Stamped { seq: at.seq, kind, path: None };
        Ok(Appended { stream, stamps: vec![stamped], unchanged: 0 })
    }

    /// An interval that has begun, or that has ended: then the open one of its reason is closed.
    fn note_coverage(&self, repo: i64, detail: &Detail) -> rusqlite::Result<()> {
        let Some(since) = detail.since else { return Ok(()) };
        self.conn
            .prepare_cached(
                "INSERT INTO coverage (repo_id, since, reason, until) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET until = excluded.until",
            )?
            .execute(params![
                repo,
                since.as_nanos(),
                detail.reason.as_deref().unwrap_or_default(),
                detail.until.map(Timestamp::as_nanos),
            ])
            .map(drop)
    }
}
