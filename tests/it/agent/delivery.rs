//! The agent with both sinks, against real servers: exactly once in effect, whatever happens.

use std::time::{Duration, Instant};

use super::{Workplace, assert_gapless, text};
use crate::support::audit::assert_hold;
use crate::support::bed;
use crate::support::kafka::Topic;
use crate::support::postgres::{Address, Database};
use crate::support::process::moment;
use crate::support::tree::{grow, write};
use crate::support::wait::wait_until;

/// A database that is migrated, with an agent's login, and a topic.
pub struct Servers {
    pub database: Database,
    login: Address,
    pub topic: Topic,
}

impl Servers {
    pub fn new(place: &mut Workplace) -> Self {
        let mut database = Database::create();
        place.home.set("ADMIN_PASSWORD", &database.admin().password);
        place.home.configure(&format!(
            "[postgres]\nurl = {:?}\npassword = {{ env = \"ADMIN_PASSWORD\" }}\n",
            database.admin().url_without_tls()
        ));
        place.home.must(&["migrate"]);
        let login = database.login("stampd_agent");
        place.home.set("AGENT_PASSWORD", &login.password);
        Self { database, login, topic: Topic::create(1) }
    }

    fn postgres(&self) -> String {
        format!(
            "[postgres]\nurl = {:?}\npassword = {{ env = \"AGENT_PASSWORD\" }}\n",
            self.login.url_without_tls()
        )
    }

    fn kafka(&self) -> String {
        let (broker, topic) = (bed("STAMPD_TEST_KAFKA"), self.topic.name());
        format!("[kafka]\nbrokers = [{broker:?}]\ntopic = {topic:?}\n")
    }

    pub fn both(&self) -> String {
        format!("{}\n{}", self.postgres(), self.kafka())
    }

    /// Asserts that both sinks hold exactly the stamps of a log.
    pub fn assert_hold(&self, log: &str) {
        assert_hold(&self.database.admin(), self.topic.read_to_end(), log);
    }

    fn count(&self, sql: &str) -> i64 {
        self.database.admin().value(sql)
    }
}

#[test]
fn a_changed_file_becomes_one_row_and_one_record() {
    let mut place = Workplace::new("");
    let servers = Servers::new(&mut place);
    place.configure(&servers.both());
    grow(&place.repo, 10, 10);
    let agent = place.home.start_ready();
    write(&place.repo, "d0000/f00.txt", "changed\n");
    place.scan();
    place.home.must(&["sync", "--wait", "--timeout", "60s"]);
    servers.assert_hold(&place.home.must(&["log", "--all", "--format", "jsonl"]));
    assert_eq!(servers.count("SELECT count(*) FROM metadata_stamps"), 101);
    assert_eq!(servers.count("SELECT size FROM streams"), place.log().len() as i64);
    let status = place.status();
    assert_eq!(status["state"], "healthy", "{status}");
    assert!(status["sinks"].as_array().expect("sinks").iter().all(|sink| sink["queued"] == 0));
    assert!(agent.terminate().success());
}

#[test]
fn killed_at_random_moments_both_sinks_hold_each_stamp_once() {
    let mut place = Workplace::new("");
    let servers = Servers::new(&mut place);
    place.configure(&servers.both());
    for round in 0..6 {
        let agent = place.home.start_ready();
        let dir = place.repo.join(format!("round{round}"));
        std::thread::scope(|scope| {
            scope.spawn(|| grow(&dir, 30, 10));
            std::thread::sleep(moment(round, Duration::from_millis(900)));
            agent.kill();
        });
    }
    let agent = place.home.start_ready();
    place.scan();
    place.home.must(&["sync", "--wait", "--timeout", "60s"]);
    place.assert_log_is_disk(&[]);
    let log = place.home.must(&["log", "--all", "--format", "jsonl"]);
    assert_gapless(&super::bodies(&log));
    servers.assert_hold(&log);
    assert!(agent.terminate().success());
}

#[test]
fn offline_first_and_servers_later() {
    let mut place = Workplace::new("");
    let servers = Servers::new(&mut place);
    place.configure("");
    grow(&place.repo, 10, 10);
    let agent = place.home.start_ready();
    write(&place.repo, "first hour", "of the outage");
    place.scan();
    assert!(agent.terminate().success());
    place.configure(&servers.both());
    let agent = place.home.start_ready();
    place.home.must(&["sync", "--wait", "--timeout", "60s"]);
    servers.assert_hold(&place.home.must(&["log", "--all", "--format", "jsonl"]));
    assert!(agent.terminate().success());
}

#[test]
fn with_sinks_down_it_is_healthy_says_why_and_stops_at_once() {
    let place = Workplace::new(
        "[postgres]\nurl = \"postgres://nobody@127.0.0.1:9/none?sslmode=disable\"\n\
         [kafka]\nbrokers = [\"127.0.0.1:9\"]\n",
    );
    write(&place.repo, "a", "1");
    let agent = place.home.start_ready();
    wait_until("both sinks are offline and say why", || {
        let status = place.status();
        let sinks = status["sinks"].as_array().cloned().unwrap_or_default();
        sinks.len() == 2
            && sinks.iter().all(|sink| sink["state"] == "offline" && sink["reason"].is_string())
    });
    let status = place.home.run(&["status"]);
    assert_eq!(status.status.code(), Some(0), "a sink offline is healthy");
    let sync = place.home.run(&["sync", "--wait", "--timeout", "100ms"]);
    assert_eq!(sync.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&sync.stderr).contains("postgres"), "{sync:?}");
    let asked = Instant::now();
    assert!(agent.terminate().success());
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(5), "a stop with sinks down takes under 5 s: {took:?}");
}

#[test]
fn a_database_newer_than_the_binary_is_left_alone() {
    let mut place = Workplace::new("");
    let servers = Servers::new(&mut place);
    servers.database.batch("INSERT INTO stampd_schema VALUES (99, 'future', '')");
    place.configure(&format!(
        "[postgres]\nurl = {:?}\npassword = {{ env = \"ADMIN_PASSWORD\" }}\n",
        servers.database.admin().url_without_tls()
    ));
    for args in [&["migrate"][..], &["migrate", "--check"]] {
        let output = place.home.run(args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{args:?}: {message}");
        assert!(message.contains("upgrade stampd"), "{args:?}: {message}");
    }
    assert_eq!(servers.count("SELECT count(*) FROM stampd_schema WHERE version = 99"), 1);
}

#[test]
fn a_database_that_was_never_migrated_parks_the_sink_and_says_what_to_type() {
    let mut place = Workplace::new("");
    let database = Database::create();
    place.home.set("ADMIN_PASSWORD", &database.admin().password);
    place.configure(&format!(
        "[postgres]\nurl = {:?}\npassword = {{ env = \"ADMIN_PASSWORD\" }}\n",
        database.admin().url_without_tls()
    ));
    let agent = place.home.start_ready();
    wait_until("the sink is parked", || place.status()["sinks"][0]["state"] == "parked");
    let status = place.status();
    let reason = text(&status["sinks"][0]["reason"]);
    assert!(reason.contains("stampd migrate"), "{reason}");
    assert_eq!(place.home.run(&["status"]).status.code(), Some(4));
    place.home.must(&["migrate"]);
    assert!(agent.terminate().success());
}
