//! Enrichment against a real server that answers, is silent, is gone, is wrong or never ends: no
//! stamp is lost or lacks anything but its word.

mod service;

use std::time::Duration;

use serde_json::{Value, json};
use stampd::enrich::{self, Config, Enricher, Fetcher};
use stampd::model::digest::Digest;
use stampd::model::path::RepoPath;
use stampd::runtime::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use self::service::{Mode, Service};
use crate::agent::delivery::Servers;
use crate::agent::{Workplace, text};
use crate::support::client::Client;
use crate::support::postgres::Address;
use crate::support::process::Agent;
use crate::support::tree::write;
use crate::support::wait::{wait_for, wait_until};
use crate::support::{block_on, free_port};

fn enricher(service: &Service) -> (Enricher, Fetcher) {
    let budget = Duration::from_millis(200);
    let config = Config { url: service.url(), budget, ..Config::default() };
    enrich::new(&config, &Metrics::new()).expect("the road is safe")
}

async fn ask(enricher: &Enricher, content: &str) -> Value {
    enricher.ask(&Digest::of(content.as_bytes()), content).await.into()
}

fn degraded() -> Value {
    json!({"degraded": true})
}

#[tokio::test]
async fn what_is_said_of_a_content_is_asked_once() {
    let service = Service::start(Mode::Good);
    let (enricher, _fetcher) = enricher(&service);
    let said = ask(&enricher, "a").await;
    assert_eq!(said["intelligence"]["context"], "a");
    assert_eq!(ask(&enricher, "a").await, said);
    assert_eq!(service.asked(), 1);
    assert_eq!(ask(&enricher, "b").await["intelligence"]["context"], "b");
    assert!(!enricher.is_degraded());
}

#[tokio::test]
async fn whatever_is_wrong_with_it_the_stamp_goes_without_and_it_is_left_alone() {
    for mode in Mode::BAD {
        let service = Service::start(mode);
        let (enricher, _fetcher) = enricher(&service);
        assert_eq!(ask(&enricher, "a").await, degraded(), "{mode:?}");
        assert!(enricher.is_degraded(), "{mode:?}");
        let asked = service.asked();
        assert_eq!(ask(&enricher, "b").await, degraded());
        assert_eq!(enricher.known(&Digest::of(b"c"), &RepoPath::root()), None);
        assert_eq!(service.asked(), asked, "{mode:?}: left alone for a while");
        service.set(Mode::Good);
        wait_until_answered(&enricher).await;
        assert!(!enricher.is_degraded(), "{mode:?}");
    }
}

#[tokio::test]
async fn a_question_that_is_not_taken_is_no_outage() {
    let service = Service::start(Mode::Refuses);
    let (enricher, _fetcher) = enricher(&service);
    assert_eq!(ask(&enricher, "a").await, degraded());
    assert!(!enricher.is_degraded());
    service.set(Mode::Good);
    assert_eq!(ask(&enricher, "b").await["intelligence"]["context"], "b");
}

async fn wait_until_answered(enricher: &Enricher) {
    let answered = async || (ask(enricher, "again").await != degraded()).then_some(());
    crate::support::wait::wait_for_async("it is asked again", answered).await;
}

#[tokio::test]
async fn what_is_not_known_of_a_file_is_known_the_next_time() {
    let service = Service::start(Mode::Good);
    let (enricher, fetcher) = enricher(&service);
    let stop = CancellationToken::new();
    let path = RepoPath::new(b"src/main.rs").expect("a path");
    let known = || enricher.known(&Digest::of(b"x"), &path);
    assert_eq!(known(), None);
    let ends_when_known = async {
        crate::support::wait::wait_for_async("it was fetched", async || known()).await;
        stop.cancel();
    };
    let (fetched, ()) = tokio::join!(fetcher.run(stop.clone()), ends_when_known);
    assert!(fetched.is_ok());
    let said = known().expect("it is kept").to_object();
    assert_eq!(said["intelligence"]["context"], "src/main.rs");
    assert_eq!(said["intelligence"]["confidence_score"], "0.5", "a body has no floats");
}

/// Starts an agent that asks a service, and says where its API listens.
fn start(place: &Workplace) -> (Agent, Client) {
    let agent = place.home.start_ready();
    let listen = text(&place.status()["api"]["listen"]);
    (agent, Client::connect(&listen))
}

fn config(url: &str) -> String {
    format!(
        "[api]\nlisten = \"127.0.0.1:0\"\n[intelligence]\nurl = \"{url}\"\nbudget = \"200ms\"\n"
    )
}

fn stamp(client: &mut Client, content: &str, wants: bool) -> Value {
    let order = json!({"content": content, "file_path": "a.md", "enable_intelligence": wants});
    let (status, reply) = client.post("/stamp", &order);
    assert_eq!(status, 200, "{reply}");
    reply
}

fn said(reply: &Value) -> &Value {
    &reply["stamp_data"]["intelligence_data"]
}

#[test]
fn a_stamp_carries_what_its_caller_wanted_to_know_and_goes_without_when_nobody_says_it() {
    let service = Service::start(Mode::Good);
    let place = Workplace::new(&config(&service.url()));
    let (agent, mut client) = start(&place);
    assert_eq!(said(&stamp(&mut client, "unasked", false)), &json!({}));
    let reply = stamp(&mut client, "asked", true);
    assert_eq!(said(&reply)["intelligence"]["context"], "a.md");
    assert_eq!(said(&reply)["intelligence"]["confidence_score"], 0.5);
    assert_eq!(reply.get("degraded"), None);
    let own = json!({"content": "own", "enable_intelligence": true, "intelligence_data": {"a": 1}});
    assert_eq!(said(&client.post("/stamp", &own).1), &json!({"a": 1}), "the caller knows better");
    assert_eq!(client.get("/health").1["status"], "healthy");

    let url = service.url();
    drop(service);
    let gone = stamp(&mut client, "while it is gone", true);
    assert_eq!((said(&gone), &gone["degraded"]), (&degraded(), &json!(true)));
    let again = stamp(&mut client, "asked", true);
    assert_eq!(said(&again), said(&reply), "what is held is told as it was");
    let (_, health) = client.get("/health");
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["components"]["intelligence"]["status"], "unhealthy");
    assert_eq!(client.get("/health/ready").0, 200, "stamps can be made");
    let status = place.status();
    assert_eq!(status["intelligence"]["state"], "degraded");
    assert_eq!(status["state"], "healthy", "nothing depends on it");
    let (_, metrics) = client.text("/metrics");
    assert!(metrics.contains("stampd_enrich_degraded 1\n"), "{metrics}");

    let service = Service::start_at(&url, Mode::Good);
    let mut n = 0;
    wait_until("it is asked again", || {
        n += 1;
        said(&stamp(&mut client, &format!("back {n}"), true)).get("intelligence").is_some()
    });
    assert_eq!(place.status()["intelligence"]["state"], "healthy");
    drop((client, service));
    assert!(agent.terminate().success());
    let log = place.log();
    let of_api = log.iter().filter(|body| body["kind"] == "api").count();
    assert_eq!(of_api, 4 + n, "every stamp that was acknowledged is there");
}

#[test]
fn stamps_of_files_carry_what_was_said_of_their_content_before() {
    let service = Service::start(Mode::Good);
    let mut place = Workplace::new("");
    let servers = Servers::new(&mut place);
    place.configure(&format!("{}\n{}", config(&service.url()), servers.both()));
    let (agent, client) = start(&place);
    write(&place.repo, "first", "the same");
    wait_for("it was fetched", || (service.asked() > 0).then_some(()));
    // The answer is kept only after it was given.
    let mut n = 0;
    let copy = wait_for("a later stamp of the content carries it", || {
        n += 1;
        write(&place.repo, &format!("copy-{n}"), "the same");
        place.scan();
        let log = place.log();
        log.into_iter().rfind(|body| body.get("intelligence").is_some())
    });
    assert_eq!(copy["intelligence"]["intelligence"]["context"], "first");
    assert_eq!(copy["intelligence"]["intelligence"]["confidence_score"], "0.5");
    let first = place.log().into_iter().find(|body| body["path"] == "first");
    assert_eq!(first.expect("it was stamped").get("intelligence"), None, "it did not wait");

    service.set(Mode::Silent);
    write(&place.repo, "new", "of which nothing is known");
    place.scan();
    assert_eq!(place.kinds("new"), ["created"], "nor does this one");
    place.home.must(&["sync", "--wait", "--timeout", "60s"]);
    servers.assert_hold(&place.home.must(&["log", "--all", "--format", "jsonl"]));
    let sql = format!(
        "SELECT intelligence_data::text FROM metadata_stamps WHERE file_path = '{}'",
        text(&copy["path"])
    );
    let row = block_on(|| async {
        let client = Address::connect(&servers.database.admin()).await;
        client.query_one(&sql, &[]).await.expect("the row is there").get::<_, String>(0)
    });
    assert_eq!(serde_json::from_str::<Value>(&row).expect("is JSON"), copy["intelligence"]);
    drop(client);
    assert!(agent.terminate().success(), "a question under way does not hold up the stop");
}

#[test]
fn an_agent_can_be_asked_by_itself() {
    let port = free_port();
    let tree = format!("[onextree]\nlisten = \"127.0.0.1:{port}\"\n");
    let place = Workplace::new(&format!("{tree}{}", config(&format!("http://127.0.0.1:{port}"))));
    write(&place.repo, "a.md", "# a");
    let (agent, mut client) = start(&place);
    let reply = stamp(&mut client, "about a", true);
    assert_eq!(said(&reply)["intelligence"]["analysis_type"], "structure", "{reply}");
    assert_eq!(said(&reply)["intelligence"]["recommendations"], "Begin with a.md.");
    drop(client);
    assert!(agent.terminate().success());
}

#[test]
fn a_road_in_the_clear_or_with_a_secret_in_it_is_refused() {
    for (url, why) in [
        ("http://tree.example:8058", "use the url: plain http to a host that is not on loopback"),
        ("https://me:secret@tree.example", "understand the url"),
        ("tree", "understand the url"),
    ] {
        let place = Workplace::new(&config(url));
        let refused = place.home.run(&["config", "check"]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(78), "{told}");
        assert!(told.contains(&format!("[intelligence] failed to {why}")), "{url}: {told}");
    }
}
