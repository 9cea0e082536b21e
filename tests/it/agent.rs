//! The agent as a whole: real processes over real trees. What it is asked for here is what was
//! promised: after quiescence its log says exactly what is on the disk.

mod api;
mod bridged;
pub mod delivery;
mod figures;
mod history;
mod lifecycle;
mod pause;
mod refusals;
mod repos;
mod several;
mod storms;
mod unreadable;

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use serde_json::Value;

use super::support::process::Home;
use super::support::tree::{self, Digests};

/// A home with one repo, `app`, and no sinks.
pub struct Workplace {
    pub home: Home,
    pub repo: PathBuf,
}

impl Workplace {
    /// An empty repo and a config for it, with `more` appended.
    pub fn new(more: &str) -> Self {
        let home = Home::new();
        let repo = home.path().join("app");
        std::fs::create_dir(&repo).expect("the home takes a directory");
        let place = Self { home, repo };
        place.configure(more);
        place
    }

    /// Writes the config anew, with `more` appended.
    pub fn configure(&self, more: &str) {
        let repo = self.repo.display();
        self.home.configure(&format!(
            "[[repo]]\nname = \"app\"\npath = \"{repo}\"\nnamespace = \"it.agent.tests\"\n\n{more}"
        ));
    }

    /// Everything stamped so far, oldest first, one body each.
    pub fn log(&self) -> Vec<Value> {
        bodies(&self.home.must(&["log", "--all", "--format", "jsonl"]))
    }

    /// Brings the agent to rest: every difference at the time of the call is durable.
    pub fn scan(&self) {
        self.home.must(&["scan", "--wait"]);
    }

    /// Asserts that replaying the log gives what is on the disk, path by path.
    pub fn assert_log_is_disk(&self, skip: &[&str]) {
        assert_same(&replay(&self.log()), &tree::digests(&self.repo, skip));
    }

    /// The kinds of the stamps of one path, oldest first.
    pub fn kinds(&self, path: &str) -> Vec<String> {
        let of_path = |body: &&Value| body["path"] == path;
        self.log().iter().filter(of_path).map(|body| text(&body["kind"])).collect()
    }

    /// `status --format json`.
    pub fn status(&self) -> Value {
        let output = self.home.run(&["status", "--format", "json"]);
        serde_json::from_slice(&output.stdout).expect("status prints JSON")
    }
}

/// One JSON body per line.
pub fn bodies(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("a body is JSON")).collect()
}

pub fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// What the stamps of a repo say is there now: the regular files, with their digests.
pub fn replay(log: &[Value]) -> Digests {
    let mut files = BTreeMap::new();
    for body in log {
        let Some(path) = path_of(body, "path") else { continue };
        match body["kind"].as_str().expect("every body has a kind") {
            "created" | "modified" | "attributes" => {
                drop(files.insert(path, text(&body["digest"])));
            }
            "renamed" => {
                files.remove(&path_of(body, "from").expect("a rename has a from"));
                files.insert(path, text(&body["digest"]));
            }
            _ => drop(files.remove(&path)),
        }
    }
    files
}

fn path_of(body: &Value, key: &str) -> Option<Vec<u8>> {
    match body[format!("{key}_b64")].as_str() {
        Some(encoded) => {
            let engine = base64::engine::general_purpose::STANDARD;
            Some(engine.decode(encoded).expect("path_b64 is base64"))
        }
        None => body[key].as_str().map(|path| path.as_bytes().to_vec()),
    }
}

/// Compares, and shows a few of the differences: the whole maps would fill the screen.
pub fn assert_same(stamped: &Digests, disk: &Digests) {
    let show = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
    let missing: Vec<_> = disk.keys().filter(|path| !stamped.contains_key(*path)).collect();
    let stale: Vec<_> = stamped.keys().filter(|path| !disk.contains_key(*path)).collect();
    let wrong: Vec<_> = disk
        .iter()
        .filter(|(path, digest)| stamped.get(*path).is_some_and(|other| other != *digest))
        .map(|(path, _)| path)
        .collect();
    for (what, paths) in [("missing", &missing), ("stale", &stale), ("wrong", &wrong)] {
        let some: Vec<_> = paths.iter().take(10).map(|path| show(path)).collect();
        assert!(paths.is_empty(), "{} {what}, such as {some:?}", paths.len());
    }
}

/// Asserts that every stream in the log counts from 0 without gaps.
pub fn assert_gapless(log: &[Value]) {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for body in log {
        let expected = next.entry(text(&body["stream"])).or_default();
        assert_eq!(body["seq"].as_u64(), Some(*expected), "{body}");
        *expected += 1;
    }
}
