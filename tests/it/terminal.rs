//! What a person sees on a real terminal, and what a pipe gets instead.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use stampd::control::{Reply, Request};
use stampd::model::status::{
    AgentState, Coverage, RepoState, RepoStatus, SCHEMA, SpoolStatus, Status,
};

use super::agent::Workplace;
use super::support::answering::Answering;
use super::support::process::Home;
use super::support::terminal::{Session, Shows, shown};

const GREEN: &str = "\x1b[32mhealthy\x1b[0m";
const CLEAR: &str = "\x1b[H\x1b[2J";

/// A name that would set a terminal's title, ring, and turn the rest of the line around.
const EVIL: &[u8] = b"evil\x1b]0;title\x07\xe2\x80\xaename";
const EVIL_SHOWN: &str = r"evil\u{1b}]0;title\u{7}\u{202e}name";

fn with(place: &Workplace, args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = place.home.command(args);
    command.envs(variables.iter().copied());
    command
}

#[test]
fn status_is_coloured_on_a_terminal_unless_someone_says_no() {
    let place = Workplace::new("");
    let agent = place.home.start_ready();
    let check = |args: &[&str], variables: &[(&str, &str)], coloured: bool| {
        let shown = shown(with(&place, args, variables), Shows::Out);
        assert_eq!(shown.contains(GREEN), coloured, "{args:?} {variables:?}: {shown:?}");
        assert_eq!(shown.contains('\x1b'), coloured, "{args:?} {variables:?}: {shown:?}");
    };
    check(&["status"], &[], true);
    check(&["status"], &[("NO_COLOR", "1")], false);
    check(&["status"], &[("NO_COLOR", "")], true);
    check(&["status", "--color", "never"], &[], false);
    check(&["status", "--color", "always"], &[("NO_COLOR", "1")], true);
    assert!(!place.home.must(&["status"]).contains('\x1b'), "a pipe gets no colours");
    assert!(place.home.must(&["status", "--color", "always"]).contains(GREEN));
    assert!(agent.terminate().success());
}

#[test]
fn status_watch_draws_the_screen_anew_until_it_is_interrupted() {
    let place = Workplace::new("");
    let agent = place.home.start_ready();
    let mut session = Session::start(place.home.command(&["status", "--watch"]), Shows::Both);
    session.wait(|shown| shown.matches(CLEAR).count() >= 3);
    kill_process(Pid::from_raw(session.pid().cast_signed()).unwrap(), Signal::INT).unwrap();
    let (shown, status) = session.end();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{shown:?}");
    assert!(agent.terminate().success());
}

#[test]
fn hashing_shows_rate_time_left_and_path_on_a_terminal_and_a_pipe_gets_digests_alone() {
    let home = Home::new();
    home.configure("");
    let name = Path::new(std::ffi::OsStr::from_bytes(EVIL));
    File::create(home.path().join(name)).unwrap().set_len(300 << 20).unwrap();
    let command = || {
        let mut command = home.command(&["hash"]);
        command.arg(name).current_dir(home.path());
        command
    };
    let bar = shown(command(), Shows::Err);
    for part in [" of 300.00 MiB", "iB/s", " left ", EVIL_SHOWN] {
        assert!(bar.contains(part), "{part}: {bar:?}");
    }
    let lines = shown(command(), Shows::Out);
    assert!(lines.ends_with("  evil\\u{1b}]0;title\\u{7}\\u{202e}name\r\n"), "{lines:?}");
    for seen in [&bar, &lines] {
        assert!(!seen.contains("\x1b]") && !seen.contains('\u{202e}'), "{seen:?}");
    }
    let piped = command().output().unwrap();
    assert_eq!(String::from_utf8_lossy(&piped.stderr), "");
    // What a program reads is `b3sum`'s to the byte.
    assert!(piped.stdout.ends_with(EVIL_LINE), "{piped:?}");
}

const EVIL_LINE: &[u8] = b"  evil\x1b]0;title\x07\xe2\x80\xaename\n";

/// The agent answers once it was asked three times how far it is.
#[test]
fn a_scan_shows_how_much_is_left_and_which_path_is_next_on_a_terminal() {
    let home = Home::new();
    home.configure("");
    let (mut scan, mut looks) = (None, 0);
    let agent = Answering::with(&home, move |(request, sender)| {
        if request != Request::Status {
            scan = Some(sender);
            return;
        }
        looks += 1;
        drop(sender.send(Reply::Status(Box::new(comparing(4_000 - looks * 1_000)))));
        if looks == 3 {
            drop(scan.take().map(|scan| scan.send(Reply::Done)));
        }
    });
    let told = shown(home.command(&["scan", "--wait"]), Shows::Err);
    for part in ["0 of 3000", "2000 of 3000", "/s", " left ", EVIL_SHOWN] {
        assert!(told.contains(part), "{part}: {told:?}");
    }
    assert!(told.ends_with("every difference is stamped\r\n"), "{told:?}");
    agent.asked();
    let agent = Answering::start(&home, Reply::Done);
    let piped = home.run(&["scan", "--wait"]);
    assert_eq!(String::from_utf8_lossy(&piped.stderr), "every difference is stamped\n");
    assert_eq!(agent.asked().len(), 1, "nobody asks how far it is for a pipe");
}

/// The status of an agent that has so many paths left.
fn comparing(pending: u64) -> Status {
    let repo = RepoStatus {
        name: "app".to_owned(),
        path: "/src/app".to_owned(),
        namespace: "a.b.c".parse().unwrap(),
        state: RepoState::Starting,
        reason: None,
        files: 3_000,
        pending,
        at: Some(String::from_utf8(EVIL.to_vec()).unwrap()),
        stamps: 0,
        last_change: None,
        coverage: Coverage::default(),
    };
    Status {
        schema: SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        state: AgentState::Starting,
        uptime_s: 5,
        repos: vec![repo],
        sinks: Vec::new(),
        spool: SpoolStatus::default(),
        api: None,
        onextree: None,
        intelligence: None,
        paused: None,
    }
}

#[test]
fn paths_are_escaped_wherever_they_are_shown_to_a_person() {
    let place = Workplace::new("");
    let name = Path::new(std::ffi::OsStr::from_bytes(EVIL));
    std::fs::write(place.repo.join(name), "1").unwrap();
    let agent = place.home.start_ready();
    let path = place.repo.join(name);
    let path = path.to_str().unwrap();
    std::fs::write(place.repo.join(name), "2").unwrap();
    place.scan();
    for args in [&["log", path][..], &["log", "--all"], &["verify"], &["explain", path]] {
        let (seen, _) = Session::start(place.home.command(args), Shows::Both).end();
        assert!(!seen.contains("\x1b]") && !seen.contains('\u{202e}'), "{args:?}: {seen:?}");
        if args[0] != "verify" {
            assert!(seen.contains(EVIL_SHOWN), "{args:?}: {seen:?}");
        }
    }
    assert!(agent.terminate().success());
}
