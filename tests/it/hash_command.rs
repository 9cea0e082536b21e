//! `stampd hash` beside `b3sum`: what it prints, says and ends with is as recorded from the original.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;
use stampd::model::digest::Digest;

use super::support::process::Home;
use super::support::tree;

/// Recorded from `b3sum`, never from `stampd`.
const RECORDED: &str = include_str!("../cases/hash/b3sum.toml");
/// More than is read at a time, and no multiple of it.
const BIG_BYTES: usize = 9 << 20;

#[derive(Deserialize)]
struct Recorded {
    /// Checksum files, by name.
    files: BTreeMap<String, String>,
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    args: Vec<String>,
    #[serde(default)]
    stdin: String,
    code: i32,
    out: String,
    /// `None` where only the code is pinned.
    err: Option<String>,
}

/// A directory with the files that the recording was made of.
struct Scene {
    home: Home,
    dir: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        home.configure("");
        let dir = home.path().join("files");
        let contents =
            [("a", "abc"), ("empty", ""), ("back\\slash", "x"), ("new\nline", "y"), ("cr\rx", "z")];
        for (name, content) in contents {
            tree::write(&dir, name, content);
        }
        tree::write(&dir, "two  blanks", "b");
        tree::write(&dir, "big", (0..BIG_BYTES).map(|at| (at % 251) as u8).collect::<Vec<_>>());
        std::fs::create_dir(dir.join("dir")).unwrap();
        Self { home, dir }
    }

    fn command(&self) -> Command {
        let mut command = self.home.command(&["hash"]);
        command.current_dir(&self.dir);
        command
    }

    fn check(&self, case: &Case) {
        let mut command = self.command();
        let output = fed(command.args(&case.args), &case.stdin);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(case.code), "{:?}: {err}", case.args);
        assert_eq!(out, case.out, "{:?}", case.args);
        match &case.err {
            Some(recorded) => assert_eq!(err, in_our_name(recorded), "{:?}", case.args),
            None => assert!(err.starts_with("stampd: failed to read "), "{:?}: {err}", case.args),
        }
    }
}

/// Runs a command to its end with `stdin` as its standard input.
fn fed(command: &mut Command, stdin: &str) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // Taken, so that it is closed here and the command sees the end.
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn in_our_name(recorded: &str) -> String {
    let lines = recorded.split_inclusive('\n');
    lines.map(|line| line.replacen("b3sum: ", "stampd: ", 1)).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_recorded_case_ends_as_b3sum_ended_it() {
    let recorded: Recorded = toml::from_str(RECORDED).unwrap();
    let scene = Scene::new();
    for (name, content) in &recorded.files {
        tree::write(&scene.dir, name, content);
    }
    for case in &recorded.cases {
        scene.check(case);
    }
}

/// `b3sum` writes such a name with replacement characters, and refuses to check the line.
#[test]
fn a_name_that_is_not_utf8_is_printed_but_not_checked() {
    let scene = Scene::new();
    let name = OsStr::from_bytes(b"bad\xff");
    std::fs::write(scene.dir.join(Path::new(name)), "n").unwrap();
    let sums = text(&fed(scene.command().arg(name), "").stdout);
    assert_eq!(sums, format!("{}  bad\u{fffd}\n", Digest::of(b"n")));
    let checked = fed(scene.command().arg("--check"), &sums);
    assert_eq!(checked.status.code(), Some(1));
    let warning = "stampd: WARNING: 1 computed checksum did NOT match\n";
    let expected = format!("stampd: Unicode replacement character in path\n{warning}");
    assert_eq!((text(&checked.stdout), text(&checked.stderr)), (String::new(), expected));
}
