//! The tracker over a watch that lies: whatever happens to the events, once things are quiet the
//! index says what is on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Command, Parts, Tracker};
use crate::agent::view::View;
use crate::agent::{self, RepoConfig};
use crate::hash::{self, Hasher};
use crate::model::change::State;
use crate::model::digest::Digest;
use crate::model::status::RepoState;
use crate::repo::trust::Store;
use crate::runtime::clock::Clock;
use crate::settle;
use crate::spool::{self, RepoSpec, Seed};
use crate::watch::{self, RawEvent, Watch};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn after_quiescence_the_index_is_a_fresh_walk_and_hash(
        acts in vec(act(), 1..80),
        lies in any::<bool>(),
    ) {
        let bench = Bench::start(lies.then_some(lie as fn(&Watch)));
        for act in &acts {
            act.perform(&bench.root);
        }
        bench.wait_until_index_is_disk();
        bench.stop();
    }
}

/// Doubles, reverses or drops the events of each read, in turn. Where it reversed or dropped, the
/// kernel's word for lost events follows.
fn lie(watch: &Watch) {
    let mut turn = 0_u32;
    watch.tap(Box::new(move |events: &mut Vec<RawEvent>| {
        turn += 1;
        match turn % 4 {
            0 => events.extend_from_within(..),
            1 => {
                events.reverse();
                events.push(RawEvent::overflow());
            }
            2 => {
                events.truncate(events.len() / 2);
                events.push(RawEvent::overflow());
            }
            _ => {}
        }
    }));
}

/// As many paths were met as the index had, so none was looked for: but one of them was new, and yet
/// to settle.
#[test]
fn a_path_that_went_is_missed_though_another_came() {
    let bench = Bench::start(Some(|watch| {
        watch.tap(Box::new(|events: &mut Vec<RawEvent>| {
            events.clear();
            events.push(RawEvent::overflow());
        }));
    }));
    bench.wait_until_index_is_disk();
    fs::write(bench.root.join("a/new"), "new").unwrap();
    fs::remove_file(bench.root.join("a/f")).unwrap();
    bench.wait_until_index_is_disk();
    assert_ne!(bench.view.snapshot().tally.overflows, 0, "every loss is counted");
    bench.stop();
}

/// Below a root that is removed every path answers like a deleted one, and what tells of the root
/// itself may come late: here never.
#[test]
fn a_root_that_is_removed_deletes_nothing_whatever_the_watch_says_of_it() {
    let bench = Bench::start(Some(|watch| {
        watch.tap(Box::new(|events: &mut Vec<RawEvent>| {
            events.retain(|event| !event.names(b"repo") && !event.names(b""));
        }));
    }));
    bench.wait_until_index_is_disk();
    let before = bench.index();
    fs::remove_dir_all(&bench.root).unwrap();
    bench.wait_until(|| match bench.view.snapshot().state {
        RepoState::Absent => Ok(()),
        state => Err(format!("{state:?}")),
    });
    assert_eq!(bench.index(), before);
    bench.stop();
}

/// A tracker at work on a scratch repo.
struct Bench {
    _scratch: tempfile::TempDir,
    root: PathBuf,
    spool: spool::Spool,
    repo: spool::RepoId,
    mailbox: super::Mailbox,
    view: View,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Bench {
    fn start(on_watch: Option<fn(&Watch)>) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (root, state_dir) = (scratch.path().join("repo"), scratch.path().join("state"));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/f"), "before").unwrap();
        let config = spool::Config { state_dir: state_dir.clone(), ..spool::Config::default() };
        let text = || "test".to_owned();
        let seed = Seed { host: text(), version: text(), machine_id: text() };
        let (spool, writer) = spool::open(config, seed, Clock::system()).unwrap();
        let writer = std::thread::spawn(|| writer.run().unwrap());
        let namespace: crate::model::namespace::Namespace = "a.b.c".parse().unwrap();
        let spec = RepoSpec {
            name: text(),
            root: root.clone(),
            namespace: namespace.clone(),
            labels: BTreeMap::new(),
            git: None,
        };
        let repo = spool.open_repo(spec).unwrap();
        let id = repo.id();
        let config = RepoConfig {
            name: text(),
            path: root.clone(),
            namespace,
            exclude: Vec::new(),
            include: Vec::new(),
            max_file_size: None,
        };
        let settle = settle::Config { settle: Duration::from_millis(60), ..Default::default() };
        let watch = watch::Config { settle, ..Default::default() };
        let view = View::default();
        let (tracker, mailbox) = Tracker::new(Parts {
            user: agent::user(&config, &[], &watch, 1 << 30),
            config,
            watch,
            repo,
            reader: spool.reader().unwrap(),
            hasher: Hasher::new(hash::Config { threads: 1, ..Default::default() }).unwrap(),
            clock: Clock::system(),
            view: view.clone(),
            trust: Store::new(&state_dir),
            left_out: Vec::new(),
            on_watch,
            paused: false,
            stop: Arc::new(AtomicBool::new(false)),
        });
        let tracker = std::thread::spawn(|| tracker.run().unwrap());
        Self {
            _scratch: scratch,
            root,
            spool,
            repo: id,
            mailbox,
            view,
            threads: vec![tracker, writer],
        }
    }

    fn wait_until_index_is_disk(&self) {
        self.wait_until(|| {
            let (index, disk) = (self.index(), contents(&self.root));
            if index == disk { Ok(()) } else { Err(format!("index {index:#?}\ndisk {disk:#?}")) }
        });
    }

    /// Looks after each commit, and is woken by nothing else.
    fn wait_until(&self, look: impl Fn() -> Result<(), String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut commits = self.spool.commits();
        while look().is_err() {
            let woken = runtime.block_on(async {
                tokio::time::timeout(Duration::from_mins(1), commits.changed()).await
            });
            let seen = look();
            assert!(woken.is_ok() || seen.is_ok(), "{seen:?}");
        }
    }

    fn index(&self) -> BTreeMap<Vec<u8>, Digest> {
        let reader = self.spool.reader().unwrap();
        let rows = reader.rows_within(self.repo, &crate::model::path::RepoPath::root()).unwrap();
        rows.into_iter()
            .filter(|(_, row)| matches!(row.state, State::Content | State::Symlink))
            .map(|(path, row)| (path.as_bytes().to_vec(), row.digest.unwrap()))
            .collect()
    }

    fn stop(self) {
        assert!(self.mailbox.send(Command::Stop));
        drop(self.spool);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Every regular file and link below `root` with the digest of its bytes or text, as an own walk
/// finds them.
fn contents(root: &Path) -> BTreeMap<Vec<u8>, Digest> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                found.insert(name, Digest::of(target.as_os_str().as_bytes()));
            } else {
                found.insert(name, Digest::of(&fs::read(&path).unwrap()));
            }
        }
    }
    found
}

/// One act of whoever works in the tree.
#[derive(Clone, Debug)]
enum Act {
    Write(String, u8),
    Append(String),
    Truncate(String),
    Rename(String, String),
    Remove(String),
    MakeDir(String),
    RemoveTree(String),
    Mode(String),
    Touch(String),
    Symlink(String),
    Hardlink(String, String),
}

fn act() -> impl Strategy<Value = Act> {
    let path = || {
        let names = || select(vec!["a", "b", "c", "f", "g"]);
        vec(names(), 1..4).prop_map(|names| names.join("/"))
    };
    prop_oneof![
        4 => (path(), any::<u8>()).prop_map(|(path, byte)| Act::Write(path, byte)),
        1 => path().prop_map(Act::Append),
        1 => path().prop_map(Act::Truncate),
        3 => (path(), path()).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => path().prop_map(Act::Remove),
        2 => path().prop_map(Act::MakeDir),
        1 => path().prop_map(Act::RemoveTree),
        1 => path().prop_map(Act::Mode),
        1 => path().prop_map(Act::Touch),
        1 => path().prop_map(Act::Symlink),
        1 => (path(), path()).prop_map(|(from, to)| Act::Hardlink(from, to)),
    ]
}

impl Act {
    /// Acts, or fails like a developer's command: the path may not be there, or not be free.
    fn perform(&self, root: &Path) {
        let open = |path: &str| fs::File::options().append(true).open(root.join(path));
        let _ = match self {
            Self::Write(path, byte) => {
                let path = root.join(path);
                let _ = fs::create_dir_all(path.parent().unwrap());
                fs::write(path, vec![*byte; usize::from(*byte)])
            }
            Self::Append(path) => {
                open(path).and_then(|mut file| std::io::Write::write_all(&mut file, b"more"))
            }
            Self::Truncate(path) => open(path).and_then(|file| file.set_len(1)),
            Self::Rename(from, to) => fs::rename(root.join(from), root.join(to)),
            Self::Remove(path) => fs::remove_file(root.join(path)),
            Self::MakeDir(path) => fs::create_dir_all(root.join(path)),
            Self::RemoveTree(path) => fs::remove_dir_all(root.join(path)),
            Self::Mode(path) => {
                fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o755))
            }
            Self::Touch(path) => {
                open(path).and_then(|file| file.set_modified(std::time::UNIX_EPOCH))
            }
            Self::Symlink(path) => symlink("nowhere", root.join(path)),
            Self::Hardlink(from, to) => fs::hard_link(root.join(from), root.join(to)),
        };
    }
}
