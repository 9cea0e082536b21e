//! The spool: what was acknowledged is there after any end, and reads back as it was hashed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use stampd::model::batch::Entry;
use stampd::model::change::{Observation, What};
use stampd::model::digest::Digest;
use stampd::model::path::RepoPath;
use stampd::model::stamp::{Detail, Kind, Sealed, SkipReason};
use stampd::runtime::clock::Clock;
use stampd::runtime::rooted::{FileKind, Stat};
use stampd::runtime::time::Timestamp;
use stampd::spool::{
    self, Config, DeadLetter, Look, Repo, RepoSpec, Seed, Spool, SpoolError, Writer,
};

use super::support::wait::wait_for;

/// Where the clock of these tests stands.
pub const NOON: Timestamp = Timestamp::from_nanos(1_764_072_000_000_000_000);

/// Opens a spool. A process that another test is just starting has a copy of the lock until it
/// becomes another program: that is waited for.
pub fn open(config: &Config, seed: &Seed, clock: &Clock) -> Result<(Spool, Writer), SpoolError> {
    let ours = Some(std::process::id());
    wait_for("no copy of the lock is left", || {
        match spool::open(config.clone(), seed.clone(), clock.clone()) {
            Err(SpoolError::Held { pid, .. }) if pid == ours => None,
            opened => Some(opened),
        }
    })
}

/// A spool whose writer runs.
pub struct Running {
    pub spool: Spool,
    writer: JoinHandle<Result<(), SpoolError>>,
}

impl Running {
    pub fn open(config: &Config, seed: &Seed, clock: &Clock) -> Self {
        let (spool, writer) = open(config, seed, clock).unwrap();
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

pub fn moved(old: &str, new: &str, ino: u64, version: i64) -> Observation {
    let digest = Digest::of(format!("{ino} {version}").as_bytes());
    let from = Some(path(old));
    seen(new, What::File { stat: stat(ino, version), digest, racy: false, from })
}

pub fn gone(path_text: &str) -> Observation {
    seen(path_text, What::Gone)
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

fn refusal(dir: &Path) -> SpoolError {
    open(&config(dir), &seed(), &Clock::mock(NOON)).err().unwrap()
}

/// The text a person reads, with its causes.
fn text(error: &SpoolError) -> String {
    format!("failed to {error}")
}

#[test]
fn a_second_instance_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let error = spool::open(config(dir.path()), seed(), Clock::mock(NOON)).err().unwrap();
    assert!(matches!(error, SpoolError::Held { pid: Some(_), .. }));
    let by = format!("pid {}", std::process::id());
    assert!(text(&error).contains(&by), "{error}");
    running.stop();
    Running::start(dir.path()).stop();
}

#[test]
fn only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let state = config(dir.path()).state_dir;
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    let running = Running::start(dir.path());
    running.repo().append(vec![file("a", 1, 0)]).wait().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&state), 0o700);
    for name in ["spool.db", "spool.db-wal", "spool.db-shm", "spool.lock"] {
        assert_eq!(mode(&state.join(name)), 0o600, "{name}");
    }
    running.stop();
}

#[test]
fn an_unwritable_state_directory_is_refused_with_what_to_do() {
    // No user, root neither, may make a directory there.
    let config = Config { state_dir: PathBuf::from("/proc/self/stampd"), ..Config::default() };
    let error = spool::open(config, seed(), Clock::mock(NOON)).err().unwrap();
    assert!(matches!(error, SpoolError::Unwritable { .. }));
    assert!(text(&error).contains("/proc/self/stampd") && text(&error).contains("state_dir"));
}

#[test]
fn a_newer_spool_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    Running::start(dir.path()).stop();
    let file = config(dir.path()).state_dir.join("spool.db");
    let raw = rusqlite::Connection::open(&file).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let before = std::fs::read(&file).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, SpoolError::Newer { found: 99, .. }), "{error}");
    let reading = spool::open_read_only(&config(dir.path()).state_dir).err().unwrap();
    assert!(matches!(reading, SpoolError::Newer { found: 99, .. }));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_foreign_file_is_refused_and_left_as_it_is() {
    let text_file = tempfile::tempdir().unwrap();
    let other_program = tempfile::tempdir().unwrap();
    for dir in [&text_file, &other_program] {
        std::fs::create_dir(dir.path().join("state")).unwrap();
    }
    std::fs::write(text_file.path().join("state/spool.db"), "notes ".repeat(2_000)).unwrap();
    let raw = rusqlite::Connection::open(other_program.path().join("state/spool.db")).unwrap();
    raw.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(raw);
    for dir in [text_file, other_program] {
        let file = dir.path().join("state/spool.db");
        let before = std::fs::read(&file).unwrap();
        let error = refusal(dir.path());
        assert!(matches!(error, SpoolError::Foreign { .. }), "{error}");
        assert!(text(&error).contains("spool.db"));
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
}

#[test]
fn a_damaged_spool_is_named_after_an_unclean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    repo.append((0..2_000).map(|n| file(&format!("f{n}"), n, 0)).collect()).wait().unwrap();
    drop(repo);
    running.stop();
    let path = config(dir.path()).state_dir.join("spool.db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("UPDATE meta SET value = '0' WHERE key = 'clean'").unwrap();
    drop(raw);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4_096 * 4_096;
    bytes[middle..middle + 4_096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, SpoolError::Corrupt { .. }), "{error}");
    assert!(text(&error).contains("spool.db") && text(&error).contains("move it"));
}

#[test]
fn without_a_spool_reading_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = spool::open_read_only(dir.path()).err().unwrap();
    assert!(matches!(error, SpoolError::Missing { .. }));
}

#[test]
fn a_spool_can_be_read_after_a_crash_and_without_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    let stream = repo.append(vec![file("a", 1, 0)]).wait().unwrap().stream;
    let copy = tempfile::tempdir().unwrap();
    for name in ["spool.db", "spool.db-wal"] {
        let from = config(dir.path()).state_dir.join(name);
        std::fs::copy(from, copy.path().join(name)).unwrap();
    }
    let reader = spool::open_read_only(copy.path()).unwrap();
    assert_eq!(reader.batch(stream, 0, 10, 1 << 20).unwrap().entries.len(), 2);
    drop(repo);
    running.stop();
}

#[test]
fn another_machine_or_another_file_opens_the_next_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let first = running.repo().append(vec![file("a", 1, 0)]).wait().unwrap().stream;
    let last_leaf = running.spool.reader().unwrap().leaf(first, 1).unwrap().unwrap();
    running.stop();
    let elsewhere = Seed { machine_id: "another".into(), ..seed() };
    let running = Running::open(&config(dir.path()), &elsewhere, &Clock::mock(NOON));
    let second = running.repo().append(vec![file("a", 1, 1)]).wait().unwrap().stream;
    assert_ne!(second, first);
    let reader = running.spool.reader().unwrap();
    let batch = reader.batch(second, 0, 10, 1 << 20).unwrap();
    let Entry::Stamp(opened) = &batch.entries[0] else { panic!("the body is there") };
    let previous = opened.stamp.detail.previous.clone().unwrap();
    assert_eq!((previous.stream, previous.size), (first, 2));
    assert_eq!(previous.leaf, Some(last_leaf.to_string()));
    let Entry::Stamp(modified) = &batch.entries[1] else { panic!("the body is there") };
    assert_eq!(modified.stamp.kind, Kind::Modified, "the index goes on across epochs");
    drop(reader);
    running.stop();
    // On the same machine with the same file it goes on.
    let running = Running::open(&config(dir.path()), &elsewhere, &Clock::mock(NOON));
    assert_eq!(running.repo().append(vec![file("a", 1, 2)]).wait().unwrap().stream, second);
    running.stop();
}

#[test]
fn bodies_keep_their_leaf_across_an_upgrade_a_new_host_name_and_an_edited_label() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::mock(NOON);
    let running = Running::open(&config(dir.path()), &seed(), &clock);
    let repo = running.repo();
    let stream = repo.append(vec![file("src/a.rs", 1, 0)]).wait().unwrap().stream;
    let bodies = |running: &Running| -> Vec<String> {
        let batch = running.spool.reader().unwrap().batch(stream, 0, 10, 1 << 20).unwrap();
        batch
            .entries
            .into_iter()
            .map(|entry| match entry {
                Entry::Stamp(sealed) => sealed.body,
                Entry::Withheld { .. } => panic!("the body is there"),
            })
            .collect()
    };
    let before = bodies(&running);
    let labels = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
    repo.set_context("app".to_owned(), labels, None).wait().unwrap();
    repo.append(vec![file("src/a.rs", 1, 1)]).wait().unwrap();
    drop(repo);
    running.stop();
    let newer = Seed { host: "renamed".into(), version: "9.9.9".into(), ..seed() };
    let running = Running::open(&config(dir.path()), &newer, &clock);
    running.repo().append(vec![file("src/a.rs", 1, 2)]).wait().unwrap();
    let after = bodies(&running);
    assert_eq!(after[..2], before);
    assert!(after[2].contains(r#""labels":{"team":"blue"}"#) && after[2].contains("laptop"));
    assert!(after[3].contains("renamed") && after[3].contains("9.9.9"));
    running.stop();
}

#[test]
fn a_rename_is_one_stamp_and_continues_both_histories() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    repo.append(vec![file("a", 1, 0), file("b", 2, 0), file("a", 1, 1)]).wait().unwrap();
    let done = repo.append(vec![moved("a", "b", 1, 1), gone("a")]).wait().unwrap();
    assert_eq!((done.stamps.len(), done.unchanged), (1, 1));
    let reader = running.spool.reader().unwrap();
    let history = |name: &str| -> Vec<u64> {
        let stamps = reader.history(repo.id(), &path(name), 10).unwrap();
        told(&stamps).into_iter().map(|(seq, ..)| seq).collect()
    };
    assert_eq!(history("b"), [4, 3, 2, 1], "what was at both paths leads here");
    assert_eq!(history("a"), [4, 3, 1], "what b was before is not a's past");
    assert_eq!(repo.known().check(&path("a"), &stat(1, 1)), Look::New);
    repo.append(vec![file("a", 3, 0)]).wait().unwrap();
    assert_eq!(history("a"), [5, 4, 3, 1], "a new file at the old path follows what was there");
    drop((reader, repo));
    running.stop();
}

#[test]
fn a_stat_that_proves_nothing_is_never_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    let racy = What::File { stat: stat(1, 0), digest: Digest::of(b"x"), racy: true, from: None };
    let unreadable = What::Skipped { stat: Some(stat(3, 0)), reason: SkipReason::Unreadable };
    let seen_all = vec![
        seen("racy", racy),
        seen("unstable", What::Unstable { stat: stat(2, 0) }),
        seen("unreadable", unreadable),
    ];
    repo.append(seen_all).wait().unwrap();
    for (name, ino) in [("racy", 1), ("unstable", 2), ("unreadable", 3)] {
        assert_eq!(repo.known().check(&path(name), &stat(ino, 0)), Look::Differs, "{name}");
    }
    drop(repo);
    running.stop();
}

#[test]
fn all_known_names_of_an_inode_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let linked = |name: &str, nlink: u32| {
        let stat = Stat { nlink, ..stat(7, 0) };
        seen(name, What::File { stat, digest: Digest::of(b"x"), racy: false, from: None })
    };
    let names = |repo: &Repo| {
        let mut names: Vec<String> =
            repo.known().links(7).iter().map(ToString::to_string).collect();
        names.sort();
        names
    };
    let running = Running::start(dir.path());
    let repo = running.repo();
    repo.append(vec![linked("a", 3), linked("b", 3), linked("c", 3)]).wait().unwrap();
    assert_eq!(names(&repo), ["a", "b", "c"]);
    repo.append(vec![gone("b")]).wait().unwrap();
    drop(repo);
    running.stop();
    let running = Running::start(dir.path());
    let repo = running.repo();
    assert_eq!(names(&repo), ["a", "c"]);
    drop(repo);
    running.stop();
}

#[test]
fn a_body_goes_when_every_sink_has_it_its_time_is_up_and_it_is_not_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::mock(NOON);
    let running = Running::open(&config(dir.path()), &seed(), &clock);
    let repo = running.repo();
    let stream = repo.append(vec![file("a", 1, 0), file("b", 2, 0)]).wait().unwrap().stream;
    repo.append(vec![file("a", 1, 1)]).wait().unwrap();
    let spool = &running.spool;
    let purge = || spool.purge(clock.now()).wait().unwrap().bodies;
    let withheld = || -> Vec<u64> {
        let batch = spool.reader().unwrap().batch(stream, 0, 100, 1 << 20).unwrap();
        assert_eq!(batch.entries.len() as u64, spool.reader().unwrap().streams().unwrap()[0].size);
        (0..)
            .zip(&batch.entries)
            .filter(|(_, entry)| matches!(entry, Entry::Withheld { .. }))
            .map(|(seq, _)| seq)
            .collect()
    };
    clock.advance(std::time::Duration::from_hours(100 * 24));
    assert_eq!(purge(), 0, "no sink has it");
    spool.enroll("kafka").wait().unwrap();
    spool.confirm("postgres", stream, 4).wait().unwrap();
    assert_eq!(purge(), 0, "a sink that was never reached waits for it");
    spool.confirm("kafka", stream, 4).wait().unwrap();
    assert_eq!(purge(), 2);
    assert_eq!(withheld(), [0, 1], "the newest of a and b stay");
    // What was the newest goes once a later stamp is as old.
    repo.append(vec![file("b", 2, 1)]).wait().unwrap();
    for sink in ["kafka", "postgres"] {
        spool.confirm(sink, stream, 5).wait().unwrap();
    }
    assert_eq!(purge(), 0, "its time is not up");
    clock.advance(std::time::Duration::from_hours(100 * 24));
    assert_eq!(purge(), 1);
    assert_eq!(withheld(), [0, 1, 2]);
    drop(repo);
    running.stop();
}

#[test]
fn a_full_spool_takes_no_stamp_and_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: 400_000, ..config(dir.path()) };
    let running = Running::open(&config, &seed(), &Clock::mock(NOON));
    let repo = running.repo();
    let batch = |first: u64, version: i64| -> Vec<Observation> {
        (first..first + 200).map(|n| file(&format!("f{n}"), n, version)).collect()
    };
    let refused = (0..20).find_map(|n| repo.append(batch(n * 200, 0)).wait().err()).unwrap();
    assert!(matches!(refused, SpoolError::Full { .. }), "{refused}");
    assert!(text(&refused).contains("max_bytes"));
    let stamps = running.spool.reader().unwrap().totals().unwrap().stamps;
    assert_eq!(repo.known().len() as u64, stamps - 1, "what was refused is not known");
    drop(repo);
    running.stop();
}

#[test]
fn a_dead_letter_and_the_cursor_that_passes_it_move_together() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let stream = running.repo().append(vec![file("a", 1, 0)]).wait().unwrap().stream;
    let spool = &running.spool;
    let letter = DeadLetter { class: "reject".into(), code: "22021".into(), reason: "NUL".into() };
    spool.set_aside("postgres", stream, 1, letter.clone(), 2).wait().unwrap();
    let reader = spool.reader().unwrap();
    assert_eq!(reader.cursor("postgres", stream).unwrap(), 2);
    let dead = reader.dead("postgres").unwrap();
    assert_eq!((dead[0].seq, dead[0].attempts, &dead[0].letter), (1, 1, &letter));
    let beyond = spool.set_aside("postgres", stream, 2, letter, 3).wait().err().unwrap();
    assert!(matches!(beyond, SpoolError::BeyondEnd { end: 2, .. }));
    assert_eq!(reader.cursor("postgres", stream).unwrap(), 2, "neither moved");
    spool.revive("postgres", stream, 1).wait().unwrap();
    assert!(reader.dead("postgres").unwrap().is_empty());
    spool.confirm("postgres", stream, 0).wait().unwrap();
    assert_eq!(reader.queued("postgres").unwrap(), 2, "a cursor moves in either direction");
    spool.confirm("postgres", stream, 1).wait().unwrap();
    assert_eq!(reader.confirmed_at("postgres").unwrap(), Some(NOON));
    assert_eq!(reader.oldest("postgres").unwrap(), Some(NOON));
    spool.forget("postgres").wait().unwrap();
    assert_eq!(reader.cursor("postgres", stream).unwrap(), 0);
    drop(reader);
    running.stop();
}

#[test]
fn after_a_fork_the_tail_is_told_again_in_the_next_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    let old = repo.append(vec![file("a", 1, 0), file("b", 2, 0)]).wait().unwrap().stream;
    repo.append(vec![file("a", 1, 1), moved("a", "c", 1, 1)]).wait().unwrap();
    let new = running.spool.new_epoch(old, 2).wait().unwrap();
    let reader = running.spool.reader().unwrap();
    let sizes: Vec<u64> = reader.streams().unwrap().iter().map(|head| head.size).collect();
    assert_eq!(sizes, [2, 4]);
    let all: Vec<Sealed> = reader.all(repo.id()).map(Result::unwrap).collect();
    let kinds: Vec<Kind> = all.iter().map(|sealed| sealed.stamp.kind).collect();
    let again = [Kind::Opened, Kind::Created, Kind::Modified, Kind::Renamed];
    assert_eq!(kinds[..2], [Kind::Opened, Kind::Created]);
    assert_eq!(kinds[2..], again);
    let history = told(&reader.history(repo.id(), &path("c"), 10).unwrap());
    let seqs: Vec<u64> = history.iter().map(|(seq, ..)| *seq).collect();
    assert_eq!(seqs, [3, 2, 1], "links lead through both streams");
    assert_eq!(
        running.spool.new_epoch(old, 2).wait().unwrap(),
        new,
        "asking again changes nothing"
    );
    let next = repo.append(vec![file("c", 1, 2)]).wait().unwrap();
    assert_eq!((next.stream, next.stamps[0].seq), (new, 4));
    let beyond = running.spool.confirm("kafka", old, 3).wait().err().unwrap();
    assert!(matches!(beyond, SpoolError::BeyondEnd { end: 2, .. }));
    drop((reader, repo));
    running.stop();
}

#[test]
fn an_altered_row_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let stream = running.repo().append(vec![file("a", 1, 0)]).wait().unwrap().stream;
    running.stop();
    let raw = rusqlite::Connection::open(config(dir.path()).state_dir.join("spool.db")).unwrap();
    raw.execute_batch("UPDATE stamp SET size = size + 1 WHERE size IS NOT NULL").unwrap();
    drop(raw);
    let reader = spool::open_read_only(&config(dir.path()).state_dir).unwrap();
    let error = reader.batch(stream, 0, 10, 1 << 20).err().unwrap();
    assert!(matches!(error, SpoolError::Altered { seq: 1, .. }));
    assert!(text(&error).contains(&stream.to_string()));
}

#[test]
fn coverage_is_an_interval_that_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    let until = Timestamp::from_nanos(NOON.as_nanos() + 5);
    let detail = |until| Detail {
        reason: Some("overflow".into()),
        since: Some(NOON),
        until,
        ..Detail::default()
    };
    repo.life(Kind::Coverage, detail(None), NOON).wait().unwrap();
    let reader = running.spool.reader().unwrap();
    assert_eq!(reader.coverage(repo.id()).unwrap()[0].until, None);
    repo.life(Kind::Coverage, detail(Some(until)), NOON).wait().unwrap();
    let intervals = reader.coverage(repo.id()).unwrap();
    assert_eq!((intervals.len(), intervals[0].until), (1, Some(until)));
    drop((reader, repo));
    running.stop();
}

#[test]
fn what_lies_within_a_directory_is_listed_and_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    let names = ["d", "d/x", "d/y/z", "d-x", "d0", "e"];
    let all = (0..).zip(names).map(|(ino, name)| file(name, ino, 0)).collect();
    repo.append(all).wait().unwrap();
    repo.append(vec![gone("d/x")]).wait().unwrap();
    let reader = running.spool.reader().unwrap();
    let within = |dir: &RepoPath| -> Vec<String> {
        let rows = reader.rows_within(repo.id(), dir).unwrap();
        rows.iter().map(|(path, _)| path.to_string()).collect()
    };
    assert_eq!(within(&path("d")), ["d", "d/y/z"]);
    assert_eq!(within(&RepoPath::root()), ["d", "d-x", "d/y/z", "d0", "e"]);
    drop((reader, repo));
    running.stop();
}

#[test]
fn a_listing_that_follows_the_log_is_a_listing_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    repo.append(vec![file("a", 1, 0), file("b", 2, 0), file("c", 3, 0)]).wait().unwrap();
    let reader = running.spool.reader().unwrap();
    let listing = || {
        let mut listed = BTreeMap::new();
        let take = |path: &[u8], listing| {
            listed.insert(path.to_vec(), listing);
        };
        (reader.list(repo.id(), take).unwrap(), listed)
    };
    let (reached, mut kept) = listing();
    assert_eq!(reader.list_since(repo.id(), reached, 0).unwrap(), Some((reached, Vec::new())));
    let changes = vec![gone("a"), file("b", 2, 5), moved("c", "d", 3, 0), file("e", 5, 0)];
    repo.append(changes).wait().unwrap();
    repo.append(vec![gone("e")]).wait().unwrap();
    let (now, changes) = reader.list_since(repo.id(), reached, 9).unwrap().unwrap();
    for (path, listed) in changes {
        kept.remove(path.as_bytes());
        kept.extend(listed.map(|listed| (path.as_bytes().to_vec(), listed)));
    }
    assert_eq!((now, kept), listing());
    assert_eq!(reader.list_since(repo.id(), reached, 4).unwrap(), None, "that is five stamps");
    drop((reader, repo));
    running.stop();
}
