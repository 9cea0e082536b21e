//! PostgreSQL going away and coming back under load.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Bridge, STAMP, content, home};
use crate::support::block_on;
use crate::support::cluster::Cluster;
use crate::support::postgres::Address;
use crate::support::wait::wait_until;
use crate::support::web::Web;

/// Callers at once.
const CALLERS: usize = 8;

/// What callers were told.
#[derive(Default)]
struct Told {
    /// Ids of acknowledged stamps.
    acknowledged: BTreeSet<String>,
    refused: usize,
    slowest_refusal: Duration,
    /// Refusals that were not what a client can act upon.
    odd: Vec<String>,
}

/// Stamps new contents until `done`, and takes note of every answer.
fn call(web: Web, caller: usize, told: &Mutex<Told>, done: &AtomicBool) {
    let mut number = 0;
    while !done.load(Ordering::Relaxed) {
        number += 1;
        let asked = Instant::now();
        let reply = web.post(STAMP, &content(&format!("{caller}-{number}")));
        let took = asked.elapsed();
        let mut told = told.lock().unwrap();
        match reply.status {
            200 => {
                let id = reply.json()["stamp_id"].as_str().expect("a 200 has an id").to_owned();
                told.acknowledged.insert(id);
            }
            503 => {
                told.refused += 1;
                told.slowest_refusal = told.slowest_refusal.max(took);
                if reply.header("retry-after").is_none() {
                    told.odd.push(format!("{reply:?}"));
                }
            }
            _ => told.odd.push(format!("{reply:?}")),
        }
    }
}

fn held(database: &Address) -> BTreeSet<String> {
    let rows = block_on(|| async {
        let client = database.connect().await;
        client.query("SELECT id::text FROM metadata_stamps", &[]).await.expect("the query is right")
    });
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn postgres_killed_and_restarted_under_load_costs_no_acknowledged_stamp() {
    let mut cluster = Cluster::start();
    let home = home(&cluster.admin());
    let bridge = Bridge::start(&home, "bridge");
    let (told, done) = (Mutex::new(Told::default()), AtomicBool::new(false));
    let acknowledged = || told.lock().unwrap().acknowledged.len();
    let refused = || told.lock().unwrap().refused;
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (told, done, web) = (&told, &done, bridge.web);
            scope.spawn(move || call(web, caller, told, done));
        }
        for round in 1..=2 {
            let before = acknowledged();
            wait_until("stamps are taken", || acknowledged() > before + 200);
            let before = refused();
            cluster.kill();
            wait_until("stamps are refused", || refused() > before + CALLERS * 10);
            assert_eq!(bridge.web.get("/health/ready").status, 503, "round {round}");
            assert_eq!(bridge.web.get("/health/live").status, 200, "round {round}");
            cluster.restart();
        }
        let before = acknowledged();
        wait_until("stamps are taken again", || acknowledged() > before + 200);
        done.store(true, Ordering::Relaxed);
    });
    let told = told.into_inner().unwrap();
    assert_eq!(told.odd, Vec::<String>::new());
    assert!(told.slowest_refusal < Duration::from_secs(1), "{:?}", told.slowest_refusal);
    // The log tells of outages, not of each refusal.
    let lines = bridge.process.log().matches("failed to answer a request").count();
    assert!((1..told.refused / 10).contains(&lines), "{lines} of {}", told.refused);
    let held = held(&cluster.admin());
    let missing: Vec<_> = told.acknowledged.difference(&held).collect();
    assert!(missing.is_empty(), "acknowledged and not held: {missing:?}");
    assert!(bridge.process.terminate().success());
}

#[test]
fn a_bridge_that_starts_before_its_database_serves_when_that_is_there() {
    let mut cluster = Cluster::start();
    cluster.kill();
    let home = home(&cluster.admin());
    let bridge = Bridge::start(&home, "bridge");
    let reply = bridge.web.post(STAMP, &content("early"));
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.json()["code"], "DATABASE_UNAVAILABLE");
    assert!(reply.header("retry-after").is_some());
    cluster.restart();
    wait_until("the blank database was made ready", || {
        bridge.web.post(STAMP, &content("early")).status == 200
    });
    assert!(bridge.process.terminate().success());
}
