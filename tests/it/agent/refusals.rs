//! Bad input: a clear error with the exit code that scripts know, and nothing lost or changed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use super::Workplace;
use crate::support::tree::{grow, write};

/// Runs `run` with a config, asserts the exit code and that the message says each of `words`.
fn check_refused(toml: &str, code: i32, words: &[&str]) {
    let place = Workplace::new("");
    place.home.configure(&toml.replace("REPO", &place.repo.display().to_string()));
    let output = place.home.run(&["run"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{message}");
    for word in words {
        assert!(message.contains(word), "says {word}: {message}");
    }
    assert!(output.stdout.is_empty(), "errors go to stderr");
}

#[test]
fn a_misspelt_key_is_named_with_the_file_and_what_was_meant() {
    let toml = "[[repo]]\npath = \"REPO\"\nnamespace = \"a.b.c\"\n[watch]\nsetle = \"1s\"\n";
    check_refused(toml, 78, &["stampd.toml", "setle", "settle"]);
}

#[test]
fn a_wrong_unit_is_named_with_those_that_are_right() {
    let toml =
        "[[repo]]\npath = \"REPO\"\nnamespace = \"a.b.c\"\n[watch]\nsettle = \"1 lightyear\"\n";
    check_refused(toml, 78, &["settle", "ms"]);
}

#[test]
fn a_namespace_of_two_segments_is_refused() {
    check_refused("[[repo]]\npath = \"REPO\"\nnamespace = \"a.b\"\n", 78, &["namespace", "a.b"]);
}

#[test]
fn a_repo_that_is_a_file_is_refused() {
    let repo = "[[repo]]\npath = \"REPO/../stampd.toml\"\nnamespace = \"a.b.c\"\n";
    check_refused(repo, 78, &["[repo] path", "stampd.toml is not a directory"]);
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let place = Workplace::new("[postgres]\nurl = \"postgres://u:hunter2@127.0.0.1/db\"\n");
    let output = place.home.run(&["run"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{message}");
    assert!(message.contains("password"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn plaintext_off_loopback_is_refused() {
    let repo = "[[repo]]\npath = \"REPO\"\nnamespace = \"a.b.c\"\n";
    let kafka = format!("{repo}[kafka]\nbrokers = [\"kafka.example:9092\"]\n");
    let kafka = format!("{kafka}security = \"plaintext\"\n");
    check_refused(&kafka, 78, &["plaintext", "allow_insecure"]);
}

#[test]
fn a_spool_that_is_newer_or_foreign_is_refused_and_left_alone() {
    let place = Workplace::new("");
    grow(&place.repo, 1, 1);
    assert!(place.home.start_ready().terminate().success());
    let spool = place.home.state_dir().join("spool.db");
    let newer = rusqlite::Connection::open(&spool).expect("it is SQLite");
    newer.pragma_update(None, "user_version", 999).expect("it is writable");
    drop(newer);
    let before = fs::read(&spool).expect("it is there");
    let output = place.home.run(&["run"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(message.contains("spool.db") && message.contains("newer"), "{message}");
    assert_eq!(fs::read(&spool).expect("it is there"), before);
    fs::write(&spool, b"this is no database, and that is what it stays").expect("it is writable");
    let output = place.home.run(&["run"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(message.contains("spool.db"), "{message}");
    assert!(fs::read(&spool).expect("it is there").starts_with(b"this is no database"));
}

#[test]
fn without_an_agent_status_exits_3_and_says_how_to_start_one() {
    let place = Workplace::new("");
    let output = place.home.run(&["status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stampd run"));
}

#[test]
fn verify_exits_5_with_the_paths_that_differ() {
    let place = Workplace::new("");
    grow(&place.repo, 2, 2);
    assert!(place.home.start_ready().terminate().success());
    place.home.must(&["verify"]);
    write(&place.repo, "d0001/f01.txt", "changed behind the agent's back\n");
    let output = place.home.run(&["verify"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("d0001/f01.txt"));
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn assert_denied(place: &Workplace, args: &[&str], words: &[&str]) {
    let output = place.home.unprivileged(args).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(8), "{args:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{args:?} says {word}: {message}");
    }
}

#[test]
fn a_state_directory_that_may_not_be_written_is_named_with_what_to_do() {
    let place = Workplace::new("");
    let state = place.home.state_dir();
    let words = [state.to_str().unwrap(), "[agent] state_dir"];
    set_mode(&state, 0o555);
    assert_denied(&place, &["run"], &words);
    // Not there, and where it would be made nobody may make anything.
    fs::remove_dir(&state).unwrap();
    set_mode(place.home.path(), 0o555);
    assert_denied(&place, &["run"], &words);
    set_mode(place.home.path(), 0o755);
}

/// Runs a command where the state directory lies on a read-only file system.
fn run_on_read_only(place: &Workplace, args: &[&str]) -> Output {
    let told = place.home.command(args);
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]);
    command.arg(place.home.state_dir()).arg(told.get_program()).args(told.get_args());
    let variables = told.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(variables).output().unwrap()
}

#[test]
fn a_read_only_file_system_is_named_and_what_it_holds_can_still_be_read() {
    let place = Workplace::new("");
    write(&place.repo, "a", "1");
    let assert_readable = || {
        let output = run_on_read_only(&place, &["run"]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(8), "{message}");
        let state = place.home.state_dir();
        for word in [state.to_str().unwrap(), "[agent] state_dir", "Read-only file system"] {
            assert!(message.contains(word), "{message}");
        }
        let log = run_on_read_only(&place, &["log", "--all", "--format", "jsonl"]);
        assert_eq!(
            String::from_utf8_lossy(&log.stdout),
            place.home.must(&["log", "--all", "--format", "jsonl"])
        );
        assert_eq!(run_on_read_only(&place, &["verify"]).status.code(), Some(0));
    };
    assert!(place.home.start_ready().terminate().success());
    assert_readable();
    // With a log that nobody has written back.
    place.home.start_ready().kill();
    assert_readable();
    assert!(place.home.start_ready().terminate().success());
    assert_eq!(place.kinds("a"), ["created"]);
}

/// Once started by another user, such as root, an agent leaves files that this one may not touch.
#[test]
fn a_spool_of_another_user_is_named_with_what_to_do() {
    let place = Workplace::new("");
    write(&place.repo, "a", "1");
    assert!(place.home.start_ready().terminate().success());
    let state = place.home.state_dir();
    for file in fs::read_dir(&state).unwrap() {
        set_mode(&file.unwrap().path(), 0o000);
    }
    set_mode(&state, 0o777);
    let path = place.repo.join("a");
    let words = [state.to_str().unwrap(), "[agent] state_dir"];
    assert_denied(&place, &["run"], &words);
    assert_denied(&place, &["log", path.to_str().unwrap()], &words[..1]);
}
