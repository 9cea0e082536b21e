//! `stampd hash` beside `b3sum`: what it prints, says and ends with is as recorded from the original.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Output;

use serde::Deserialize;
use stampd::model::digest::Digest;

use super::support::files::{Files, text};

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
fn recorded_files() -> Files {
    let files = Files::new();
    let contents =
        [("a", "abc"), ("empty", ""), ("back\\slash", "x"), ("new\nline", "y"), ("cr\rx", "z")];
    for (name, content) in contents {
        files.write(name, content);
    }
    files.write("two  blanks", "b");
    files.write("big", (0..BIG_BYTES).map(|at| (at % 251) as u8).collect::<Vec<_>>());
    std::fs::create_dir(files.dir.join("dir")).unwrap();
    files
}

fn hash(files: &Files, args: &[impl AsRef<OsStr>], stdin: &str) -> Output {
    let args: Vec<&OsStr> =
        std::iter::once(OsStr::new("hash")).chain(args.iter().map(AsRef::as_ref)).collect();
    files.fed(&args, stdin.as_bytes())
}

fn check(files: &Files, case: &Case) {
    let output = hash(files, &case.args, &case.stdin);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(case.code), "{:?}: {err}", case.args);
    assert_eq!(out, case.out, "{:?}", case.args);
    match &case.err {
        Some(recorded) => assert_eq!(err, in_our_name(recorded), "{:?}", case.args),
        None => assert!(err.starts_with("stampd: failed to read "), "{:?}: {err}", case.args),
    }
}

fn in_our_name(recorded: &str) -> String {
    let lines = recorded.split_inclusive('\n');
    lines.map(|line| line.replacen("b3sum: ", "stampd: ", 1)).collect()
}

#[test]
fn every_recorded_case_ends_as_b3sum_ended_it() {
    let recorded: Recorded = toml::from_str(RECORDED).unwrap();
    let files = recorded_files();
    for (name, content) in &recorded.files {
        files.write(name, content);
    }
    for case in &recorded.cases {
        check(&files, case);
    }
}

/// `b3sum` writes such a name with replacement characters, and refuses to check the line.
#[test]
fn a_name_that_is_not_utf8_is_printed_but_not_checked() {
    let files = Files::new();
    let name = OsStr::from_bytes(b"bad\xff");
    std::fs::write(files.dir.join(Path::new(name)), "n").unwrap();
    let sums = text(&hash(&files, &[name], "").stdout);
    assert_eq!(sums, format!("{}  bad\u{fffd}\n", Digest::of(b"n")));
    let checked = hash(&files, &["--check"], &sums);
    assert_eq!(checked.status.code(), Some(1));
    let warning = "stampd: WARNING: 1 computed checksum did NOT match\n";
    let expected = format!("stampd: Unicode replacement character in path\n{warning}");
    assert_eq!((text(&checked.stdout), text(&checked.stderr)), (String::new(), expected));
}

/// Small ones end long before the large ones in between.
#[test]
fn files_are_told_of_in_the_order_they_are_named_and_checked_in() {
    let files = Files::new();
    let names: Vec<String> = (0..200).map(|number| format!("f{number}")).collect();
    let content = |number: usize| match number % 50 {
        0 => vec![number as u8; BIG_BYTES],
        _ => names[number].clone().into_bytes(),
    };
    let (mut lines, mut oks) = (Vec::new(), Vec::new());
    for (number, name) in names.iter().enumerate() {
        let content = content(number);
        files.write(name, &content);
        lines.push(format!("{}  {name}\n", Digest::of(&content)));
        oks.push(format!("{name}: OK\n"));
    }
    let sums = text(&hash(&files, &names, "").stdout);
    assert_eq!(sums, lines.concat());
    let checked = text(&hash(&files, &["--check"], &sums).stdout);
    assert_eq!(checked, oks.concat());
}
