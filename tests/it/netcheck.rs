//! `stampd netcheck`: the rung that fails is named, with what to do, and decides the exit code.

use std::net::TcpListener;

use serde_json::Value;

use crate::agent::Workplace;
use crate::support::bed;
use crate::support::broker::Broker;
use crate::support::guarded::{Guarded, Right};
use crate::support::kafka::Topic;
use crate::support::postgres::Database;
use crate::support::process::Home;
use crate::support::wait::wait_until;

/// Checks a road with this config: the exit code, the rungs that hold, and the one that does not with
/// its text.
fn check(config: &str, road: &str) -> (Option<i32>, Vec<String>, Option<(String, String)>) {
    let mut home = Home::new();
    home.set("LOGIN_PASSWORD", &bed("STAMPD_TEST_PASSWORD"));
    home.set("ALICE", "alice");
    home.configure(config);
    let output = home.run(&["netcheck", road, "--format", "json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let document: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(document["schema"], "stampd.netcheck/v1");
    let (mut held, mut failed) = (Vec::new(), None);
    for rung in document["roads"][0]["rungs"].as_array().unwrap() {
        let text = |key: &str| rung[key].as_str().unwrap().to_owned();
        if rung["holds"] == true {
            held.push(text("rung"));
        } else {
            assert_eq!(failed, None, "nothing is tried above the rung that fails");
            failed = Some((text("rung"), text("text")));
        }
    }
    assert_eq!(document["roads"][0]["holds"], failed.is_none());
    (output.status.code(), held, failed)
}

/// Checks that a road fails on this rung, with these words, and ends with this code.
fn fails(config: &str, road: &str, rung: &str, words: &[&str], code: i32) {
    let (exit, held, failed) = check(config, road);
    let (at, text) = failed.unwrap_or_else(|| panic!("{held:?} hold, and not one fails"));
    assert_eq!(at, rung, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert_eq!(exit, Some(code), "{text}");
}

fn kafka(broker: &str, rest: &str) -> String {
    format!("[kafka]\nbrokers = [{broker:?}]\n{rest}")
}

fn sasl(password: &str) -> String {
    let rest = format!(
        "security = \"sasl_ssl\"\nusername = {:?}\npassword = {{ env = {password:?} }}\n\
         ca_file = {:?}\n",
        bed("STAMPD_TEST_USER"),
        bed("STAMPD_TEST_CA")
    );
    kafka(&bed("STAMPD_TEST_KAFKA_SASL"), &rest)
}

#[test]
fn every_rung_to_kafka_is_told_when_all_hold() {
    let (code, held, failed) = check(&kafka(&bed("STAMPD_TEST_KAFKA"), ""), "kafka");
    assert_eq!((code, failed), (Some(0), None));
    let rungs = ["dns", "tcp", "version", "login", "identity", "listener", "application"];
    assert_eq!(held, rungs);
    let (code, held, failed) = check(&sasl("LOGIN_PASSWORD"), "kafka");
    assert_eq!((code, failed), (Some(0), None));
    let with_tls = [&rungs[..2], &["tls"], &rungs[2..]].concat();
    assert_eq!(held, with_tls);
}

#[test]
fn a_name_without_an_address_and_a_closed_port_are_told_apart() {
    let nowhere = kafka("kafka.invalid:9092", "security = \"ssl\"\n");
    let (code, _, failed) = check(&nowhere, "kafka");
    assert_eq!(code, Some(75));
    assert!(["dns", "route"].contains(&failed.unwrap().0.as_str()));
    fails(&kafka("127.0.0.1:9", ""), "kafka", "tcp", &["nothing listens", "start"], 75);
    let postgres = "[postgres]\nurl = \"postgres://a@127.0.0.1:9/b?sslmode=disable\"\n";
    fails(postgres, "postgres", "tcp", &["nothing listens"], 75);
    let bridge = "[bridge]\nurl = \"http://127.0.0.1:9\"\ntoken = { env = \"LOGIN_PASSWORD\" }\n";
    fails(bridge, "bridge", "tcp", &["nothing listens"], 75);
}

#[test]
fn tls_where_there_is_none_and_none_where_there_is_are_named() {
    let (plain, encrypted) = (bed("STAMPD_TEST_KAFKA"), bed("STAMPD_TEST_KAFKA_SASL"));
    let to_plain = kafka(&plain, "security = \"ssl\"\n");
    fails(&to_plain, "kafka", "tls", &["TLS with"], 75);
    let to_encrypted = kafka(&encrypted, "security = \"plaintext\"\n");
    fails(&to_encrypted, "kafka", "version", &["expects TLS", "[kafka] security"], 78);
}

#[test]
fn a_wrong_password_is_a_matter_for_a_person() {
    fails(&sasl("HOME"), "kafka", "login", &["[kafka] username, password"], 78);
}

#[test]
fn a_server_that_says_nothing_is_told_from_one_that_is_not_there() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    fails(&kafka(&address, ""), "kafka", "identity", &["does not say who it is"], 75);
}

/// One broker for all that rights decide: it takes seconds to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_that_is_missing_is_named_and_the_sink_parks_until_it_is_given() {
    let guarded = Guarded::start().await;
    let topic = Topic::named("dev.stamps", 1, guarded.of_the_owner());
    let road = |topic: &str| {
        let login = "security = \"sasl_plaintext\"\nmechanism = \"PLAIN\"\nusername = \"alice\"\n\
                     password = { env = \"ALICE\" }\n";
        kafka(&guarded.0.address(), &format!("topic = {topic:?}\n{login}"))
    };
    let lacks =
        |topic: &str, words: &[&str]| fails(&road(topic), "kafka", "application", words, 78);
    let mut place = Workplace::new(&road(topic.name()));
    place.home.set("ALICE", "alice");
    let agent = place.home.start_ready();
    let parked = |word: &str| {
        wait_until(&format!("it is parked for {word}"), || {
            let sink = place.status()["sinks"][0].clone();
            let reason = sink["reason"].as_str().unwrap_or_default().to_owned();
            sink["state"] == "parked" && reason.contains(word)
        });
    };

    lacks(topic.name(), &["WRITE and DESCRIBE", topic.name()]);
    parked("grant this user WRITE and DESCRIBE on the topic dev.stamps");
    guarded.allow(Right::Describe, topic.name());
    lacks(topic.name(), &["WRITE", topic.name()]);
    lacks("dev.missing", &["WRITE and DESCRIBE", "dev.missing"]);
    guarded.allow(Right::Describe, "dev.missing");
    lacks("dev.missing", &["does not exist and cannot be created", "kafka-topics.sh"]);
    guarded.allow(Right::Create, "dev.missing");
    let (code, _, failed) = check(&road("dev.missing"), "kafka");
    assert_eq!((code, failed), (Some(0), None));

    guarded.allow(Right::Write, topic.name());
    let (code, held, failed) = check(&road(topic.name()), "kafka");
    assert_eq!((code, failed), (Some(0), None), "{held:?}");
    place.home.must(&["sync", "--wait", "--timeout", "60s"]);
    let stamps = place.log().len();
    assert_eq!(topic.read_to_end().len(), stamps, "the questions left nothing on the topic");
    assert!(agent.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_advertised_address_that_leads_nowhere_is_named() {
    let mut broker = Broker::start().await;
    let advertised = broker.address();
    broker.move_away().await;
    let config = kafka(&broker.address(), "");
    fails(&config, "kafka", "listener", &[&advertised, "advertised.listeners"], 75);
}

#[test]
fn a_database_is_followed_up_to_its_schema() {
    let mut database = Database::create();
    let admin = database.admin();
    let config = |address: &str, password: &str| {
        format!(
            "[postgres]\nurl = \"{address}?sslmode=disable\"\npassword = {{ file = {password:?} }}\n"
        )
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &admin.password).unwrap();
    let path = file.path().display().to_string();
    let url = admin.url_without_password();
    fails(&config(&url, &path), "postgres", "application", &["stampd migrate"], 78);
    let home = Home::new();
    home.configure(&config(&url, &path));
    home.must(&["migrate"]);
    let (code, held, failed) = check(&config(&url, &path), "postgres");
    assert_eq!((code, failed), (Some(0), None));
    assert_eq!(held, ["dns", "tcp", "application"]);
    let stranger = database.login("stampd_agent");
    let wrong = config(&stranger.url_without_password(), &path);
    fails(&wrong, "postgres", "login", &["[postgres] password"], 78);
}

#[test]
fn without_a_road_there_is_nothing_to_check() {
    let home = Home::new();
    home.configure("");
    let output = home.run(&["netcheck", "bridge"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("[bridge]"));
}

#[test]
fn the_adapter_s_own_variables_are_heard_when_asked_for() {
    let mut home = Home::new();
    home.configure("");
    home.set("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9");
    assert_eq!(home.run(&["netcheck", "kafka"]).status.code(), Some(78));
    let output = home.run(&["netcheck", "--adapter", "kafka"]);
    assert_eq!(output.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&output.stdout).contains("nothing listens at 127.0.0.1:9"));
}
