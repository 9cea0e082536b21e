//! The agent's figures: what a Prometheus is told is what a person is told.

use std::collections::BTreeMap;

use serde_json::Value;

use super::delivery::Servers;
use super::{Workplace, text};
use crate::support::tree::write;
use crate::support::wait::wait_until;
use crate::support::web::Web;

const API: &str = "[api]\nlisten = \"127.0.0.1:0\"\n\n[onextree]\nlisten = \"127.0.0.1:0\"\n";

/// A database that nobody serves: connections to this port are refused.
const NO_POSTGRES: &str = "[postgres]\nurl = \"postgres://a@127.0.0.1:1/s?sslmode=disable\"\n";

/// Every series with its value, as one exposition has it.
struct Told(BTreeMap<String, f64>);

impl Told {
    fn by(place: &Workplace, section: &str) -> Self {
        let listen = text(&place.status()[section]["listen"]);
        let reply = Web(listen.parse().unwrap()).get("/metrics");
        assert_eq!(
            reply.header("content-type").unwrap(),
            "text/plain; version=0.0.4; charset=utf-8"
        );
        let lines = reply.body.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect())
    }

    /// The value of a series that counts something.
    fn of(&self, series: &str) -> u64 {
        self.exactly(series) as u64
    }

    fn exactly(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0))
    }

    /// The states of which a series says that they are so.
    fn states(&self, name: &str) -> Vec<&str> {
        let named =
            self.0.iter().filter(|(series, value)| series.starts_with(name) && **value > 0.5);
        named.map(|(series, _)| series.rsplit('"').nth(1).unwrap()).collect()
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn what_is_told_at_metrics_is_what_status_tells_and_of_a_repo_that_went_nothing() {
    let place = Workplace::new(API);
    write(&place.repo, ".gitignore", "out\n");
    write(&place.repo, "out/left", "out");
    write(&place.repo, "a", "four");
    write(&place.repo, "b", "sixsix");
    let agent = place.home.start_ready();
    place.scan();
    for section in ["api", "onextree"] {
        let told = Told::by(&place, section);
        let status = place.status();
        let repo = &status["repos"][0];
        for (series, expected) in [
            ("stampd_repo_files{repo=\"app\"}", number(&repo["files"])),
            ("stampd_repo_pending_paths{repo=\"app\"}", 0),
            ("stampd_settle_paths{repo=\"app\"}", 0),
            ("stampd_spool_stamps_total{repo=\"app\"}", number(&repo["stamps"])),
            ("stampd_spool_seq{repo=\"app\"}", number(&repo["stamps"]) - 1),
            ("stampd_watch_directories{how=\"watched\",repo=\"app\"}", 1),
            ("stampd_watch_directories{how=\"polled\",repo=\"app\"}", 0),
            ("stampd_watch_overflows_total{repo=\"app\"}", 0),
            ("stampd_scan_left_out{reason=\"excluded\",repo=\"app\"}", 1),
            ("stampd_hash_files_total{outcome=\"hashed\",repo=\"app\"}", 3),
            ("stampd_hash_bytes_total{repo=\"app\"}", 14),
        ] {
            assert_eq!(told.of(series), expected, "{section}: {series} of {:#?}", told.0);
        }
        assert_eq!(told.states("stampd_agent_state"), ["healthy"]);
        assert_eq!(told.states("stampd_repo_state"), ["watching"]);
        assert!(told.states("stampd_sync_state").is_empty(), "there is no sink");
        assert!(told.of("stampd_spool_bytes") > 0);
        assert!(told.of("stampd_spool_bytes_max") > told.of("stampd_spool_bytes"));
    }
    write(&place.repo, "c", "more");
    let settled = "stampd_settle_settled_total{repo=\"app\"}";
    wait_until("a path has settled", || Told::by(&place, "api").of(settled) > 0);
    place.home.must(&["remove", "app"]);
    let told = Told::by(&place, "api");
    let of_repos = told.0.keys().filter(|series| series.contains("repo="));
    // What OnexTree has loaded it lets go of at the next question.
    let left: Vec<_> = of_repos.filter(|series| !series.contains("onextree")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(agent.terminate().success());
}

#[test]
fn of_each_sink_it_is_told_how_far_it_has_confirmed_and_what_waits() {
    let mut place = Workplace::new(&format!("{NO_POSTGRES}{API}"));
    write(&place.repo, "a", "one");
    let agent = place.home.start_ready();
    wait_until("the road is known to be closed", || {
        Told::by(&place, "api").states("stampd_sync_state") == ["offline"]
    });
    let told = Told::by(&place, "api");
    // The stream of the API is among them.
    let queued = number(&place.status()["sinks"][0]["queued"]);
    assert!(queued > told.of("stampd_spool_stamps_total{repo=\"app\"}"));
    assert_eq!(told.of("stampd_sync_queued_stamps{sink=\"postgres\"}"), queued);
    assert!(told.exactly("stampd_sync_oldest_queued_seconds{sink=\"postgres\"}") > 0.0);
    assert!(!told.0.contains_key("stampd_sync_confirmed_seq{repo=\"app\",sink=\"postgres\"}"));
    assert_eq!(told.states("stampd_agent_state"), ["healthy"], "an outage is none of the agent's");
    assert!(agent.terminate().success());

    let servers = Servers::new(&mut place);
    place.configure(&format!("{}\n{API}", servers.both()));
    let agent = place.home.start_ready();
    place.home.must(&["sync", "--wait", "--timeout", "60s"]);
    let told = Told::by(&place, "api");
    let newest = told.of("stampd_spool_seq{repo=\"app\"}");
    for sink in ["postgres", "kafka"] {
        let of = |name: &str| told.of(&format!("stampd_sync_{name}{{sink=\"{sink}\"}}"));
        let confirmed = format!("stampd_sync_confirmed_seq{{repo=\"app\",sink=\"{sink}\"}}");
        assert_eq!(told.of(&confirmed), newest, "{sink}");
        assert_eq!(
            (of("queued_stamps"), of("oldest_queued_seconds"), of("dead_letters")),
            (0, 0, 0)
        );
        assert!(of("confirmed_timestamp_seconds") > 1_600_000_000, "{sink}");
    }
    assert_eq!(told.states("stampd_sync_state"), ["online", "online"]);
    assert!(agent.terminate().success());
}
