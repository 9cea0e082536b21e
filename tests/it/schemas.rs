//! What commands print for programs is as the committed schemas say.
//!
//! Every output of a command in any test is held to its schema (`support::process`); here is what
//! makes sure that none is without one, and that those of the agent's tools are all met.

use std::collections::BTreeSet;
use std::path::Path;

use super::agent::Workplace;
use super::support::schema::{directory, hold};
use super::support::tree::write;

/// The names of documents that the sources mention.
fn named_in(dir: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named_in(&path, names);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let quoted = text.split('"').filter(|piece| !piece.contains(char::is_whitespace));
        let named = |piece: &&str| piece.starts_with("stampd.") && piece.ends_with("/v1");
        names.extend(quoted.filter(named).map(str::to_owned));
    }
}

#[test]
fn every_document_that_the_sources_name_has_a_schema_and_the_other_way_round() {
    let mut named = BTreeSet::new();
    named_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut named);
    let committed: BTreeSet<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| file.starts_with("stampd."))
        .map(|file| file.strip_suffix(".json").unwrap().replace(".v1", "/v1"))
        .collect();
    assert!(named.contains("stampd.status/v1"));
    assert_eq!(named, committed);
}

#[test]
fn what_the_tools_of_an_agent_print_is_as_their_schemas_say() {
    let place = Workplace::new("");
    let path = write(&place.repo, "a.md", "one\n").display().to_string();
    write(&place.repo, ".stampd.toml", "exclude = [\"a.md\"]\n[labels]\nteam = \"blue\"\n");
    let agent = place.home.start_ready();
    let digest = stampd::model::digest::Digest::of(b"one\n").to_string();
    let root = place.repo.display().to_string();
    let met = |args: &[&str]| {
        let output = place.home.run(&[args, &["--format", "json"]].concat());
        let met = hold(&output.stdout);
        assert_eq!(met.len(), 1, "{args:?}: {output:?}");
        met.into_iter().next().unwrap()
    };
    for (args, name) in [
        (&["version"][..], "version"),
        (&["config", "show"], "config"),
        (&["status"], "status"),
        (&["list"], "list"),
        (&["log", "--all"], "log"),
        (&["show", &digest], "log"),
        (&["explain", &path], "explain"),
        (&["verify"], "verify"),
        (&["trust", "--diff", &root], "trust"),
        (&["stamp", &path], "stamp"),
        (&["validate", &path], "validate"),
        (&["dlq", "ls"], "dlq"),
    ] {
        assert_eq!(met(args), format!("stampd.{name}/v1"));
    }
    assert!(agent.terminate().success());
    std::fs::write(&path, "two\n").unwrap();
    assert_eq!(met(&["verify"]), "stampd.verify/v1", "with a difference in it");
}
