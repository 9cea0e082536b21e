//! Starting, stopping, crashing and finding out afterwards.

use std::fs;
use std::time::Duration;

use super::{Workplace, assert_gapless, text};
use crate::support::process::moment;
use crate::support::tree::{grow, write};
use crate::support::wait::{wait_for, wait_until};

#[test]
fn the_first_comparison_is_durable_when_the_agent_says_ready() {
    let place = Workplace::new("");
    grow(&place.repo, 40, 10);
    let agent = place.home.start_ready();
    place.assert_log_is_disk(&[]);
    let status = place.status();
    assert_eq!(status["schema"], "stampd.status/v1");
    assert_eq!(status["state"], "healthy", "{status}");
    assert_eq!(status["repos"][0]["state"], "watching");
    assert_eq!(status["repos"][0]["files"], 400);
    assert!(agent.terminate().success());
    let log = place.log();
    assert_gapless(&log);
    assert_eq!(log[0]["kind"], "opened");
    assert_eq!(log[1]["kind"], "started");
    assert_eq!(log.last().expect("not empty")["kind"], "stopped");
}

#[test]
fn changes_made_while_the_agent_was_not_running_are_stamped_at_the_next_start() {
    let place = Workplace::new("");
    grow(&place.repo, 5, 5);
    assert!(place.home.start_ready().terminate().success());
    write(&place.repo, "d0000/f00.txt", "changed\n");
    write(&place.repo, "new/file.txt", "new\n");
    fs::remove_file(place.repo.join("d0001/f01.txt")).expect("it is there");
    fs::remove_dir_all(place.repo.join("d0002")).expect("it is there");
    fs::rename(place.repo.join("d0003"), place.repo.join("moved")).expect("it is there");
    let agent = place.home.start_ready();
    place.assert_log_is_disk(&[]);
    assert_eq!(place.kinds("d0000/f00.txt"), ["created", "modified"]);
    assert_eq!(place.kinds("d0001/f01.txt"), ["created", "deleted"]);
    assert_eq!(place.kinds("new/file.txt"), ["created"]);
    assert_eq!(place.kinds("moved/f00.txt"), ["renamed"]);
    assert_eq!(place.kinds("d0003/f00.txt"), ["created"]);
    assert!(agent.terminate().success());
}

#[test]
fn a_restart_without_changes_stamps_no_path() {
    let place = Workplace::new("");
    grow(&place.repo, 5, 5);
    assert!(place.home.start_ready().terminate().success());
    let before = place.log().len();
    assert!(place.home.start_ready().terminate().success());
    let kinds: Vec<String> = place.log()[before..].iter().map(|body| text(&body["kind"])).collect();
    assert_eq!(kinds, ["started", "stopped"]);
}

#[test]
fn the_start_after_a_run_says_when_that_run_last_wrote() {
    let place = Workplace::new("");
    write(&place.repo, "a", "1");
    place.home.start_ready().kill();
    let last = text(&place.log().last().expect("not empty")["stamped"]);
    let agent = place.home.start_ready();
    let log = place.log();
    let started = log.iter().rev().find(|body| body["kind"] == "started").expect("it started");
    assert_eq!(started["since"], last);
    assert!(agent.terminate().success());
}

#[test]
fn killed_at_random_moments_it_loses_nothing_and_doubles_nothing() {
    let place = Workplace::new("");
    for round in 0..8 {
        let agent = place.home.start_ready();
        let dir = place.repo.join(format!("round{round}"));
        std::thread::scope(|scope| {
            scope.spawn(|| grow(&dir, 20, 10));
            std::thread::sleep(moment(round, Duration::from_millis(400)));
            agent.kill();
        });
    }
    let agent = place.home.start_ready();
    place.scan();
    place.assert_log_is_disk(&[]);
    let log = place.log();
    assert_gapless(&log);
    let created = log.iter().filter(|body| body["kind"] == "created").count();
    assert_eq!(created, 8 * 200, "each of the files is created once");
    assert!(agent.terminate().success());
}

#[test]
fn a_missing_root_is_a_state_and_deletes_nothing() {
    let place = Workplace::new("");
    grow(&place.repo, 3, 3);
    let agent = place.home.start_ready();
    let away = place.home.path().join("away");
    fs::rename(&place.repo, &away).expect("it is there");
    wait_until("the repo is absent", || place.status()["repos"][0]["state"] == "absent");
    assert!(place.log().iter().all(|body| body["kind"] != "deleted"));
    fs::rename(&away, &place.repo).expect("it is there");
    wait_until("the repo is watched", || place.status()["repos"][0]["state"] == "watching");
    write(&place.repo, "d0000/f00.txt", "changed\n");
    wait_until("the change is stamped", || place.kinds("d0000/f00.txt") == ["created", "modified"]);
    let log = place.log();
    assert!(log.iter().all(|body| body["kind"] != "deleted"));
    let coverage: Vec<_> = log.iter().filter(|body| body["kind"] == "coverage").collect();
    assert_eq!(coverage.len(), 2, "the gap opened and closed: {coverage:?}");
    assert_eq!(coverage[0]["since"], coverage[1]["since"]);
    assert!(agent.terminate().success());
}

#[test]
fn a_repo_that_is_not_there_yet_is_taken_up_when_it_appears() {
    let place = Workplace::new("");
    fs::remove_dir(&place.repo).expect("it is empty");
    let agent = place.home.start_ready();
    assert_eq!(place.status()["repos"][0]["state"], "absent");
    assert_eq!(place.home.run(&["config", "check"]).status.code(), Some(78));
    write(&place.repo, "a", "1");
    wait_until("the file is stamped", || place.kinds("a") == ["created"]);
    assert!(agent.terminate().success());
}

#[test]
fn a_root_that_is_a_symbolic_link_is_named_and_not_followed() {
    let place = Workplace::new("");
    let elsewhere = place.home.path().join("elsewhere");
    fs::rename(&place.repo, &elsewhere).expect("it is there");
    write(&elsewhere, "a", "1");
    std::os::unix::fs::symlink(&elsewhere, &place.repo).expect("the name is free");
    let agent = place.home.start_ready();
    let repo = &place.status()["repos"][0];
    assert_eq!(repo["state"], "absent");
    let reason = text(&repo["reason"]);
    let named = format!("symbolic link to {}", elsewhere.display());
    assert!(reason.contains(&named), "{reason}");
    let check = place.home.run(&["config", "check"]);
    assert_eq!(check.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&check.stderr).contains(&named), "{check:?}");
    fs::remove_file(&place.repo).expect("it is there");
    fs::rename(&elsewhere, &place.repo).expect("the name is free");
    wait_until("the file is stamped", || place.kinds("a") == ["created"]);
    assert!(agent.terminate().success());
}

#[test]
fn a_second_agent_on_the_same_spool_is_refused_by_name() {
    let place = Workplace::new("");
    let agent = place.home.start_ready();
    let second = place.home.run(&["run"]);
    assert_eq!(second.status.code(), Some(75), "{second:?}");
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains(&agent.pid().to_string()), "names the holder: {message}");
    assert!(agent.terminate().success());
}

#[test]
fn the_log_grows_while_a_file_is_written_forever() {
    let place = Workplace::new("[watch]\nsettle_max = \"1s\"\n");
    let agent = place.home.start_ready();
    let path = write(&place.repo, "endless", "0");
    let mut writes = 0_u64;
    let stamped = wait_for("the file is stamped though it is never quiet", || {
        writes += 1;
        fs::write(&path, writes.to_string()).expect("it is there");
        let kinds = place.kinds("endless");
        (!kinds.is_empty()).then_some(kinds)
    });
    assert!(["created", "unstable"].contains(&stamped[0].as_str()), "{stamped:?}");
    place.scan();
    place.assert_log_is_disk(&[]);
    assert!(agent.terminate().success());
}
