//! Hashing on a real file system: every outcome, and files that change under the read.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use stampd::hash::{Config, Hasher, Outcome};
use stampd::model::digest::Digest;
use stampd::model::path::RepoPath;
use stampd::model::stamp::SkipReason;
use stampd::runtime::rooted::Root;
use tempfile::TempDir;

use crate::support::wait::wait_for;

/// Never set.
static GO: AtomicBool = AtomicBool::new(false);
const MIB: usize = 1 << 20;

struct Scratch {
    dir: TempDir,
    root: Root,
    hasher: Hasher,
}

impl Scratch {
    fn new(config: Config) -> Self {
        let dir = tempfile::tempdir().expect("scratch directory");
        let root = Root::open(dir.path()).expect("opens");
        Self { dir, root, hasher: Hasher::new(config).expect("starts") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("writes");
    }

    fn digest(&self, name: &str) -> Outcome {
        let path = RepoPath::new(name.as_bytes()).expect("well-formed");
        self.hasher.digest(&self.root, &path, &GO)
    }

    /// The outcome once the last change is old enough to tell.
    fn settled(&self, name: &str) -> Outcome {
        wait_for("the file's ctime is past", || match self.digest(name) {
            Outcome::TooFresh => None,
            outcome => Some(outcome),
        })
    }

    fn settled_digest(&self, name: &str) -> Digest {
        match self.settled(name) {
            Outcome::Digest { digest, racy: false, .. } => digest,
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// Reads below a few pages, maps in tiny windows.
fn small_windows() -> Config {
    let (mmap_threshold, window) = (64 << 10, 1 << 20);
    Config { mmap_threshold, window, sparse_ratio: 0, ..Config::default() }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(length).collect()
}

#[test]
fn read_and_mapped_digests_are_those_of_the_bytes() {
    let scratch = Scratch::new(small_windows());
    let bytes = noise(5 * MIB + 1);
    for length in [
        0,
        1,
        1023,
        1024,
        1025,
        64 << 10,
        (64 << 10) + 1,
        256 << 10,
        (256 << 10) + 1,
        MIB - 1,
        MIB,
        MIB + 1,
        5 * MIB + 1,
    ] {
        scratch.write("file", &bytes[..length]);
        let Outcome::Digest { stat, digest, racy } = scratch.settled("file") else {
            panic!("{length}")
        };
        assert_eq!((digest, racy), (Digest::of(&bytes[..length]), false), "{length} bytes");
        assert_eq!(stat, scratch.root.stat(b"file").unwrap());
    }
}

#[test]
fn a_budget_slows_reading_and_changes_no_digest() {
    let rate = NonZero::new(1 << 40);
    let scratch = Scratch::new(Config { rate, ..small_windows() });
    let bytes = noise(3 * MIB);
    scratch.write("file", &bytes);
    assert_eq!(scratch.settled_digest("file"), Digest::of(&bytes));

    // At one byte a second the second chunk is due in days: the first wait meets `stop`.
    let slow = Scratch::new(Config { rate: Some(NonZero::<u64>::MIN), ..small_windows() });
    slow.write("file", &bytes);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let hashing = scope.spawn(|| {
            wait_for("an answer", || {
                match slow.hasher.digest_at(slow.root.as_fd(), b"file", &stop) {
                    Outcome::TooFresh => None,
                    outcome => Some(outcome),
                }
            })
        });
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(hashing.join().expect("answers"), Outcome::Stopped));
    });
}

#[test]
fn many_large_files_at_once_are_hashed_right() {
    let scratch = Scratch::new(small_windows());
    let bytes = noise(4 * MIB);
    let names: Vec<String> = (0..12).map(|index| format!("file{index}")).collect();
    for (index, name) in names.iter().enumerate() {
        scratch.write(name, &bytes[index..]);
    }
    scratch.hasher.pool().scope(|scope| {
        for (index, name) in names.iter().enumerate() {
            let (scratch, bytes) = (&scratch, &bytes);
            scope.spawn(move |_| {
                assert_eq!(scratch.settled_digest(name), Digest::of(&bytes[index..]), "{name}");
            });
        }
    });
}

#[test]
fn what_is_no_regular_file_is_named_and_never_opened() {
    let scratch = Scratch::new(Config::default());
    let rw = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, scratch.path("fifo"), FileType::Fifo, rw, 0).expect("makes a FIFO");
    let _listener = UnixListener::bind(scratch.path("socket")).expect("binds");
    std::fs::create_dir(scratch.path("dir")).unwrap();
    symlink("/etc/passwd", scratch.path("link")).unwrap();
    symlink("dir", scratch.path("dirlink")).unwrap();
    scratch.write("dir/file", b"");

    for name in ["fifo", "socket"] {
        let outcome = scratch.digest(name);
        let Outcome::Skipped { stat: Some(_), reason: SkipReason::Special } = outcome else {
            panic!("{name}: {outcome:?}")
        };
    }
    let dev = Root::open(Path::new("/dev")).unwrap();
    let zero = scratch.hasher.digest_at(dev.as_fd(), b"zero", &GO);
    assert!(matches!(zero, Outcome::Skipped { reason: SkipReason::Special, .. }), "{zero:?}");
    assert!(matches!(scratch.digest("dir"), Outcome::Directory(_)));
    assert!(matches!(scratch.digest(""), Outcome::Directory(_)));
    let Outcome::Symlink { target, .. } = scratch.digest("link") else { panic!("a link") };
    assert_eq!(target, b"/etc/passwd");
    for gone in ["none", "dir/none", "none/none", "dir/file/below", "dirlink/file"] {
        let outcome = scratch.digest(gone);
        assert!(matches!(outcome, Outcome::Gone), "{gone}: {outcome:?}");
    }
}

#[test]
fn too_large_and_sparse_files_are_not_read() {
    let scratch = Scratch::new(Config { max_file_size: 1000, ..Config::default() });
    let check = |name, expected: Option<SkipReason>| match scratch.settled(name) {
        Outcome::Skipped { stat: Some(_), reason } => assert_eq!(Some(reason), expected, "{name}"),
        Outcome::Digest { .. } => assert_eq!(None, expected, "{name}"),
        other => panic!("{name}: {other:?}"),
    };
    scratch.write("fits", &[1; 1000]);
    check("fits", None);
    scratch.write("large", &[1; 1001]);
    check("large", Some(SkipReason::TooLarge));
    let holes = File::create(scratch.path("sparse")).unwrap();
    holes.set_len(1 << 40).expect("the file system takes a file of 1 TiB");
    check("sparse", Some(SkipReason::Sparse));
}

#[test]
fn a_change_between_lookup_and_read_is_never_taken_for_the_old_version() {
    let scratch = Scratch::new(Config { attempts: 1, ..Config::default() });
    scratch.write("file", b"old");
    scratch.settled_digest("file");
    let seen = scratch.root.stat(b"file").unwrap();
    scratch.write("file", b"new");
    scratch.settled_digest("file");
    // What was looked up before the change is the wrong side of a frame.
    let dir = scratch.root.as_fd();
    let outcome = scratch.hasher.digest_seen(dir, b"file", &seen, &GO);
    assert!(matches!(outcome, Outcome::Unstable { stat } if stat.ctime_ns > seen.ctime_ns));

    // Nor is another file under the same name.
    let seen = scratch.root.stat(b"file").unwrap();
    scratch.write("other", b"oth");
    std::fs::rename(scratch.path("other"), scratch.path("file")).unwrap();
    let outcome = scratch.hasher.digest_seen(dir, b"file", &seen, &GO);
    assert!(matches!(outcome, Outcome::Unstable { .. }), "{outcome:?}");

    // Nor a FIFO, which must not block.
    let seen = scratch.root.stat(b"file").unwrap();
    std::fs::remove_file(scratch.path("file")).unwrap();
    mknodat(CWD, scratch.path("file"), FileType::Fifo, Mode::RUSR, 0).expect("makes a FIFO");
    let outcome = scratch.hasher.digest_seen(dir, b"file", &seen, &GO);
    assert!(!matches!(outcome, Outcome::Digest { .. }), "{outcome:?}");
}

#[test]
fn a_second_attempt_finds_the_version_that_stayed() {
    let scratch = Scratch::new(Config { attempts: 8, ..Config::default() });
    scratch.write("file", b"old");
    scratch.settled_digest("file");
    let seen = scratch.root.stat(b"file").unwrap();
    scratch.write("file", b"new");
    let outcome = scratch.hasher.digest_seen(scratch.root.as_fd(), b"file", &seen, &GO);
    let Outcome::Digest { digest, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(digest, Digest::of(b"new"));
}

/// Starts `change` in the middle of hashing, over and over, until `seen_enough` of the outcomes.
/// Between two rounds the file is left alone until its ctime is past.
fn race(
    scratch: &Scratch,
    change: impl Fn(&File, u64, &AtomicBool) + Sync,
    mut seen_enough: impl FnMut(Outcome) -> bool,
) {
    let file = File::options().read(true).write(true).open(scratch.path("file")).unwrap();
    let (begin, rounds) = mpsc::channel::<u64>();
    let (finish, finished) = mpsc::channel();
    let hashed = AtomicBool::new(false);
    let change_in_rounds = || {
        for round in rounds {
            spin(round * 997 % 100_000);
            change(&file, round, &hashed);
            finish.send(()).expect("the reader lives");
        }
    };
    std::thread::scope(|scope| {
        // Owned by the scope's body, so that a failed assertion also ends the writer.
        let (begin, finished) = (begin, finished);
        scope.spawn(change_in_rounds);
        for round in 0.. {
            scratch.settled("file");
            hashed.store(false, Ordering::Relaxed);
            begin.send(round).expect("the writer lives");
            let outcome = scratch.digest("file");
            hashed.store(true, Ordering::Relaxed);
            finished.recv().expect("the writer lives");
            if seen_enough(outcome) {
                return;
            }
        }
    });
}

/// Spends a moment, so that the changes of successive rounds fall on different parts of the read.
fn spin(turns: u64) {
    for _ in 0..turns {
        std::hint::spin_loop();
    }
}

#[test]
fn a_file_rewritten_under_the_read_has_no_false_digest() {
    const LENGTH: usize = 2 * MIB;
    for mmap_threshold in [64 << 10, 1 << 40] {
        let scratch = Scratch::new(Config { mmap_threshold, attempts: 2, ..small_windows() });
        scratch.write("file", &vec![0; LENGTH]);
        let versions: Vec<Digest> = (0..=255_u8).map(|n| Digest::of(&vec![n; LENGTH])).collect();
        let (mut whole, mut changed) = (0, 0);
        let rewrite = |file: &File, round: u64, _: &AtomicBool| {
            file.write_all_at(&vec![round as u8; LENGTH], 0).expect("writes");
        };
        race(&scratch, rewrite, |outcome| {
            match outcome {
                Outcome::Digest { digest, .. } => {
                    assert!(versions.contains(&digest), "a mixture of two versions");
                    whole += 1;
                }
                Outcome::Unstable { .. } | Outcome::TooFresh => changed += 1,
                other => panic!("{other:?}"),
            }
            whole >= 10 && changed >= 10
        });
    }
}

#[test]
fn a_file_that_grows_all_the_time_is_unstable() {
    let scratch = Scratch::new(small_windows());
    scratch.write("file", &vec![7; 8 * MIB]);
    let append = |mut file: &File, _: u64, hashed: &AtomicBool| {
        file.seek(SeekFrom::End(0)).expect("seeks");
        while !hashed.load(Ordering::Relaxed) {
            file.write_all(b"more").expect("appends");
        }
        file.set_len(8 << 20).expect("cuts");
    };
    race(&scratch, append, |outcome| match outcome {
        Outcome::Unstable { stat } => {
            assert!(stat.size > 8 << 20);
            true
        }
        Outcome::Digest { digest, .. } => {
            assert_eq!(digest, Digest::of(&vec![7; 8 * MIB]));
            false
        }
        Outcome::TooFresh => false,
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_file_truncated_while_it_is_mapped_costs_neither_process_nor_truth() {
    const FULL: u64 = 16 << 20;
    let scratch = Scratch::new(Config { attempts: 1, ..small_windows() });
    scratch.write("file", &noise(4096));
    File::options().write(true).open(scratch.path("file")).unwrap().set_len(FULL).unwrap();
    let mut full_bytes = noise(4096);
    full_bytes.resize(FULL as usize, 0);
    let (full, cut) = (Digest::of(&full_bytes), Digest::of(&full_bytes[..4096]));
    let (mut whole, mut changed) = (0, 0);
    let truncate = |file: &File, _: u64, _: &AtomicBool| {
        file.set_len(4096).expect("truncates");
        file.set_len(FULL).expect("extends");
    };
    race(&scratch, truncate, |outcome| {
        match outcome {
            // The cut version may be met too, when the writer is kept from extending it at once.
            Outcome::Digest { digest, stat, .. } => {
                let expected = if stat.size == FULL { full } else { cut };
                assert_eq!(digest, expected, "{stat:?}");
                whole += 1;
            }
            Outcome::Unstable { .. } | Outcome::TooFresh => changed += 1,
            other => panic!("{other:?}"),
        }
        changed >= 100 && whole >= 10
    });
}

#[test]
fn stop_ends_hashing_before_it_began() {
    let scratch = Scratch::new(Config::default());
    scratch.write("file", b"text");
    scratch.settled_digest("file");
    let stop = AtomicBool::new(true);
    let outcome = scratch.hasher.digest_at(scratch.root.as_fd(), b"file", &stop);
    assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
}

#[test]
fn an_unreadable_file_is_skipped_with_its_stat() {
    if rustix::process::geteuid().is_root() {
        // Root passes mode bits, so somebody else runs this very test.
        return as_nobody("hash::an_unreadable_file_is_skipped_with_its_stat");
    }
    let scratch = Scratch::new(Config::default());
    scratch.write("file", b"secret");
    std::fs::create_dir(scratch.path("dir")).unwrap();
    scratch.write("dir/file", b"secret");
    let chmod = |name, mode| {
        std::fs::set_permissions(scratch.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    chmod("file", 0o000);
    chmod("dir", 0o000);
    let outcome = scratch.settled("file");
    let Outcome::Skipped { stat: Some(stat), reason: SkipReason::Unreadable } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((stat.size, stat.mode), (6, 0));
    // Nothing is known about what lies in there, above all not that it is gone.
    let outcome = scratch.digest("dir/file");
    let Outcome::Skipped { stat: None, reason: SkipReason::Unreadable } = outcome else {
        panic!("{outcome:?}")
    };
    chmod("dir", 0o700);
}

/// Runs one test of this binary as a user without privileges.
fn as_nobody(test: &str) {
    const NOBODY: u32 = 65_534;
    // By its link in /proc, since the way to the binary may be closed to that user.
    let output = Command::new("/proc/self/exe")
        .args(["--exact", test, "--nocapture"])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
