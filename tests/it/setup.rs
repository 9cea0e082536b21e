//! `stampd setup`: from nothing to an agent at work, twice and half-way.

use std::fs;

use super::service::Manager;
use super::support::tree::write;

/// A home without a config, and a git repository in it.
fn fresh() -> Manager {
    let manager = Manager::new();
    fs::remove_file(manager.place.home.config_file()).unwrap();
    write(&manager.place.repo, ".git/HEAD", "ref: refs/heads/main\n");
    manager
}

fn config(manager: &Manager) -> String {
    fs::read_to_string(manager.place.home.config_file()).unwrap()
}

#[test]
fn a_config_is_written_with_what_is_found_and_the_service_is_started() {
    let mut manager = fresh();
    manager.place.home.set("KAFKA_BOOTSTRAP_SERVERS", "k1.example:9092, k2.example:9092");
    manager.place.home.set("POSTGRES_HOST", "db.example");
    manager.place.home.set("POSTGRES_PASSWORD", "hush");
    let (code, printed, calls) = manager.stampd(&["setup", "app", "--dry-run"]);
    assert_eq!((code, &*calls), (Some(0), ""), "{printed}");
    assert!(!manager.place.home.config_file().exists());
    let (_, said, calls) = manager.stampd(&["setup", "app"]);
    assert!(calls.contains("--user restart stampd.service"), "{said}\n{calls}");
    assert!(said.contains("service  it is installed and runs"), "what doctor finds: {said}");
    let text = config(&manager);
    assert_eq!(text, printed);
    assert!(text.contains("name = \"app\""), "{text}");
    assert!(text.contains("#brokers = [\"k1.example:9092\", \"k2.example:9092\"]"), "{text}");
    assert!(text.contains("#url = \"postgres://postgres@db.example:5432/"), "{text}");
    assert!(!text.contains("hush"), "a secret is only referred to");
    let shown = manager.place.home.must(&["config", "show"]);
    assert!(!shown.contains("k1.example"), "offered, not followed: {shown}");
}

#[test]
fn typed_again_it_keeps_what_is_there_and_goes_on_where_it_stopped() {
    let manager = fresh();
    manager.refuses("System has not been booted with systemd");
    let (code, said, _) = manager.stampd(&["setup", "app"]);
    assert_eq!(code, Some(4), "the agent is yet to be started: {said}");
    assert!(said.contains("not been booted") && said.contains("none is running"), "{said}");
    let first = config(&manager) + "\n# mine\n[watch]\nsettle = \"300ms\"\n";
    manager.place.home.configure(&first);
    fs::create_dir(manager.place.home.path().join("lib")).unwrap();
    manager.obeys();
    let (_, said, calls) = manager.stampd(&["setup", "app", "lib"]);
    assert!(said.contains("is there and stays"), "{said}");
    assert!(calls.contains("--user restart stampd.service"), "{calls}");
    let text = config(&manager);
    assert!(text.starts_with(&first) && text.contains("name = \"lib\""), "{text}");
    let (_, said, calls) = manager.stampd(&["setup"]);
    assert!(!calls.contains("restart"), "{calls}");
    assert!(said.contains("the service is installed and runs"), "{said}");
    assert_eq!(config(&manager), text);
}

#[test]
fn with_nothing_to_watch_it_says_so_and_starts_nothing() {
    let manager = fresh();
    let (_, said, calls) = manager.stampd(&["setup"]);
    assert!(said.contains("`stampd add DIR`"), "{said}");
    assert!(!calls.contains("restart"), "{calls}");
    let (code, said, _) = manager.stampd(&["add", "app"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said, _) = manager.stampd(&["setup", "none"]);
    assert_eq!(code, Some(7), "{said}");
    let wrong = fresh();
    wrong.place.home.configure("[watch]\nsettel = 1\n");
    assert_eq!(wrong.stampd(&["setup", "app"]).0, Some(78));
    assert_eq!(config(&wrong), "[watch]\nsettel = 1\n");
}
