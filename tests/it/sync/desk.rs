//! A spool with stamps in it, and the task of a sink at work on it.

use std::time::{Duration, Instant};

use stampd::model::batch::{Batch, Entry};
use stampd::model::change::What;
use stampd::model::status::{ReachState, SinkStatus};
use stampd::model::stream::{Leaf, StreamId};
use stampd::runtime::clock::Clock;
use stampd::runtime::rooted::{FileKind, Stat};
use stampd::runtime::time::Timestamp;
use stampd::sink::Sink;
use stampd::spool::{Repo, Spool, SpoolError};
use stampd::sync::{self, Config, Handle, reach};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::spool::{Running, config, file, seed, seen, stat};
use crate::support::record::Record;
use crate::support::wait::{DEADLINE, wait_for_async};

/// A spool of one repo.
pub struct Desk {
    running: Running,
    repo: Repo,
    pub clock: Clock,
    next: u64,
    _dir: TempDir,
}

impl Desk {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let clock = Clock::mock(Timestamp::from_nanos(1_764_072_000_000_000_000));
        let running = Running::open(&config(dir.path()), &seed(), &clock);
        // Opening a repo waits for the writer, which is for threads without a runtime.
        let opening = std::thread::scope(|scope| scope.spawn(|| running.repo()).join());
        let repo = opening.expect("the repo opens");
        Self { running, repo, clock, next: 0, _dir: dir }
    }

    pub fn spool(&self) -> &Spool {
        &self.running.spool
    }

    /// Stamps `count` more files.
    pub async fn stamp(&mut self, count: u64) {
        let files = (self.next..self.next + count).map(|n| file(&format!("src/{n}"), 1 + n, 0));
        self.repo.append(files.collect()).await.expect("they are durable");
        self.next += count;
    }

    /// Stamps another version of every file so far.
    pub async fn stamp_again(&self, version: i64) {
        let files = (0..self.next).map(|n| file(&format!("src/{n}"), 1 + n, version));
        self.repo.append(files.collect()).await.expect("they are durable");
    }

    /// Stamps a symbolic link whose text alone is longer than `bytes`.
    pub async fn stamp_long_link(&self, bytes: usize) {
        let stat = Stat { kind: FileKind::Symlink, ..stat(1_000_000, 0) };
        let link = What::Symlink { stat, target: vec![b'x'; bytes] };
        self.repo.append(vec![seen("link", link)]).await.expect("it is durable");
    }

    /// The streams, oldest first, with what each holds for sinks.
    pub fn streams(&self) -> Vec<(StreamId, u64)> {
        let heads = self.spool().reader().expect("it opens").streams().expect("it reads");
        heads.into_iter().map(|head| (head.stream, head.size)).collect()
    }

    /// The first stream.
    pub fn stream(&self) -> StreamId {
        self.streams()[0].0
    }

    /// What the spool has of a stream.
    pub fn batch(&self, stream: StreamId) -> Batch {
        let reader = self.spool().reader().expect("it opens");
        reader.batch(stream, 0, usize::MAX >> 1, usize::MAX).expect("it reads")
    }

    pub fn leaves(&self, stream: StreamId) -> Vec<Leaf> {
        leaves(&self.batch(stream).entries)
    }

    /// Starts the task of a sink.
    pub fn deliver_to(&self, sink: impl Sink) -> Courier {
        self.deliver_with(sink, patience())
    }

    pub fn deliver_with(&self, sink: impl Sink, config: Config) -> Courier {
        let stop = CancellationToken::new();
        let (spool, clock) = (self.spool().clone(), self.clock.clone());
        let (handle, task) = sync::new(sink, spool, config, clock, stop.clone());
        #[expect(clippy::disallowed_methods, reason = "ends with the courier, in a test")]
        let task = tokio::spawn(task);
        Courier { handle, stop, task }
    }
}

pub fn leaves(entries: &[Entry]) -> Vec<Leaf> {
    entries.iter().map(|entry| *entry.leaf()).collect()
}

/// Little patience, so that a test need not have more.
pub fn patience() -> Config {
    Config {
        reach: reach::Config {
            backoff_first: Duration::from_millis(10),
            backoff_max: Duration::from_millis(50),
            parked_first: Duration::from_millis(10),
            knock_every: Duration::from_millis(20),
        },
        ..Config::default()
    }
}

/// A running task.
pub struct Courier {
    pub handle: Handle,
    stop: CancellationToken,
    task: JoinHandle<Result<(), SpoolError>>,
}

impl Courier {
    /// Waits until everything that is durable now is confirmed.
    pub async fn confirmed(&self) {
        let outcome = self.handle.wait_confirmed(Some(Instant::now() + DEADLINE)).await;
        outcome.expect("everything is confirmed");
    }

    /// Waits until the road is in this state for a reason with these words in it.
    pub async fn state(&self, state: ReachState, words: &str) -> SinkStatus {
        wait_for_async(&format!("{state:?} because of {words:?}"), async || {
            let status = self.handle.status();
            let reason = status.reason.clone().unwrap_or_default();
            (status.state == state && reason.contains(words)).then_some(status)
        })
        .await
    }

    /// Ends it as the agent would.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it does not panic").expect("the spool holds");
    }
}

/// Demands that the record has exactly what the spool has.
pub async fn equal(desk: &Desk, record: &Record) {
    for (stream, size) in desk.streams() {
        let rows = format!("SELECT count(*) FROM stamp_events WHERE stream_id = '{stream}'");
        let held = format!("SELECT size FROM streams WHERE stream_id = '{stream}'");
        assert_eq!(record.count(&rows).await, size as i64, "rows of {stream}");
        assert_eq!(record.count(&held).await, size as i64, "size of {stream}");
    }
}
