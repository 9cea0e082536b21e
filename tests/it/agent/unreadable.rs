//! What a user may not read any more is out of sight, and that is no deletion.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Workplace;
use crate::support::process::Agent;
use crate::support::tree::{grow, write};
use crate::support::wait::wait_until;

fn set_mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

fn start(place: &Workplace) -> Agent {
    let mut agent = Agent::spawn(place.home.unprivileged(&["run"]), place.home.path(), "agent");
    agent.wait_ready();
    agent
}

fn assert_nothing_deleted(place: &Workplace) {
    let deleted: Vec<_> =
        place.log().into_iter().filter(|body| body["kind"] == "deleted").collect();
    assert!(deleted.is_empty(), "{deleted:#?}");
}

#[test]
fn a_directory_that_becomes_unreadable_deletes_nothing() {
    let place = Workplace::new("");
    place.home.give_away();
    grow(&place.repo, 3, 3);
    let agent = start(&place);
    let dir = place.repo.join("d0001");
    set_mode(&dir, 0o000);
    place.scan();
    assert_eq!(place.kinds("d0001/f00.txt"), ["created", "skipped"]);
    assert!(agent.terminate().success());
    assert_nothing_deleted(&place);
    // Nor does a start that finds it so, and what it holds is taken up when it can be read again.
    let agent = start(&place);
    assert_nothing_deleted(&place);
    set_mode(&dir, 0o755);
    write(&dir, "f00.txt", "changed out of sight\n");
    place.scan();
    place.assert_log_is_disk(&[]);
    assert!(agent.terminate().success());
}

#[test]
fn a_root_that_becomes_unreadable_deletes_nothing() {
    let place = Workplace::new("");
    place.home.give_away();
    grow(&place.repo, 2, 2);
    let agent = start(&place);
    set_mode(&place.repo, 0o000);
    // Whether it can be compared at all is not the question.
    place.home.run(&["scan", "--wait", "--timeout", "10s"]);
    assert_nothing_deleted(&place);
    set_mode(&place.repo, 0o755);
    write(&place.repo, "d0000/f00.txt", "changed\n");
    wait_until("it is seen again", || place.kinds("d0000/f00.txt").len() > 1);
    place.scan();
    place.assert_log_is_disk(&[]);
    assert!(agent.terminate().success());
}
