//! The agent behind a bridge, both as processes: its stamps go through HTTP, and no road counts twice.

use super::Workplace;
use super::delivery::Servers;
use crate::bridge::{Bridge, events};
use crate::support::bed;
use crate::support::process::Home;
use crate::support::tree::{grow, write};
use crate::support::wait::wait_until;

/// A bridge over the servers, and the section of an agent's config that leads to it.
fn bridge(place: &mut Workplace, servers: &Servers) -> (Home, Bridge, String) {
    let admin = servers.database.admin();
    let home = events::home(&admin, &bed("STAMPD_TEST_KAFKA"), servers.topic.name());
    let token = home.must(&["token", "new", "ann"]);
    place.home.set("BRIDGE_TOKEN", token.trim_end());
    let bridge = Bridge::start(&home, "bridge");
    let address = bridge.web.0;
    let section =
        format!("[bridge]\nurl = \"http://{address}\"\ntoken = {{ env = \"BRIDGE_TOKEN\" }}\n");
    (home, bridge, section)
}

fn deliver_by(place: &Workplace, servers: &Servers, sections: &str) {
    place.configure(sections);
    grow(&place.repo, 10, 10);
    let agent = place.home.start_ready();
    write(&place.repo, "d0000/f00.txt", "changed\n");
    place.scan();
    place.home.must(&["sync", "--wait", "--timeout", "60s"]);
    wait_until("the outbox is empty", || events::depth(&servers.database.admin()) == 0);
    servers.assert_hold(&place.home.must(&["log", "--all", "--format", "jsonl"]));
    assert!(agent.terminate().success());
}

#[test]
fn with_no_database_at_hand_each_stamp_arrives_through_the_bridge_once() {
    let mut place = Workplace::new("");
    let servers = Servers::new(&mut place);
    let (_home, bridge, section) = bridge(&mut place, &servers);
    deliver_by(&place, &servers, &section);
    assert!(bridge.process.terminate().success());
}

#[test]
fn by_three_roads_to_the_same_servers_each_stamp_is_one_row_and_one_identity() {
    let mut place = Workplace::new("");
    let servers = Servers::new(&mut place);
    let (_home, bridge, section) = bridge(&mut place, &servers);
    deliver_by(&place, &servers, &format!("{}\n{section}", servers.both()));
    assert!(bridge.process.terminate().success());
}
