//! The spool: what was acknowledged is there after any end, and reads back as it was hashed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use stampd::model::batch::Entry;
use stampd::model::change::{Observation, What};
use stampd::model::digest::Digest;
use stampd::model::path::RepoPath;
use stampd::model::stamp::{Kind, Sealed};
use stampd::runtime::clock::Clock;
use stampd::runtime::rooted::{FileKind, Stat};
use stampd::runtime::time::Timestamp;
use stampd::spool::{self, Config, Look, Repo, RepoSpec, Seed, Spool, SpoolError};

/// When the clock of these tests stands.
const NOON: Timestamp = Timestamp::from_nanos(1_764_072_000_000_000_000);

/// A spool whose writer runs.
pub struct Running {
    pub spool: Spool,
    writer: JoinHandle<Result<(), SpoolError>>,
}

impl Running {
    pub fn open(config: &Config, seed: &Seed, clock: &Clock) -> Self {
        let (spool, writer) = spool::open(config.clone(), seed.clone(), clock.clone()).unwrap();
        Self { spool, writer: std::thread::spawn(move || writer.run()) }
    }

    pub fn start(dir: &Path) -> Self {
        Self::open(&config(dir), &seed(), &Clock::mock(NOON))
    }

    pub fn repo(&self) -> Repo {
        self.spool.open_repo(spec()).unwrap()
    }

    /// Ends in order; every other handle must be dropped.
    pub fn stop(self) {
        drop(self.spool);
        self.writer.join().unwrap().unwrap();
    }
}

pub fn config(dir: &Path) -> Config {
    Config { state_dir: dir.join("state"), ..Config::default() }
}

pub fn seed() -> Seed {
    Seed { host: "laptop".into(), version: "0.1.0".into(), machine_id: "machine".into() }
}

pub fn spec() -> RepoSpec {
    RepoSpec {
        name: "app".into(),
        root: PathBuf::from("/src/app"),
        namespace: "a.b.c".parse().unwrap(),
        labels: BTreeMap::new(),
        git: None,
    }
}

pub fn path(text: &str) -> RepoPath {
    RepoPath::new(text.as_bytes()).unwrap()
}

pub fn stat(ino: u64, version: i64) -> Stat {
    Stat {
        dev: 1,
        ino,
        kind: FileKind::File,
        size: 10 + version.unsigned_abs(),
        blocks: 8,
        mode: 0o644,
        nlink: 1,
        mtime_ns: 1_000 + version,
        ctime_ns: 2_000 + version,
        btime_ns: Some(500),
    }
}

pub fn seen(path_text: &str, what: What) -> Observation {
    Observation { path: path(path_text), seen: NOON, what }
}

pub fn file(path_text: &str, ino: u64, version: i64) -> Observation {
    let digest = Digest::of(format!("{ino} {version}").as_bytes());
    seen(path_text, What::File { stat: stat(ino, version), digest, racy: false, from: None })
}

pub fn told(stamps: &[Sealed]) -> Vec<(u64, Kind, String)> {
    stamps
        .iter()
        .map(|sealed| {
            let stamp = &sealed.stamp;
            (stamp.seq, stamp.kind, stamp.path.as_ref().map_or(String::new(), ToString::to_string))
        })
        .collect()
}

#[test]
fn an_acknowledged_stamp_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    assert_eq!(repo.known().check(&path("a"), &stat(1, 0)), Look::New);
    let appended = repo.append(vec![file("a", 1, 0), file("b", 2, 0)]).wait().unwrap();
    assert_eq!(appended.stamps.len(), 2);
    assert_eq!(repo.known().check(&path("a"), &stat(1, 0)), Look::Same);
    assert_eq!(repo.known().check(&path("a"), &stat(1, 1)), Look::Differs);
    drop(repo);
    running.stop();

    let running = Running::start(dir.path());
    let repo = running.repo();
    assert_eq!(repo.known().check(&path("a"), &stat(1, 0)), Look::Same);
    assert_eq!(repo.known().len(), 2);
    repo.append(vec![file("a", 1, 1)]).wait().unwrap();
    let reader = running.spool.reader().unwrap();
    let told_a = told(&reader.history(repo.id(), &path("a"), 10).unwrap());
    assert_eq!(told_a, [(3, Kind::Modified, "a".into()), (1, Kind::Created, "a".into())]);
    let batch = reader.batch(appended.stream, 0, 100, 1 << 20).unwrap();
    assert_eq!(batch.end(), 4);
    assert!(batch.entries.iter().all(|entry| matches!(entry, Entry::Stamp(_))));
    drop(repo);
    running.stop();
}
