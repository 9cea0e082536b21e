//! The architecture, checked: floors, sideways edges, third-party reach, purity of policy.
//!
//! Every file below `src` is parsed; what it names, in `use` trees, inline paths and macros, is
//! resolved to a module of ours or a crate, and held against the tables below. The tables are the
//! rule: a module that is not in them has no floor, and fails. Unit tests inside `src` are exempt.

mod references;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use references::{Reference, Target, references};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Floor {
    Runtime,
    Policy,
    Edge,
    Role,
    App,
}
use Floor::{App, Edge, Policy, Role, Runtime};

/// Which floor a module stands on; the longest matching prefix counts. Some stand here before they
/// are built, so that their place is known.
const FLOORS: &[(&str, Floor)] = &[
    ("heap", App),
    ("main", App),
    ("cli", App),
    ("config", App),
    ("agent", Role),
    ("bridge", Role),
    ("adapter", Role),
    ("adapter::breaker", Policy),
    ("adapter::placement", Policy),
    ("adapter::route", Policy),
    ("adapter::decode", Policy),
    ("watch", Edge),
    ("watch::filter", Policy),
    ("scan", Edge),
    ("hash", Edge),
    ("repo", Edge),
    ("repo::policy", Policy),
    ("spool", Edge),
    ("sync", Edge),
    ("sync::plan", Policy),
    ("sync::reach", Policy),
    ("sync::backoff", Policy),
    ("sink", Edge),
    ("store", Edge),
    ("outbox", Edge),
    ("enrich", Edge),
    ("api", Edge),
    ("onextree", Edge),
    ("onextree::catalog", Policy),
    ("onextree::query", Policy),
    ("onextree::relate", Policy),
    ("onextree::words", Policy),
    ("control", Edge),
    ("settle", Policy),
    ("model", Policy),
    ("runtime", Runtime),
];

/// Which edge may import which other edge, exhaustively.
const SIDEWAYS: &[(&str, &str)] = &[
    ("scan", "hash"),
    ("scan", "spool"),
    ("sync", "spool"),
    ("sync", "sink"),
    ("sink::postgres", "store"),
    ("outbox", "store"),
    ("outbox", "sink"),
    ("api", "spool"),
    ("api", "enrich"),
    ("api", "store"),
    ("onextree", "api"),
    ("onextree", "spool"),
];

/// Where a crate may be named. Crates that are not here may be named anywhere.
const REACH: &[(&str, &[&str])] = &[
    ("anyhow", &["cli", "main"]),
    ("axum", &["adapter::health", "api", "onextree", "runtime::http"]),
    ("blake3", &["hash", "model::digest"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("deadpool_postgres", &["store"]),
    ("globset", &["onextree::query"]),
    ("hyper", &["runtime::http"]),
    ("hyper_util", &["runtime::http"]),
    ("ignore", &["watch::filter"]),
    ("indicatif", &["cli"]),
    ("libc", &["hash::mapped", "runtime::rooted"]),
    ("memchr", &["model::onex_text", "onextree"]),
    ("notify", &["watch::os"]),
    ("prometheus", &["runtime::metrics"]),
    ("rdkafka", &["sink::kafka", "adapter"]),
    ("reqwest", &["sink::bridge", "enrich", "runtime::road"]),
    ("rusqlite", &["spool"]),
    ("sd_notify", &["runtime::notify"]),
    ("serde_yaml_ng", &["cli::contracts"]),
    ("sha2", &["model"]),
    ("subtle", &["runtime::http"]),
    ("tar", &["runtime::tar"]),
    ("tikv_jemallocator", &["heap"]),
    ("tokio_postgres", &["store"]),
    ("tokio_postgres_rustls", &["store"]),
    ("tracing_appender", &["runtime::telemetry"]),
    ("tracing_subscriber", &["runtime::telemetry"]),
    ("zstd", &["api", "sink::bridge"]),
];

/// What policy must be given instead of taking it: no runtime, no files, no environment, no clock.
const IMPURE: &[&str] = &[
    "rayon",
    "rustix",
    "std::env",
    "std::fs",
    "std::net",
    "std::os::fd",
    "std::process",
    "std::thread",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "tokio",
    "tokio_util",
];

/// The one module with unsafe code.
const UNSAFE: &str = "hash::mapped";

/// Lines of a file before its unit tests, at most.
const FILE_LINES_MAX: usize = 500;

struct Source {
    file: PathBuf,
    text: String,
}

impl Source {
    /// `src/watch/os.rs` is `watch::os`; `src/lib.rs` is the crate itself.
    fn module(&self) -> Vec<String> {
        let below = self.file.strip_prefix("src").expect("sources lie below src");
        let parts = below.with_extension("");
        let parts: Vec<String> =
            parts.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if parts == ["lib"] { Vec::new() } else { parts }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

fn within(module: &str, prefix: &str) -> bool {
    module.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn floor(module: &str) -> Option<Floor> {
    let matching = FLOORS.iter().filter(|(prefix, _)| within(module, prefix));
    matching.max_by_key(|(prefix, _)| prefix.len()).map(|(_, floor)| *floor)
}

/// Whether `from` may name `to`, both modules or things in them.
fn forbidden_import(from: &str, to: &str) -> Option<String> {
    let (here, there) = (floor(from)?, floor(to)?);
    if there > here {
        return Some(format!(
            "{from} ({here:?}) must not import {to} ({there:?}): imports go down"
        ));
    }
    let top = |module: &str| module.split("::").next().map(str::to_owned);
    if there < here || matches!(here, App | Policy | Runtime) || top(from) == top(to) {
        return None;
    }
    let allowed = SIDEWAYS.iter().any(|(a, b)| within(from, a) && within(to, b));
    (!allowed).then(|| format!("{from} must not import {to}: no such sideways edge"))
}

fn forbidden_crate(from: &str, path: &str) -> Option<String> {
    if let Some((name, homes)) = REACH.iter().find(|(name, _)| within(path, name))
        && !homes.iter().any(|home| within(from, home))
    {
        return Some(format!("{from} must not name {name}: it belongs to {}", homes.join(", ")));
    }
    let impure = IMPURE.iter().find(|impure| within(path, impure));
    let impure = impure.filter(|_| floor(from) == Some(Policy))?;
    Some(format!("{from} is policy and must not name {impure}: it is given time and data"))
}

fn forbidden(from: &str, reference: &Reference) -> Option<String> {
    match &reference.target {
        Target::Ours(path) => forbidden_import(from, path),
        Target::Foreign(path) => forbidden_crate(from, path),
        Target::UnsafeCode => {
            (from != UNSAFE).then(|| format!("{from} must not be unsafe: that is {UNSAFE}'s"))
        }
    }
}

/// What can be said of a file without resolving what it names.
fn misshapen(source: &Source) -> Option<(usize, String)> {
    if source.file.ends_with("mod.rs") {
        return Some((1, "a module is foo.rs beside foo/, never mod.rs".to_owned()));
    }
    if !source.text.starts_with("//!") {
        return Some((
            1,
            "a file begins with what it holds, promises and leaves to whom".to_owned(),
        ));
    }
    let code = source.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    (code > FILE_LINES_MAX).then(|| (code, format!("longer than {FILE_LINES_MAX} lines: split it")))
}

fn check(sources: &[Source]) -> Vec<Violation> {
    let modules: Vec<Vec<String>> = sources.iter().map(Source::module).collect();
    let mut violations = Vec::new();
    for source in sources {
        let path = source.module();
        let module = path.join("::");
        let mut report = |line, what| {
            violations.push(Violation { file: source.file.clone(), line, what });
        };
        if let Some((line, what)) = misshapen(source) {
            report(line, what);
        }
        // The crate's root only declares the modules.
        if module.is_empty() {
            continue;
        }
        if floor(&module).is_none() {
            report(1, format!("{module} stands on no floor: give it one in the floors table"));
        }
        for reference in references(&source.text, &path, &modules) {
            if let Some(what) = forbidden(&module, &reference) {
                report(reference.line, what);
            }
        }
    }
    violations
}

fn read_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut pending = vec![root.join("src")];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are text");
                let file = path.strip_prefix(root).expect("found below the root").to_owned();
                sources.push(Source { file, text });
            }
        }
    }
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    sources
}

#[test]
fn imports_only_go_down_and_crates_stay_where_they_belong() {
    let violations = check(&read_sources());
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "the architecture is broken at\n{}", list.join("\n"));
}

/// Each case is a file, the line in it that must be found, and words of the finding.
const PLANTED: &[(&str, &str, usize, &str)] = &[
    ("src/settle.rs", "use crate::spool::Spool;", 2, "settle (Policy) must not import spool"),
    ("src/settle.rs", "fn a() {\n    crate::agent::go();\n}", 3, "must not import agent"),
    ("src/sync/plan.rs", "use super::Config;", 2, "sync::plan (Policy) must not import sync"),
    ("src/sync/plan.rs", "use super::{\n    reach::Reach,\n    probe::Ladder,\n};", 4, "probe"),
    ("src/watch/os.rs", "use crate::spool;\nfn a() { spool::open() }", 2, "no such sideways edge"),
    (
        "src/watch.rs",
        "mod os;\nuse self::os::Os;\nuse crate::scan;",
        4,
        "watch must not import scan",
    ),
    ("src/sink.rs", "use crate::store::append;", 2, "no such sideways edge"),
    ("src/sync.rs", "fn a() {\n    tracing::info!(n = crate::agent::N, \"x\");\n}", 3, "agent"),
    ("src/agent.rs", "use crate::adapter::Adapter;", 2, "no such sideways edge"),
    ("src/hash.rs", "use crate::config::Config;", 2, "imports go down"),
    ("src/hash.rs", "mod a {\n    use super::super::cli::x;\n}", 3, "imports go down"),
    ("src/scan.rs", "use rusqlite::Connection;", 2, "it belongs to spool"),
    ("src/scan.rs", "fn a() -> blake3::Hash {}", 2, "it belongs to hash, model::digest"),
    ("src/watch.rs", "use notify::Watcher;", 2, "it belongs to watch::os"),
    ("src/sink/postgres.rs", "use tokio_postgres::Row;", 2, "it belongs to store"),
    ("src/model/batch.rs", "use std::fs::File;", 2, "must not name std::fs"),
    ("src/settle.rs", "use std::time::Instant;\nfn a() { Instant::now(); }", 3, "Instant::now"),
    ("src/settle.rs", "use std::time as t;\nfn a() { t::SystemTime::now(); }", 3, "SystemTime"),
    ("src/repo/policy.rs", "use tokio::sync::mpsc;", 2, "must not name tokio"),
    ("src/hash.rs", "fn a() {\n    unsafe { b() }\n}", 3, "must not be unsafe"),
    ("src/novel.rs", "", 1, "stands on no floor"),
    ("src/watch/mod.rs", "", 1, "never mod.rs"),
];

#[test]
fn planted_violations_are_found_at_their_line() {
    for (file, text, line, words) in PLANTED {
        let source = Source { file: file.into(), text: format!("//! Planted.\n{text}\n") };
        let found = check(&[source]);
        let hit = found.iter().any(|found| found.line == *line && found.what.contains(words));
        assert!(hit, "{file}: {text:?} should say {words:?} at line {line}, not {found:?}");
    }
}

#[test]
fn honest_imports_are_not_found() {
    let honest = [
        ("src/sync.rs", "use crate::{sink::Sink, spool::Spool};\nuse self::plan::Plan;\nmod plan;"),
        ("src/sync/plan.rs", "use super::reach::Reach;\nuse crate::model::batch::Batch;"),
        ("src/watch.rs", "use crate::runtime::rooted;\nuse std::time::Instant;\nmod filter;"),
        ("src/settle.rs", "use std::time::Instant;\n#[cfg(test)]\nmod tests { use std::fs; }"),
        ("src/sink/postgres.rs", "use crate::store;\nuse super::Sink;"),
        ("src/main.rs", "use stampd::cli;\nuse std::process::ExitCode;"),
        ("src/hash/mapped.rs", "fn a() { unsafe { libc::mmap() } }"),
    ];
    for (file, text) in honest {
        let source = Source { file: file.into(), text: format!("//! Honest.\n{text}\n") };
        assert_eq!(check(&[source]), [], "{file}");
    }
}
