//! A pause: nothing is looked at, nothing is lost by it, and it outlives the agent.

use super::{Workplace, text};
use crate::support::tree::write;
use crate::support::wait::wait_until;

fn is_paused(place: &Workplace) -> bool {
    place.status()["paused"].is_object()
}

#[test]
fn what_happens_in_a_pause_is_stamped_after_it_and_the_record_says_that_there_was_one() {
    let place = Workplace::new("");
    write(&place.repo, "a", "1");
    let agent = place.home.start_ready();
    place.home.must(&["pause"]);
    wait_until("the repo is let go of", || place.status()["repos"][0]["state"] == "degraded");
    write(&place.repo, "a", "two");
    write(&place.repo, "b", "1");
    assert_eq!(place.home.run(&["status"]).status.code(), Some(4));
    let human = place.home.run(&["status"]);
    assert!(String::from_utf8_lossy(&human.stdout).contains("stampd resume"), "{human:?}");
    let scan = place.home.run(&["scan", "--wait"]);
    assert_eq!(scan.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&scan.stderr).contains("`stampd resume`"), "{scan:?}");
    assert_eq!(place.kinds("a"), ["created"]);
    place.home.must(&["resume"]);
    place.scan();
    place.assert_log_is_disk(&[]);
    assert_eq!(place.kinds("a"), ["created", "modified"]);
    assert!(!is_paused(&place));
    let log = place.log();
    let gaps: Vec<_> = log.iter().filter(|body| body["kind"] == "coverage").collect();
    assert_eq!(gaps.len(), 2, "the gap opened and closed: {gaps:?}");
    assert!(text(&gaps[0]["reason"]).starts_with("paused"));
    assert_eq!(gaps[0]["since"], gaps[1]["since"]);
    assert!(agent.terminate().success());
}

#[test]
fn a_pause_outlives_the_agent_and_ends_when_it_was_to() {
    let place = Workplace::new("");
    write(&place.repo, "a", "1");
    let agent = place.home.start_ready();
    place.home.must(&["pause", "--for", "1h"]);
    agent.kill();
    write(&place.repo, "a", "two");
    let agent = place.home.start_ready();
    let status = place.status();
    assert!(status["paused"]["until"].is_string(), "{status}");
    assert_eq!(place.kinds("a"), ["created"], "a start in a pause compares nothing");
    place.home.must(&["pause", "--for", "300ms"]);
    wait_until("the pause ends", || !is_paused(&place));
    wait_until("the change is stamped", || place.kinds("a") == ["created", "modified"]);
    assert!(agent.terminate().success());
    assert!(place.home.start_ready().terminate().success());
    assert!(!place.home.state_dir().join("paused.json").exists());
}

#[test]
fn without_an_agent_there_is_nothing_to_pause() {
    let place = Workplace::new("");
    assert_eq!(place.home.run(&["pause"]).status.code(), Some(3));
    assert_eq!(place.home.run(&["resume"]).status.code(), Some(3));
    assert_eq!(place.home.run(&["pause", "--for", "2"]).status.code(), Some(2));
}

#[test]
fn a_pause_that_cannot_be_read_is_named() {
    let place = Workplace::new("");
    let file = place.home.state_dir().join("paused.json");
    std::fs::write(&file, "{").unwrap();
    let run = place.home.run(&["run"]);
    assert_eq!(run.status.code(), Some(78), "{run:?}");
    assert!(String::from_utf8_lossy(&run.stderr).contains(file.to_str().unwrap()), "{run:?}");
}
