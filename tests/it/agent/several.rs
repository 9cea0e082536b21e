//! Several repos on one agent: each is tracked for itself.

use std::fs;

use serde_json::Value;

use super::bodies;
use crate::support::process::Home;
use crate::support::tree::write;
use crate::support::wait::wait_until;

/// A home with a repo `outer`, one `inner` inside of it, and one `away` that is not there.
fn three_repos() -> Home {
    let home = Home::new();
    let outer = home.path().join("outer");
    fs::create_dir_all(outer.join("inner")).unwrap();
    let repo = |name: &str, path: &str| {
        let path = home.path().join(path).display().to_string();
        format!(
            "[[repo]]\nname = \"{name}\"\npath = \"{path}\"\nnamespace = \"it.several.{name}\"\n"
        )
    };
    let repos = [repo("outer", "outer"), repo("inner", "outer/inner"), repo("away", "away")];
    home.configure(&repos.concat());
    home
}

fn states(home: &Home) -> Vec<(String, String)> {
    let output = home.run(&["status", "--format", "json"]);
    assert_eq!(output.status.code(), Some(4), "a repo that is absent is a degraded agent");
    let status: Value = serde_json::from_slice(&output.stdout).expect("status prints JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let repos = status["repos"].as_array().expect("a list");
    repos.iter().map(|repo| (text(&repo["name"]), text(&repo["state"]))).collect()
}

/// The repo and path of every file stamped below a directory of the home.
fn stamped(home: &Home, path: &str) -> Vec<(String, String)> {
    let path = home.path().join(path).display().to_string();
    // A path without a stamp is an error of its own: here it has none yet.
    let output = home.run(&["log", &path, "--format", "jsonl"]);
    let log = bodies(&String::from_utf8_lossy(&output.stdout));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    log.iter().map(|body| (text(&body["repo"]), text(&body["path"]))).collect()
}

#[test]
fn a_repo_inside_another_is_left_out_of_it_and_an_absent_one_keeps_nobody_waiting() {
    let home = three_repos();
    let path = |path: &str| home.path().join(path);
    write(&path("outer"), "a", "1");
    write(&path("outer/inner"), "b", "2");
    let agent = home.start_ready();
    let expected = [("outer", "watching"), ("inner", "watching"), ("away", "absent")];
    let expected = expected.map(|(name, state)| (name.to_owned(), state.to_owned()));
    assert_eq!(states(&home), expected);
    let of = |repo: &str, path: &str| vec![(repo.to_owned(), path.to_owned())];
    assert_eq!(stamped(&home, "outer/a"), of("outer", "a"), "durable when it says ready");
    assert_eq!(stamped(&home, "outer/inner/b"), of("inner", "b"), "and by one repo only");
    let outer = bodies(&home.must(&["log", "--all", "--repo", "outer", "--format", "jsonl"]));
    assert!(outer.iter().all(|body| body["path"] != "inner/b"), "not by the outer one: {outer:?}");
    write(&path("away"), "c", "3");
    wait_until("the third is taken up", || stamped(&home, "away/c") == of("away", "c"));
    assert!(agent.terminate().success());
}

#[test]
fn a_scan_that_cannot_see_a_repo_names_it_after_the_others_are_durable() {
    let home = three_repos();
    let agent = home.start_ready();
    write(&home.path().join("outer/inner"), "b", "2");
    let scan = home.run(&["scan", "--wait"]);
    assert_eq!(scan.status.code(), Some(75), "{scan:?}");
    let message = String::from_utf8_lossy(&scan.stderr).into_owned();
    assert!(message.contains("away is absent"), "{message}");
    assert_eq!(stamped(&home, "outer/inner/b").len(), 1, "what is there is durable");
    assert_eq!(home.run(&["scan", "--wait", "--repo", "inner"]).status.code(), Some(0));
    let unknown = home.run(&["scan", "--wait", "--repo", "nobody"]);
    assert_eq!(unknown.status.code(), Some(7), "{unknown:?}");
    assert!(agent.terminate().success());
}
