//! The Dockerfile: what it copies is there and enough to build, and what it runs is known.

use std::collections::BTreeSet;

use super::{file, text};

/// The instructions, each with what follows it on its line.
fn instructions(dockerfile: &str) -> Vec<(&str, &str)> {
    let lines = dockerfile.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line} stands alone")))
        .collect()
}

#[test]
fn what_is_copied_is_there_and_not_ignored() {
    let (dockerfile, ignored) = (text("packaging/Dockerfile"), text(".dockerignore"));
    let ignored: BTreeSet<&str> = ignored.lines().collect();
    let mut stages = BTreeSet::new();
    for (word, rest) in instructions(&dockerfile) {
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (word, words.as_slice()) {
            ("FROM", [_, "AS", name]) => assert!(stages.insert(*name)),
            ("COPY", [from, source, _]) if from.starts_with("--from=") => {
                assert!(stages.contains(&from["--from=".len()..]), "{from} is no stage");
                assert_eq!(*source, "/src/target/release/stampd");
            }
            ("COPY", [sources @ .., _]) => {
                for source in sources {
                    assert!(file(source).exists(), "{source} is not in the repository");
                    assert!(!ignored.contains(source), "{source} is in .dockerignore");
                }
            }
            _ => {}
        }
    }
}

/// Cargo reads the manifest before anything else, and the sources take files in at compile time.
#[test]
fn what_the_build_reads_is_copied() {
    let dockerfile = text("packaging/Dockerfile");
    let copied: BTreeSet<&str> = instructions(&dockerfile)
        .into_iter()
        .filter(|(word, rest)| *word == "COPY" && !rest.starts_with("--"))
        .flat_map(|(_, rest)| rest.split_whitespace())
        .collect();
    let top = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let manifest = text("Cargo.toml");
    let targets = manifest.lines().filter_map(|line| line.strip_prefix("path = \""));
    for needed in targets.map(top).chain(included()) {
        assert!(copied.contains(needed.as_str()), "{needed} is not copied");
    }
    for needed in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        assert!(copied.contains(needed), "{needed} is not copied");
    }
}

/// The directories outside `src` that sources include files of.
fn included() -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![file("src")];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let pieces = text.split("include_str!(").skip(1);
            let outside = pieces.filter_map(|piece| piece.split_once("../")).map(|(_, path)| path);
            let tops = outside.map(|path| path.trim_start_matches("../").split('/').next());
            found.extend(tops.flatten().map(str::to_owned));
        }
    }
    found.retain(|top| file(top).is_dir());
    assert!(found.contains(&"packaging".to_owned()), "units are included: {found:?}");
    found
}

#[test]
fn the_toolchain_and_what_is_run_are_those_that_build_here() {
    let (dockerfile, toolchain) = (text("packaging/Dockerfile"), text("rust-toolchain.toml"));
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = \""));
    let version = channel.and_then(|rest| rest.rsplit_once('.')).map(|(version, _)| version);
    assert!(dockerfile.contains(&format!("FROM rust:{}-", version.expect("a channel"))));
    let known = ["apt-get", "rm", "cargo", "useradd", "install"];
    for (_, rest) in instructions(&dockerfile).iter().filter(|(word, _)| *word == "RUN") {
        for command in rest.split("&&") {
            let program = command.split_whitespace().next().unwrap();
            assert!(known.contains(&program), "{program} is unknown");
        }
    }
    assert!(dockerfile.contains("cargo build --release --locked --bin stampd"));
    assert!(dockerfile.contains("ENTRYPOINT [\"stampd\"]"));
}
