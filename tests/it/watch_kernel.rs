//! The watch on the real kernel: what is armed, what is told, and what it costs when nothing happens.

mod bed;
mod turmoil;

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use stampd::model::path::RepoPath;
use stampd::runtime::clock::Clock;
use stampd::runtime::rooted;
use stampd::settle;
use stampd::watch::{Armed, Config, HintKind, RawEvent, RootHint, limit};

use self::bed::{Bed, OWN, Walk, in_namespace, kinds, must, path, target};
use crate::support::tree;
use crate::support::wait::{wait_for, wait_until};

#[test]
fn arm_then_list_misses_nothing_while_a_tree_grows() {
    let bed = Bed::new();
    let mut walk = Walk::new(&bed);
    walk.arm_and_list(&RepoPath::root());
    let at = bed.path.clone();
    let growing = std::thread::spawn(move || tree::grow(&at, 300, 20));
    walk.follow_until(&bed, "every file was listed or hinted", |walk| walk.files.len() == 6_000);
    growing.join().unwrap();
    assert_eq!(walk.overflows, 0);
    assert_eq!(bed.watch.counts().directories, 301);
}

#[test]
fn a_directory_removed_and_made_again_is_always_armed_again() {
    let bed = Bed::new();
    let mut walk = Walk::new(&bed);
    walk.arm_and_list(&RepoPath::root());
    for round in 0..200 {
        let dir = bed.path.join("d");
        fs::create_dir(&dir).unwrap();
        let name = format!("f{round}");
        fs::write(dir.join(&name), "").unwrap();
        let file = path("d").join(name.as_bytes());
        walk.follow_until(&bed, "the file was found", |walk| walk.files.contains(&file));
        fs::remove_dir_all(&dir).unwrap();
    }
    walk.follow_until(&bed, "nothing below is armed", |_| bed.watch.counts().directories == 1);
}

#[test]
fn a_rename_of_a_big_directory_hints_both_sides_in_one_take() {
    let bed = Bed::new();
    tree::grow(&bed.path.join("old"), 1_000, 1);
    let mut walk = Walk::new(&bed);
    walk.arm_and_list(&RepoPath::root());
    assert_eq!(bed.watch.counts().directories, 1_002);

    // A reader may come between the two events of a move, which settling makes up for; not here.
    let stalled = bed.watch.stall();
    fs::rename(bed.path.join("old"), bed.path.join("new")).unwrap();
    drop(stalled);
    let hints = bed.next();
    assert_eq!(
        kinds(&hints),
        [(path("new"), HintKind::DirAppeared), (path("old"), HintKind::DirGone)]
    );
    assert_eq!(bed.watch.counts().directories, 1);

    // Nobody has armed the new place yet: nothing is told under the old name, nor under none.
    fs::write(bed.path.join("new/d0000/f00.txt"), "written after the move").unwrap();
    assert_eq!(kinds(&bed.flush()), []);
    walk.arm_and_list(&path("new"));
    assert_eq!(bed.watch.counts().directories, 1_002);
    fs::write(bed.path.join("new/d0999/f00.txt"), "written after arming").unwrap();
    assert_eq!(kinds(&bed.flush()), [(path("new/d0999/f00.txt"), HintKind::Closed)]);
}

#[test]
fn the_deletion_of_a_tree_is_one_hint_and_gives_up_every_watch() {
    let bed = Bed::new();
    tree::grow(&bed.path.join("x/y"), 500, 4);
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    let events = bed.watch.counts().events;
    fs::remove_dir_all(bed.path.join("x")).unwrap();
    // Each file once, each directory by its parent, by itself, and by the end of its watch.
    let read = || bed.watch.counts().events == events + 500 * (4 + 3) + 2 * 3;
    wait_until("all is read", read);
    assert_eq!(kinds(&bed.watch.take()), [(path("x"), HintKind::DirGone)]);
    assert_eq!(bed.watch.counts().directories, 1);
}

#[test]
fn a_directory_armed_again_after_a_move_is_told_under_its_new_path() {
    let bed = Bed::new();
    fs::create_dir_all(bed.path.join("a/deep")).unwrap();
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    for round in 0..50 {
        let (from, to) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
        fs::rename(bed.path.join(from), bed.path.join(to)).unwrap();
        bed.flush();
        Walk::new(&bed).arm_and_list(&path(to));
        fs::write(bed.path.join(to).join("deep/file"), round.to_string()).unwrap();
        let deep = path(to).join(b"deep");
        let hints = bed.flush();
        assert!(hints.paths.iter().any(|hint| hint.path == deep.join(b"file")));
        assert!(hints.paths.iter().all(|hint| hint.path.is_within(&path(to))));
    }
    assert_eq!(bed.watch.counts().directories, 3);
}

#[test]
fn a_full_queue_is_an_overflow_since_before_the_loss() {
    let bed = Bed::new();
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    for name in ["one", "two"] {
        fs::write(bed.path.join(name), "").unwrap();
    }
    bed.flush();
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queue: u32 = queue.trim().parse().unwrap();
    let before = Clock::system().now();
    let stalled = bed.watch.stall();
    for round in 0..=queue {
        // Two files by turns: the kernel folds an event into an equal one before it.
        let name = if round % 2 == 0 { "one" } else { "two" };
        let mode = fs::Permissions::from_mode(0o600 | ((round / 2) & 1));
        fs::set_permissions(bed.path.join(name), mode).unwrap();
    }
    fs::write(bed.path.join("lost"), "").unwrap();
    drop(stalled);
    let mut paths = BTreeSet::new();
    let overflow = wait_for("the overflow is told", || {
        let hints = bed.watch.take();
        paths.extend(hints.paths.into_iter().map(|hint| hint.path));
        hints.overflow
    });
    assert!(overflow.since <= before && overflow.seen >= before, "{overflow:?} {before}");
    assert_eq!(overflow.count, 1);
    assert_eq!(paths, BTreeSet::from([path("one"), path("two")]));
    assert!(bed.flush().overflow.is_none());
}

#[test]
fn a_fed_overflow_is_reported_as_a_real_one() {
    let bed = Bed::new();
    bed.watch.feed(&[RawEvent::overflow(), RawEvent::overflow()]);
    assert_eq!(bed.next().overflow.map(|overflow| overflow.count), Some(2));
    assert!(bed.watch.take().overflow.is_none());
}

#[test]
fn a_tap_can_drop_and_double_what_the_kernel_sends() {
    let bed = Bed::new();
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    bed.watch.tap(Box::new(|events| {
        events.retain(|event| !event.names(b"dropped"));
        let doubled = events.clone();
        events.extend(doubled);
    }));
    fs::write(bed.path.join("dropped"), "").unwrap();
    fs::write(bed.path.join("doubled"), "").unwrap();
    assert_eq!(kinds(&bed.flush()), [(path("doubled"), HintKind::Closed)]);
}

#[test]
fn more_changes_than_fit_become_a_dirty_directory_and_then_a_dirty_root() {
    let settle = settle::Config { dir_paths_max: 8, paths_max: 64, ..Default::default() };
    let bed = Bed::with(&Config { settle, ..Config::default() });
    tree::grow(&bed.path, 40, 1);
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    let files = |dirs: std::ops::Range<usize>, files: usize| {
        for dir in dirs {
            for file in 0..files {
                fs::write(bed.path.join(format!("d{dir:04}/n{file}")), "").unwrap();
            }
        }
    };
    // Each file is created, or emptied, and closed; taken at once, or it would fit.
    let mut events = bed.watch.counts().events;
    let mut all_at_once = |files: u64| {
        events += 2 * files;
        wait_until("all is read", || bed.watch.counts().events == events);
        kinds(&bed.watch.take())
    };
    files(0..1, 20);
    assert_eq!(all_at_once(20), [(path("d0000"), HintKind::DirDirty)]);
    files(0..40, 7);
    assert_eq!(all_at_once(40 * 7), [(RepoPath::root(), HintKind::TreeDirty)]);
}

#[test]
fn reading_two_thousand_files_makes_no_event() {
    let bed = Bed::new();
    tree::grow(&bed.path, 20, 100);
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    let before = bed.watch.counts().events;
    for file in tree::digests(&bed.path, &[]).keys() {
        let fd = bed.root.open_file(file).unwrap();
        std::io::copy(&mut fs::File::from(fd), &mut std::io::sink()).unwrap();
    }
    assert_eq!(kinds(&bed.flush()), []);
    // What the flush itself made: its file was created and closed, and removed.
    assert_eq!(bed.watch.counts().events - before, 3);
}

#[test]
fn a_link_to_a_directory_is_a_file_and_never_followed() {
    let bed = Bed::new();
    let outside = tempfile::tempdir().unwrap();
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    symlink(outside.path(), bed.path.join("link")).unwrap();
    let hints = bed.flush();
    assert_eq!(kinds(&hints), [(path("link"), HintKind::Touched)]);
    assert!(bed.root.open_dir(b"link").is_err());
    fs::write(outside.path().join("file"), "").unwrap();
    assert_eq!(kinds(&bed.flush()), []);
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_armed_and_told_of() {
    const NAME: &str = "a-directory-of-thirty-letters-";
    let bed = Bed::new();
    let (mut dir, mut fd) = (RepoPath::root(), bed.root.open_dir(b"").unwrap());
    while dir.as_bytes().len() <= 2 * 4_096 {
        mkdirat(&fd, NAME, Mode::RWXU).unwrap();
        dir = dir.join(NAME.as_bytes());
        fd = rooted::open_dir_at(fd.as_fd(), NAME.as_bytes()).unwrap();
    }
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    assert!(bed.watch.holds(&dir));
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    drop(openat(&fd, "file", flags, Mode::RUSR).unwrap());
    assert_eq!(kinds(&bed.flush()), [(dir.join(b"file"), HintKind::Closed)]);
}

#[test]
fn a_directory_that_moved_before_it_was_armed_is_not_armed_under_the_old_path() {
    let bed = Bed::new();
    fs::create_dir_all(bed.path.join("a/b")).unwrap();
    fs::create_dir(bed.path.join("elsewhere")).unwrap();
    let fds = [bed.root.open_dir(b"a").unwrap(), bed.root.open_dir(b"a/b").unwrap()];
    fs::rename(bed.path.join("a"), bed.path.join("c")).unwrap();
    symlink("elsewhere", bed.path.join("a")).unwrap();
    let verdicts = bed.watch.arm(&[target("a", &fds[0]), target("a/b", &fds[1])]);
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Armed::Moved)), "{verdicts:?}");
    assert_eq!(bed.watch.counts().directories, 0);
    assert_eq!(
        kinds(&bed.next()),
        [(path("a"), HintKind::TreeDirty), (path("a/b"), HintKind::TreeDirty)]
    );
}

#[test]
fn arming_again_changes_nothing_and_disarming_forgets_the_subtree() {
    let bed = Bed::new();
    tree::grow(&bed.path.join("x"), 50, 1);
    tree::grow(&bed.path.join("x.y"), 1, 1);
    for _ in 0..3 {
        Walk::new(&bed).arm_and_list(&RepoPath::root());
        assert_eq!(bed.watch.counts().directories, 54);
    }
    assert!(bed.watch.holds(&path("x/d0000")));
    bed.watch.disarm(&path("x"));
    assert_eq!(bed.watch.counts().directories, 3);
    assert!(!bed.watch.holds(&path("x/d0000")) && bed.watch.holds(&path("x.y/d0000")));
    wait_until("the watches are removed", || bed.watch.counts().removing == 0);
    fs::write(bed.path.join("x/d0000/f00.txt"), "unseen").unwrap();
    fs::write(bed.path.join("x.y/d0000/f00.txt"), "seen").unwrap();
    assert_eq!(kinds(&bed.flush()), [(path("x.y/d0000/f00.txt"), HintKind::Closed)]);
}

#[test]
fn a_reset_drops_every_watch_and_goes_on() {
    let bed = Bed::new();
    tree::grow(&bed.path, 20, 1);
    for _ in 0..20 {
        Walk::new(&bed).arm_and_list(&RepoPath::root());
        bed.watch.reset().unwrap();
        assert_eq!(bed.watch.counts().directories, 0);
    }
    fs::write(bed.path.join("d0000/f00.txt"), "unseen").unwrap();
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    fs::write(bed.path.join("d0001/f00.txt"), "seen").unwrap();
    assert_eq!(kinds(&bed.flush()), [(path("d0001/f00.txt"), HintKind::Closed)]);
}

#[test]
fn our_own_directories_are_neither_armed_nor_told_of() {
    let bed = Bed::new();
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    fs::create_dir(bed.path.join(OWN)).unwrap();
    fs::write(bed.path.join(OWN).join("spool.db"), "").unwrap();
    assert_eq!(kinds(&bed.flush()), []);
    let fd = bed.root.open_dir(OWN.as_bytes()).unwrap();
    assert!(matches!(bed.watch.arm(&[target(OWN, &fd)])[..], [Armed::Excluded]));
}

#[test]
fn an_idle_reader_never_wakes() {
    let bed = Bed::new();
    tree::grow(&bed.path, 100, 1);
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    bed.flush();
    let status = format!("/proc/self/task/{}/status", bed.watch.reader_tid());
    let switches = || {
        let status = fs::read_to_string(&status).unwrap();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let asleep = || fs::read_to_string(&status).unwrap().contains("State:\tS");
    wait_until("the reader sleeps", asleep);
    while bed.woken.try_recv().is_ok() {}
    let before = switches();
    assert_eq!(bed.woken.recv_timeout(Duration::from_secs(1)), Err(RecvTimeoutError::Timeout));
    assert_eq!(switches(), before);
}

#[test]
fn the_root_and_its_place_are_told_of_by_name() {
    let bed = Bed::new();
    let away = bed.path.with_file_name("away");
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    let told =
        |what: &str, hint| wait_for(what, || (bed.watch.take().root == Some(hint)).then_some(()));
    fs::rename(&bed.path, &away).unwrap();
    told("moved away", RootHint::Moved);
    fs::rename(&away, &bed.path).unwrap();
    wait_for("moved back", || bed.watch.take().root);
    fs::remove_dir_all(&bed.path).unwrap();
    told("deleted", RootHint::Deleted);
    fs::create_dir(&bed.path).unwrap();
    told("made again", RootHint::Appeared);
}

#[test]
fn a_root_whose_ancestors_went_is_noticed_when_it_is_back() {
    let bed = Bed::below("up/and/up");
    Walk::new(&bed).arm_and_list(&RepoPath::root());
    let top = bed.scratch.path().join("up");
    for _ in 0..20 {
        fs::remove_dir_all(&top).unwrap();
        wait_for("told that it went", || bed.watch.take().root);
        fs::create_dir_all(&bed.path).unwrap();
        wait_until("its own parent is watched again", || {
            fs::remove_dir(&bed.path).unwrap();
            fs::create_dir(&bed.path).unwrap();
            bed.watch.take().root == Some(RootHint::Appeared)
        });
    }
}

#[test]
fn the_watch_limit_is_a_verdict_with_numbers_and_a_remedy() {
    const MAX: u64 = 12;
    in_namespace(
        "the_watch_limit_is_a_verdict_with_numbers_and_a_remedy",
        &format!("echo {MAX} > /proc/sys/user/max_inotify_watches"),
        || {
            let bed = Bed::new();
            tree::grow(&bed.path, 30, 1);
            let fds: Vec<_> = (0..30).map(|dir| format!("d{dir:04}")).collect();
            let fds: Vec<_> = fds
                .iter()
                .map(|name| (name, bed.root.open_dir(name.as_bytes()).unwrap()))
                .collect();
            let targets: Vec<_> = fds.iter().map(|(name, fd)| target(name, fd)).collect();
            let verdicts = bed.watch.arm(&targets);
            let armed = verdicts.iter().filter(|verdict| verdict.is_armed()).count() as u64;
            assert_eq!(armed, MAX - 1, "one is on the root's parent: {verdicts:?}");
            assert!(verdicts[MAX as usize..].iter().all(|it| matches!(it, Armed::LimitReached)));

            let report = limit::report(30);
            assert_eq!(report.limit(), ("user.max_inotify_watches", MAX));
            let ours = report.holders.iter().find(|one| one.pid == std::process::id());
            assert_eq!(ours.map(|one| (one.instances, one.watches)), Some((1, MAX)));
            assert_eq!(report.remedy(), "sudo sysctl user.max_inotify_watches=64");
            // What is armed goes on to be told of, and what is given up makes room.
            fs::write(bed.path.join("d0000/f00.txt"), "").unwrap();
            wait_for("a hint", || bed.watch.take().paths.pop());
            bed.watch.disarm(&path("d0000"));
            wait_until("there is room", || bed.watch.arm(&targets[29..])[0].is_armed());
        },
    );
}

#[test]
fn a_file_system_mounted_over_the_root_and_taken_away_is_told_of() {
    in_namespace("a_file_system_mounted_over_the_root_and_taken_away_is_told_of", "true", || {
        let bed = Bed::new();
        let told = |what: &str| {
            wait_for(what, || (bed.watch.take().root == Some(RootHint::Remounted)).then_some(()));
        };
        must(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&bed.path));
        told("mounted over");
        must(Command::new("umount").arg(&bed.path));
        told("unmounted");
    });
}
