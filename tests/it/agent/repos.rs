//! Repos that come and go: in the config file and in the agent that runs.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Workplace;
use crate::support::tree::write;
use crate::support::wait::wait_until;

/// The names and states of the repos that are listed.
fn listed(place: &Workplace) -> Vec<(String, Value)> {
    let list: Value =
        serde_json::from_str(&place.home.must(&["list", "--format", "json"])).unwrap();
    let repos = list["repos"].as_array().unwrap();
    repos.iter().map(|repo| (super::text(&repo["name"]), repo["state"].clone())).collect()
}

fn files_of(place: &Workplace, name: &str) -> Option<u64> {
    let status = place.status();
    let repos = status["repos"].as_array()?;
    repos.iter().find(|repo| repo["name"] == name)?["files"].as_u64()
}

fn add(place: &Workplace, dir: &Path, more: &[&str]) -> (Option<i32>, String) {
    let args = [&["add", dir.to_str().unwrap()][..], more].concat();
    let output = place.home.run(&args);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_repo_is_added_to_a_running_agent_and_to_the_config_and_removed_again() {
    let place = Workplace::new("# the end\n");
    let before = fs::read_to_string(place.home.config_file()).unwrap();
    let other = place.home.path().join("lib");
    write(&other, "a", "1");
    let agent = place.home.start_ready();
    assert_eq!(add(&place, &other, &["--namespace", "x.y.z"]).0, Some(0));
    wait_until("it is compared", || files_of(&place, "lib") == Some(1));
    write(&other, "b", "1");
    wait_until("it is watched", || files_of(&place, "lib") == Some(2));
    assert_eq!(
        listed(&place),
        [("app".into(), "watching".into()), ("lib".into(), "watching".into())]
    );
    let text = fs::read_to_string(place.home.config_file()).unwrap();
    assert!(text.starts_with(&before), "what stood there stays: {text}");
    assert!(agent.terminate().success());
    assert_eq!(listed(&place), [("app".into(), Value::Null), ("lib".into(), Value::Null)]);
    let agent = place.home.start_ready();
    assert_eq!(files_of(&place, "lib"), Some(2), "the next start knows it too");
    place.home.must(&["remove", other.to_str().unwrap()]);
    assert_eq!(files_of(&place, "lib"), None);
    assert_eq!(fs::read_to_string(place.home.config_file()).unwrap(), before);
    assert_eq!(
        place
            .home
            .must(&["log", "--all", "--repo", "lib", "--format", "jsonl"])
            .lines()
            .filter(|line| line.contains("\"stopped\""))
            .count(),
        2,
        "it took its leave"
    );
    assert_eq!(add(&place, &other, &[]).0, Some(0));
    wait_until("it is watched again", || files_of(&place, "lib") == Some(2));
    assert!(agent.terminate().success());
}

#[test]
fn without_an_agent_the_config_is_changed_and_the_next_start_takes_it_up() {
    let place = Workplace::new("");
    let other = place.home.path().join("lib");
    write(&other, "a", "1");
    let (code, said) = add(&place, &other, &["--name", "one"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("next start"), "{said}");
    let agent = place.home.start_ready();
    assert_eq!(files_of(&place, "one"), Some(1));
    assert!(agent.terminate().success());
    assert!(place.home.run(&["remove", "one"]).status.success());
    let last = place.home.run(&["remove", "app"]);
    assert!(last.status.success());
    assert!(String::from_utf8_lossy(&last.stderr).contains("no repo is left"), "{last:?}");
    assert_eq!(listed(&place), []);
}

#[test]
fn a_repo_within_another_is_its_own_only_when_that_is_meant() {
    let place = Workplace::new("");
    let inner = place.repo.join("inner");
    write(&inner, "a", "1");
    write(&place.repo, "b", "1");
    let agent = place.home.start_ready();
    let (code, said) = add(&place, &inner, &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("lies in the repo app") && said.contains("--nested"), "{said}");
    assert_eq!(add(&place, &inner, &["--nested"]).0, Some(0));
    place.scan();
    assert_eq!((files_of(&place, "app"), files_of(&place, "inner")), (Some(1), Some(1)));
    place.home.must(&["remove", "inner"]);
    place.scan();
    assert_eq!(files_of(&place, "app"), Some(2), "the outer repo has it again");
    let (code, said) = add(&place, place.home.path(), &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("lies in it"), "{said}");
    assert!(agent.terminate().success());
}

#[test]
fn what_cannot_be_a_repo_is_refused_and_the_config_is_left_as_it_is() {
    let place = Workplace::new("");
    let before = fs::read_to_string(place.home.config_file()).unwrap();
    write(&place.repo, "file", "1");
    let other = place.home.path().join("else/app");
    fs::create_dir_all(&other).unwrap();
    let check = |dir: &Path, more: &[&str], expected: i32, why: &str| {
        let (code, said) = add(&place, dir, more);
        assert_eq!(code, Some(expected), "{said}");
        assert!(said.contains(why), "{said}");
    };
    check(&place.repo, &[], 2, "it is watched already, as app");
    check(&place.repo.join("file"), &[], 2, "it is a file");
    check(&place.repo.join("none"), &[], 7, "No such file");
    check(&place.home.state_dir(), &[], 2, "its own state");
    check(&other, &[], 2, "say --name");
    check(&other, &["--name", "a\nb"], 78, "without control characters");
    check(&other, &["--name", "x", "--namespace", "one"], 2, "three segments");
    let gone = place.home.run(&["remove", "none"]);
    assert_eq!(gone.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("there are app"), "{gone:?}");
    assert_eq!(fs::read_to_string(place.home.config_file()).unwrap(), before);
    fs::remove_file(place.home.config_file()).unwrap();
    check(&other, &[], 78, "No such file");
    let mut command = place.home.command(&[]);
    command.env("HOME", place.home.path().join("home"));
    let output = std::process::Command::new(command.get_program())
        .env_clear()
        .env("HOME", place.home.path().join("home"))
        .args(["add", other.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`stampd setup`"), "{output:?}");
}

#[test]
fn a_config_that_an_agent_does_not_hear_of_in_time_still_counts() {
    let place = Workplace::new("");
    place.home.configure("repo = [{ path = \"/nowhere\", namespace = \"a.b.c\" }]\n");
    let other = place.home.path().join("lib");
    fs::create_dir(&other).unwrap();
    let (code, said) = add(&place, &other, &[]);
    assert_eq!(code, Some(78), "{said}");
    assert_eq!(place.home.run(&["remove", "nowhere"]).status.code(), Some(78));
}
