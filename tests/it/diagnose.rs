//! `doctor` and `bugreport`: what is wrong is named with what mends it, and nothing private gets out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::agent::Workplace;
use super::support::schema;
use super::support::tree::write;

/// What the doctor finds of one thing: its level, and text and remedy together.
fn findings(place: &Workplace, check: &str, code: i32) -> Vec<(String, String)> {
    let output = place.home.run(&["doctor", "--format", "json"]);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_check = document["findings"].as_array().unwrap().iter();
    let of_check = of_check.filter(|finding| finding["check"] == check);
    let told = |finding: &Value| {
        (
            text(&finding["level"]),
            format!("{} → {}", text(&finding["text"]), text(&finding["mend"])),
        )
    };
    of_check.map(told).collect()
}

/// Asserts that exactly this is found of one thing.
fn check(place: &Workplace, check: &str, code: i32, level: &str, told: &str) {
    let found = findings(place, check, code);
    let is_it = |(is, text): &(String, String)| is == level && text.contains(told);
    assert!(found.iter().any(is_it), "{check}: {found:?}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_healthy_agent_has_nothing_that_fails() {
    let place = Workplace::new("");
    write(&place.repo, "a", "1");
    set_mode(&place.home.state_dir(), 0o700);
    set_mode(&place.home.config_file(), 0o600);
    let agent = place.home.start_ready();
    check(&place, "agent", 0, "ok", "it is healthy");
    check(&place, "version", 0, "ok", stampd::VERSION);
    check(&place, "service", 0, "ok", "by other means");
    check(&place, "spool", 0, "ok", "stamps are in it");
    check(&place, "disk", 0, "ok", "are free");
    let human = place.home.must(&["doctor"]);
    assert!(human.lines().any(|line| line == "ok  agent    it is healthy"), "{human}");
    place.home.must(&["pause"]);
    check(&place, "agent", 0, "warn", "→ stampd resume");
    assert!(agent.terminate().success());
}

#[test]
fn what_is_wrong_is_named_with_what_mends_it() {
    let place = Workplace::new("");
    check(&place, "agent", 4, "fail", "none is running → stampd run");
    set_mode(&place.home.state_dir(), 0o777);
    check(&place, "state", 4, "fail", "→ chmod 700 '");
    set_mode(&place.home.config_file(), 0o666);
    check(&place, "config", 4, "fail", "→ chmod go-w '");
    fs::remove_dir_all(&place.repo).unwrap();
    check(&place, "repos", 4, "fail", "stampd remove NAME");
    fs::write(place.home.state_dir().join("spool.db"), "no spool").unwrap();
    check(&place, "spool", 4, "fail", "not a spool of stampd");
    place.home.configure("[watch]\nsettel = \"1s\"\n");
    check(&place, "config", 4, "fail", "did you mean settle");
}

#[test]
fn roads_and_secrets_are_looked_at() {
    let place = Workplace::new("");
    let secret = place.home.path().join("pg.password");
    fs::write(&secret, "hush").unwrap();
    set_mode(&secret, 0o644);
    place.configure(&format!(
        "[postgres]\nurl = \"postgres://ada@127.0.0.1:1/x?sslmode=disable\"\n\
         password = {{ file = \"{}\" }}\n",
        secret.display()
    ));
    check(&place, "road", 4, "warn", "→ stampd netcheck postgres");
    check(&place, "secret", 4, "ok", "[postgres] password is there");
    check(&place, "secret", 4, "warn", "→ chmod 600 '");
    fs::remove_file(&secret).unwrap();
    check(&place, "secret", 4, "fail", "[postgres] password");
}

#[test]
fn a_report_lists_what_is_in_it_and_holds_nothing_private() {
    let mut place = Workplace::new("");
    place.home.set("PG_PASSWORD", "hush+sh3kr1t");
    let logs = place.home.path().join("zqlogs");
    let more = format!(
        "[postgres]\nurl = \"postgres://zqada@zqhost.example:1/zqbase?sslmode=verify-full\"\n\
         password = {{ env = \"PG_PASSWORD\" }}\n[telemetry]\nlog_dir = \"{}\"\n",
        logs.display()
    );
    place.configure(&more);
    write(&place.repo, "zqplans/zqnotes.txt", "1");
    fs::create_dir(&logs).unwrap();
    let planted = "WARN stampd::hash: directory polled path=zqplans error=open \
                   /srv/zqplans/zqnotes.txt: hush+sh3kr1t is refused\n";
    fs::write(logs.join("stampd.2026-01-01.log"), planted).unwrap();
    let agent = place.home.start_ready();
    let out = place.home.path().join("out.tar");
    let args = ["bugreport", "--output", out.to_str().unwrap()];
    let listed = place.home.must(&[&args[..], &["--list"]].concat());
    assert!(!out.exists());
    let written = place.home.must(&args);
    assert_eq!(names(&listed), names(&written));
    let tar = Command::new("tar").arg("-tf").arg(&out).output().unwrap();
    let inside = String::from_utf8(tar.stdout).unwrap();
    assert_eq!(inside.lines().collect::<Vec<_>>(), names(&listed));
    assert_eq!(names(&listed).len(), 6, "{listed}");
    let text = Command::new("tar").arg("-xOf").arg(&out).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("\"state\": \"healthy\"") && text.contains("directory polled"), "{text}");
    let home = place.home.path().display().to_string();
    for private in ["hush", "sh3kr1t", "zq", home.as_str()] {
        let line = text.lines().find(|line| line.contains(private));
        assert_eq!(line, None, "{private}");
    }
    let before = fs::read(&out).unwrap();
    let again = place.home.run(&args);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("--output"));
    assert_eq!(fs::read(&out).unwrap(), before);
    let json = place.home.run(&["bugreport", "--list", "--format", "json"]);
    assert_eq!(schema::hold(&json.stdout).into_iter().next().unwrap(), "stampd.bugreport/v1");
    assert!(agent.terminate().success());
}

fn names(listed: &str) -> Vec<&str> {
    listed.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn a_report_is_made_of_what_there_is_when_nothing_works() {
    let place = Workplace::new("");
    place.home.configure("[watch]\nsettel = \"1s\"\n");
    let out = place.home.path().join("out.tar");
    place.home.must(&["bugreport", "-o", out.to_str().unwrap()]);
    let text = Command::new("tar").arg("-xOf").arg(&out).output().unwrap();
    assert!(String::from_utf8_lossy(&text.stdout).contains("did you mean settle"));
    let nowhere = place.home.path().join("none/out.tar");
    assert_eq!(
        place.home.run(&["bugreport", "-o", nowhere.to_str().unwrap()]).status.code(),
        Some(7)
    );
}
