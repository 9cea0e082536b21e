//! Settling: cases as data, and what holds whatever happens.
//!
//! A case is a file in `tests/cases/settle`. Its `events` are lines `AT KIND PATH`, times in
//! milliseconds; its `due` is what came out, one line per batch: `AT: PATH@SEEN …`, where `dir/*`
//! stands for a directory's entries and `**` for everything, and more than eight paths are counted.
//! Between events the loop asks exactly when `next_deadline` says so, as the agent does.
//!
//! `AT` may be `FROM..TO+STEP` (a hint every STEP), `AT<NOW` (a hint that was made at NOW and came
//! late) or `AT~SEEN` (the wall clock said SEEN). `PATH` may be `name{N}` (N paths). The kinds beside
//! `quiet`, `closed` and `gone` are `dir` and `all` (a whole directory, everything), `busy` (nobody
//! asks until PATH) and `settle` (the wait becomes PATH).

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::Deserialize;
use stampd::model::path::RepoPath;
use stampd::runtime::time::Timestamp;
use stampd::settle::{Config, Due, Settle, Urgency};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    events: Vec<String>,
    due: Vec<String>,
    #[serde(default)]
    config: CaseConfig,
}

/// Other limits than the defaults; times in milliseconds.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseConfig {
    settle: Option<u64>,
    settle_after_close: Option<u64>,
    settle_max: Option<u64>,
    paths_max: Option<usize>,
    dir_paths_max: Option<usize>,
}

impl CaseConfig {
    fn over_defaults(&self) -> Config {
        let default = Config::default();
        let time = |own: Option<u64>, default| own.map_or(default, Duration::from_millis);
        Config {
            settle: time(self.settle, default.settle),
            settle_after_close: time(self.settle_after_close, default.settle_after_close),
            settle_max: time(self.settle_max, default.settle_max),
            paths_max: self.paths_max.unwrap_or(default.paths_max),
            dir_paths_max: self.dir_paths_max.unwrap_or(default.dir_paths_max),
            ..default
        }
    }
}

/// One event, at the time the loop takes it.
struct Event {
    at: u64,
    now: u64,
    seen: u64,
    kind: String,
    path: String,
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is a number of milliseconds"))
}

/// Every event that a line stands for.
fn events(line: &str) -> Vec<Event> {
    let (when, rest) = line.split_once(' ').expect("AT KIND PATH");
    let (kind, path) = rest.split_once(' ').unwrap_or((rest, ""));
    let paths: Vec<String> = match path.split_once('{') {
        Some((name, count)) => {
            (0..number(count.trim_end_matches('}'))).map(|i| format!("{name}{i}")).collect()
        }
        None => vec![path.to_owned()],
    };
    let (when, seen) = when.split_once('~').map_or((when, None), |(at, seen)| (at, Some(seen)));
    let (when, now) = when.split_once('<').map_or((when, None), |(at, now)| (at, Some(now)));
    let times: Vec<u64> = match when.split_once("..") {
        Some((from, to)) => {
            let (to, step) = to.split_once('+').expect("FROM..TO+STEP");
            (number(from)..number(to)).step_by(number(step) as usize).collect()
        }
        None => vec![number(when)],
    };
    let event = |at: u64, path: &String| Event {
        at,
        now: now.map_or(at, number),
        seen: seen.map_or(at, number),
        kind: kind.to_owned(),
        path: path.clone(),
    };
    times.iter().flat_map(|&at| paths.iter().map(move |path| event(at, path))).collect()
}

fn repo_path(text: &str) -> RepoPath {
    RepoPath::new(text.as_bytes()).expect("the paths of a case are well-formed")
}

/// The loop around a `Settle`, on a clock of its own.
struct Loop {
    start: Instant,
    settle: Settle,
    /// Not before this does the loop ask: its own time, or the end of what keeps it busy.
    free_from: u64,
    batches: Vec<String>,
}

impl Loop {
    fn new(config: Config) -> Self {
        let start = Instant::now();
        Self { start, settle: Settle::new(config), free_from: 0, batches: Vec::new() }
    }

    fn instant(&self, at: u64) -> Instant {
        self.start + Duration::from_millis(at)
    }

    /// Asks for what is due, each time the next deadline says so, up to and including `until`.
    fn run_until(&mut self, until: u64) {
        while let Some(deadline) = self.settle.next_deadline() {
            let deadline = (deadline - self.start).as_millis() as u64;
            let at = deadline.max(self.free_from);
            if at > until {
                return;
            }
            let due = self.settle.due(self.instant(at));
            assert!(!due.is_empty(), "a deadline at {at} that brings nothing would spin");
            self.batches.push(format!("{at}:{}", shown(&due)));
        }
    }

    fn take(&mut self, event: &Event) {
        self.run_until(event.at);
        self.free_from = self.free_from.max(event.at);
        let (now, seen) = (self.instant(event.now), Timestamp::from_nanos(event.seen as i64));
        let path = || repo_path(&event.path);
        match event.kind.as_str() {
            "quiet" => self.settle.push(&path(), Urgency::Quiet, seen, now),
            "closed" => self.settle.push(&path(), Urgency::Closed, seen, now),
            "gone" => self.settle.push(&path(), Urgency::Gone, seen, now),
            "dir" => self.settle.push_dir(&path(), seen, now),
            "all" => self.settle.push_everything(seen, now),
            "busy" => self.free_from = number(&event.path),
            "settle" => self.settle.set_settle(Duration::from_millis(number(&event.path))),
            kind => panic!("there is no kind {kind:?}"),
        }
    }
}

fn shown(due: &Due) -> String {
    let mut text = String::new();
    if let Some(seen) = due.everything {
        write!(text, " **@{}", seen.as_nanos()).unwrap();
    }
    for (dir, seen) in &due.dirs {
        write!(text, " {}/*@{}", dir.to_lossy(), seen.as_nanos()).unwrap();
    }
    if due.paths.len() > 8 {
        write!(text, " {} paths", due.paths.len()).unwrap();
    } else {
        for (path, seen) in &due.paths {
            write!(text, " {}@{}", path.to_lossy(), seen.as_nanos()).unwrap();
        }
    }
    text
}

/// Runs a case; the answer is what is wrong with it.
fn check(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).expect("a case is readable");
    let name = path.display();
    assert!(text.starts_with("# "), "{name}: a case begins with its story");
    let case: Case = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut run = Loop::new(case.config.over_defaults());
    let mut all: Vec<Event> = case.events.iter().flat_map(|line| events(line)).collect();
    all.sort_by_key(|event| event.at);
    for event in &all {
        run.take(event);
    }
    run.run_until(u64::MAX);
    assert!(run.settle.is_empty(), "{name}: something is held without a deadline");
    (run.batches != case.due)
        .then(|| format!("{name}\n  is {:?}\n  not {:?}\n", run.batches, case.due))
}

#[test]
fn every_case_settles_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/settle");
    let entries = std::fs::read_dir(dir).expect("the cases are there");
    let mut cases: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    cases.sort();
    assert!(cases.len() >= 30, "only {} cases were found", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(case)).collect();
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn a_storm_of_paths_is_held_and_given_back_quickly() {
    let start = Instant::now();
    let mut settle = Settle::new(Config::default());
    for count in 0..200_000_u64 {
        let path = repo_path(&format!("d{}/f{count}", count % 60));
        let now = start + Duration::from_micros(count);
        settle.push(&path, Urgency::Closed, Timestamp::from_nanos(0), now);
        assert!(settle.len() <= 65_536);
    }
    let due = settle.due(start + Duration::from_secs(10));
    assert_eq!((due.paths.len(), due.dirs.len(), due.everything), (0, 60, None));
    assert_eq!(settle.next_deadline(), None);
}

/// A hint for the property: which path, how, and how long after the one before.
fn hint() -> impl Strategy<Value = (usize, usize, u64)> {
    (0..40_usize, 0..6_usize, prop::sample::select(vec![0, 0, 1, 3, 20, 60, 200, 400]))
}

/// Whether what came out covers the path.
fn covers(due: &Due, path: &RepoPath) -> bool {
    let dir = path.parent().expect("not the root");
    due.everything.is_some()
        || due.dirs.iter().any(|(found, _)| *found == dir)
        || due.paths.iter().any(|(found, _)| found == path)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_nothing_waits_too_long_and_memory_is_bounded(
        hints in prop::collection::vec(hint(), 1..200),
        paths_max in 4..40_usize,
        dir_paths_max in 1..8_usize,
    ) {
        let config = Config { paths_max, dir_paths_max, settle_max: Duration::from_secs(1), ..Config::default() };
        let start = Instant::now();
        let mut settle = Settle::new(config.clone());
        let mut waiting: Vec<(RepoPath, u64)> = Vec::new();
        let mut at = 0;
        let ask = |settle: &mut Settle, waiting: &mut Vec<(RepoPath, u64)>, now: u64| {
            let due = settle.due(start + Duration::from_millis(now));
            for (path, _) in waiting.iter().filter(|(_, first)| first + 1_000 <= now) {
                prop_assert!(covers(&due, path), "{:?} waits longer than settle_max", path);
            }
            waiting.retain(|(path, _)| !covers(&due, path));
            Ok(())
        };
        for (path, kind, pause) in hints {
            for step in 1..=pause {
                ask(&mut settle, &mut waiting, at + step)?;
            }
            at += pause;
            let now = start + Duration::from_millis(at);
            let seen = Timestamp::from_nanos(at as i64);
            let path = repo_path(&format!("d{}/f{path}", path % 5));
            match kind {
                0 | 1 => settle.push(&path, Urgency::Quiet, seen, now),
                2 | 3 => settle.push(&path, Urgency::Closed, seen, now),
                4 => settle.push(&path, Urgency::Gone, seen, now),
                _ => settle.push_dir(&path.parent().expect("not the root"), seen, now),
            }
            if !waiting.iter().any(|(known, _)| *known == path) {
                waiting.push((path, at));
            }
            prop_assert!(settle.len() <= paths_max);
        }
        for step in 0..=1_000 {
            ask(&mut settle, &mut waiting, at + step)?;
        }
        prop_assert_eq!(&waiting, &vec![]);
        prop_assert!(settle.is_empty() && settle.next_deadline().is_none());
    }
}
