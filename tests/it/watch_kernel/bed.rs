//! A watched root, a small walk, and a namespace of one's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use stampd::model::path::RepoPath;
use stampd::runtime::clock::Clock;
use stampd::runtime::rooted::{self, FileKind, Root};
use stampd::watch::{ArmTarget, Config, Hint, HintKind, Hints, Watch};

use crate::support::wait::{wait_for, wait_until};

/// A name below the root that the watch is told is ours.
pub const OWN: &str = "state";

/// A root, its watch, and who is woken.
pub struct Bed {
    pub watch: Watch,
    pub woken: Receiver<()>,
    pub root: Arc<Root>,
    pub path: PathBuf,
    pub scratch: tempfile::TempDir,
}

impl Bed {
    pub fn new() -> Self {
        Self::make("", &Config::default())
    }

    pub fn with(config: &Config) -> Self {
        Self::make("", config)
    }

    pub fn below(parent: &str) -> Self {
        Self::make(parent, &Config::default())
    }

    fn make(parent: &str, config: &Config) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(parent).join("root");
        fs::create_dir_all(&path).unwrap();
        let root = Arc::new(Root::open(&path).unwrap());
        let (wake, woken) = channel();
        let wake = Box::new(move || {
            let _ = wake.send(());
        });
        let own = [path.join(OWN), PathBuf::from("/elsewhere")];
        let watch = Watch::open(config, Arc::clone(&root), &own, Clock::system(), wake).unwrap();
        Self { watch, woken, root, path, scratch }
    }

    /// Waits to be woken, and takes.
    pub fn next(&self) -> Hints {
        wait_for("woken with hints", || {
            let _ = self.woken.try_recv();
            let hints = self.watch.take();
            let something = !hints.paths.is_empty() || hints.overflow.is_some();
            something.then_some(hints)
        })
    }

    /// Takes everything up to now: the events of one repo come in order, so it is all there when the
    /// last change of our own is.
    pub fn flush(&self) -> Hints {
        let mark = self.path.join("flush-mark");
        fs::write(&mark, "").unwrap();
        fs::remove_file(&mark).unwrap();
        let mut all = Hints::default();
        wait_until("the mark was seen to go", || {
            let taken = self.watch.take();
            let is_mark = |hint: &Hint| hint.path == path("flush-mark");
            let done = taken.paths.iter().any(|hint| is_mark(hint) && hint.kind == HintKind::Gone);
            all.paths.extend(taken.paths.into_iter().filter(|hint| !is_mark(hint)));
            all.overflow = all.overflow.or(taken.overflow);
            done
        });
        all
    }
}

/// The walk of an agent in small: arms, lists, and follows the hints.
pub struct Walk<'a> {
    watch: &'a Watch,
    root: &'a Root,
    /// Every file that was listed or hinted.
    pub files: BTreeSet<RepoPath>,
    pub overflows: u64,
}

impl<'a> Walk<'a> {
    pub fn new(bed: &'a Bed) -> Self {
        Self { watch: &bed.watch, root: &bed.root, files: BTreeSet::new(), overflows: 0 }
    }

    /// Level by level: opens a whole level, arms it in one batch, then lists it.
    pub fn arm_and_list(&mut self, dir: &RepoPath) {
        let mut level = vec![dir.clone()];
        while !level.is_empty() {
            let opened: Vec<_> = level
                .drain(..)
                .filter_map(|dir| Some((self.root.open_dir(dir.as_bytes()).ok()?, dir)))
                .collect();
            let targets: Vec<_> = opened
                .iter()
                .map(|(fd, dir)| ArmTarget { path: dir.clone(), fd: fd.as_fd() })
                .collect();
            let verdicts = self.watch.arm(&targets);
            for (target, _) in targets.iter().zip(verdicts).filter(|(_, it)| it.is_armed()) {
                self.list(target, &mut level);
            }
        }
    }

    fn list(&mut self, ArmTarget { path: dir, fd }: &ArmTarget<'_>, dirs: &mut Vec<RepoPath>) {
        for entry in rooted::list(*fd).unwrap_or_default().iter() {
            let path = dir.join(entry.name);
            match rooted::stat_at(*fd, entry.name).map(|stat| stat.kind) {
                Ok(FileKind::Dir) => dirs.push(path),
                Ok(_) => drop(self.files.insert(path)),
                Err(_) => {}
            }
        }
    }

    pub fn follow(&mut self, hints: Hints) {
        self.overflows += hints.overflow.map_or(0, |overflow| overflow.count);
        for hint in hints.paths {
            if hint.kind.is_file() {
                self.files.insert(hint.path);
            } else {
                self.arm_and_list(&hint.path);
            }
        }
    }

    pub fn follow_until(&mut self, bed: &Bed, fact: &str, holds: impl Fn(&Self) -> bool) {
        wait_until(fact, || {
            self.follow(bed.watch.take());
            holds(self)
        });
    }
}

pub fn path(text: &str) -> RepoPath {
    RepoPath::new(text.as_bytes()).expect("a well-formed path")
}

pub fn target<'a>(text: &str, fd: &'a OwnedFd) -> ArmTarget<'a> {
    ArmTarget { path: path(text), fd: fd.as_fd() }
}

/// The hints by path, the last of each.
pub fn kinds(hints: &Hints) -> Vec<(RepoPath, HintKind)> {
    let last: BTreeMap<_, _> =
        hints.paths.iter().map(|hint| (hint.path.clone(), hint.kind)).collect();
    last.into_iter().collect()
}

/// Runs a test again as the root of a user and mount namespace of its own, where `setup` has been
/// run before, and there its body.
#[expect(clippy::disallowed_methods, reason = "how the test inside knows that it is")]
pub fn in_namespace(test: &str, setup: &str, body: impl FnOnce()) {
    const INSIDE: &str = "STAMPD_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let script = format!("{setup} && exec \"$0\" \"$@\"");
    must(
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", &format!("watch_kernel::{test}")])
            .env(INSIDE, "1"),
    );
}

pub fn must(command: &mut Command) {
    let output = command.output().unwrap();
    let (out, err) = (&output.stdout, &output.stderr);
    let text = [String::from_utf8_lossy(out), String::from_utf8_lossy(err)].concat();
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
}
