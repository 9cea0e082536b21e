//! Turmoil: random work in a tree while a walk follows it, with the events mangled on the way or not.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngAlgorithm, TestRng};
use stampd::model::path::RepoPath;
use stampd::watch::{RawEvent, Tap};

use super::bed::{Bed, Walk};
use crate::support::wait::wait_until;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    /// Whatever is made, moved and removed while the walk follows, and whatever order and number the
    /// events come in: in the end every directory is armed, under the path it has.
    #[test]
    fn after_any_turmoil_every_directory_is_armed_under_its_own_path(
        steps in vec(turmoil(), 1..300),
        mangled in any::<bool>(),
    ) {
        let bed = Bed::new();
        let mut walk = Walk::new(&bed);
        walk.arm_and_list(&RepoPath::root());
        let quiet = Arc::new(AtomicBool::new(false));
        if mangled {
            bed.watch.tap(mangler(Arc::clone(&quiet)));
        }
        let at = bed.path.clone();
        let acting = std::thread::spawn(move || steps.iter().for_each(|step| step.act(&at)));
        while !acting.is_finished() {
            walk.follow(bed.watch.take());
        }
        acting.join().unwrap();
        quiet.store(true, Ordering::Release);
        walk.follow(bed.flush());
        if mangled {
            // What a reader that lost events is told; the answer is a new beginning.
            bed.watch.feed(&[RawEvent::overflow()]);
            prop_assert!(bed.next().overflow.is_some());
            bed.watch.reset().unwrap();
            walk.arm_and_list(&RepoPath::root());
        }
        // A walk may have met what moved under its feet: such hints are followed to their end.
        wait_until("the hints run dry", || {
            let hints = bed.flush();
            let dry = hints.paths.is_empty();
            walk.follow(hints);
            dry
        });
        let dirs = directories(&bed.path);
        let probes: BTreeSet<_> = dirs.iter().map(|dir| dir.join(b"probe")).collect();
        for probe in &probes {
            fs::write(bed.path.join(OsStr::from_bytes(probe.as_bytes())), "").unwrap();
        }
        let told: BTreeSet<_> = bed.flush().paths.into_iter().map(|hint| hint.path).collect();
        prop_assert_eq!(told, probes);
        prop_assert_eq!(bed.watch.counts().directories, dirs.len());
    }
}

/// One act of whoever works in the tree.
#[derive(Clone, Debug)]
enum Turmoil {
    Make(String),
    Move(String, String),
    MoveOut(String),
    Remove(String),
    Write(String),
}

impl Turmoil {
    /// Acts, or fails like a developer's command: the path may not be there, or not be free.
    fn act(&self, root: &Path) {
        let _ = match self {
            Self::Make(dir) => fs::create_dir_all(root.join(dir)),
            Self::Move(from, to) => fs::rename(root.join(from), root.join(to)),
            Self::MoveOut(dir) => {
                fs::rename(root.join(dir), root.with_file_name(dir.replace('/', "-")))
            }
            Self::Remove(dir) => fs::remove_dir_all(root.join(dir)),
            Self::Write(dir) => fs::write(root.join(dir).join("file"), "text"),
        };
    }
}

fn turmoil() -> impl Strategy<Value = Turmoil> {
    let dir = || vec(select(vec!["a", "b", "c"]), 1..4).prop_map(|names| names.join("/"));
    prop_oneof![
        4 => dir().prop_map(Turmoil::Make),
        4 => (dir(), dir()).prop_map(|(from, to)| Turmoil::Move(from, to)),
        1 => dir().prop_map(Turmoil::MoveOut),
        1 => dir().prop_map(Turmoil::Remove),
        2 => dir().prop_map(Turmoil::Write),
    ]
}

/// Drops, doubles and reorders events until it is told to be `quiet`.
fn mangler(quiet: Arc<AtomicBool>) -> Tap {
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    Box::new(move |events| {
        if quiet.load(Ordering::Acquire) {
            return;
        }
        events.retain(|_| !rng.next_u32().is_multiple_of(4));
        for _ in 0..events.len() / 2 {
            let (one, other) = (rng.next_u32() as usize, rng.next_u32() as usize);
            let (one, other) = (one % events.len(), other % events.len());
            events.swap(one, other);
            events.push(events[one].clone());
        }
    })
}

/// Every directory of a tree, found without the watch.
fn directories(root: &Path) -> BTreeSet<RepoPath> {
    let mut found = BTreeSet::new();
    let mut pending = vec![RepoPath::root()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(root.join(OsStr::from_bytes(dir.as_bytes()))).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                pending.push(dir.join(entry.file_name().as_bytes()));
            }
        }
        found.insert(dir);
    }
    found
}
