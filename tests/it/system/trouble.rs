//! What the original system could not pass, or only with a person's help.

use serde_json::json;

use super::deployment::{Deployment, Machine, run_sql};
use crate::adopt::shapes::SERVICE;
use crate::agent::{assert_gapless, bodies};
use crate::bridge::{self, Bridge};
use crate::support::audit::assert_hold;
use crate::support::postgres::Address;
use crate::support::tree::{grow, write};
use crate::support::wait::wait_until;

pub fn broken_schema(it: &mut Deployment) {
    run_sql(&it.cluster.admin(), "CREATE DATABASE legacy");
    let database = Address { database: "legacy".to_owned(), ..it.cluster.admin() };
    run_sql(&database, &SERVICE.with_rows(3));
    let home = bridge::home(&database);
    it.story.says("$ stampd bridge   over a database with the older service's table");
    let bridge = Bridge::start(&home, "legacy");
    let reason = || {
        let health = bridge.web.get("/health").json();
        health["components"]["schema"]["details"]["reason"].as_str().map(str::to_owned)
    };
    wait_until("what is wrong is named", || reason().is_some_and(|it| it.contains("migrate")));
    it.story.shows("GET /health", &reason().unwrap_or_default());
    assert_eq!(bridge.web.get("/health/ready").status, 503);
    let check = home.run(&["migrate", "--check"]);
    assert_eq!(check.status.code(), Some(4), "{check:?}");
    it.story.prints("$ stampd migrate --check", &String::from_utf8_lossy(&check.stdout));
    it.story.prints("$ stampd migrate", &home.must(&["migrate"]));
    wait_until("the bridge is ready", || bridge.web.get("/health/ready").status == 200);
    let reply = bridge.web.post("/stamp", &json!({ "content": "after" }));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(database.value::<i64>("SELECT count(*) FROM metadata_stamps"), 4);
    it.story.says("the bridge went on by itself; the three rows are kept, a fourth is stamped");
    assert!(bridge.process.terminate().success());
}

pub fn outage(it: &mut Deployment) {
    it.cluster.kill();
    it.broker.kill();
    it.story.says("PostgreSQL and Kafka are killed");
    let refused = it.post("/stamp", &json!({ "content": "too early" }));
    assert_eq!(refused.status, 503, "{refused:?}");
    for (machine, name) in [(&it.desk, "desk"), (&it.train, "train")] {
        grow(&machine.place.repo.join("outage"), 5, 10);
        machine.place.scan();
        // What the scan was faster with than its own hints is looked at once more.
        wait_until("nothing is pending", || machine.place.status()["repos"][0]["pending"] == 0);
        wait_until("its sinks say why they rest", || {
            machine.sinks().iter().all(|(_, state, reason)| state != "online" && !reason.is_empty())
        });
        let status = machine.place.home.run(&["status"]);
        assert_eq!(status.status.code(), Some(0), "a sink that is away is healthy: {status:?}");
        let told = String::from_utf8_lossy(&status.stdout).into_owned();
        it.story
            .prints(&format!("$ stampd status   ({name}: 50 files were saved meanwhile)"), &told);
    }
    it.cluster.restart();
    it.broker.restart();
    it.story.says("both are back");
    it.settle();
    it.wait_adapter();
    wait_until("stamps are taken", || {
        it.web().post("/stamp", &json!({ "content": "again" })).status == 200
    });
    let sql = "SELECT count(*) FROM stamp_events WHERE path LIKE 'outage/%' AND kind = 'created'";
    assert_eq!(it.count(sql), 100);
    it.story.says("all hundred files of the outage are there");
}

pub fn crash(it: &mut Deployment) {
    let repos = [&it.desk, &it.train].map(|machine| machine.place.repo.join("crash"));
    let arrived = "SELECT count(*) FROM stamp_events WHERE path LIKE 'crash/%'";
    std::thread::scope(|scope| {
        for repo in &repos {
            scope.spawn(|| grow(repo, 40, 10));
        }
        wait_until("work is under way", || it.count(arrived) > 20);
        for machine in [&mut it.desk, &mut it.train] {
            machine.agent.take().expect("it runs").kill();
        }
        it.adapter.take().expect("it runs").kill();
        it.bridge.take().expect("it runs").process.kill();
    });
    it.story.says("kill -9: both agents, the bridge and the adapter, while 800 files are saved");
    write(&it.desk.place.repo, "crash/while it was dead", "and nobody looked\n");
    it.start_bridge();
    it.start_adapter();
    it.story.says("$ stampd run      on both machines");
    it.desk.start();
    it.train.start();
    it.settle();
    let created = format!("{arrived} AND kind = 'created'");
    assert_eq!(it.count(&created), 801);
    it.story.says("801 files, 801 rows");
}

pub fn audit(it: &mut Deployment) {
    it.settle();
    let records = it.records();
    for machine in [&it.desk, &it.train] {
        audit_machine(it, machine, &records);
    }
    let gaps = "SELECT count(*) FROM streams s WHERE s.size <> (SELECT count(*) FROM (
            SELECT seq FROM stamp_events e WHERE e.stream_id = s.stream_id AND e.seq < s.size
            UNION SELECT seq FROM withheld w WHERE w.stream_id = s.stream_id AND w.seq < s.size) h)";
    assert_eq!(it.count(gaps), 0, "every stream is whole");
    let mut on_topic: Vec<&str> = records.iter().map(|record| record.header("ce_id")).collect();
    on_topic.sort_unstable();
    on_topic.dedup();
    let events = it.count("SELECT count(*) FROM stamp_events");
    assert_eq!(on_topic.len() as i64, events, "what is in the database is on the topic");
    let read = format!(
        "SELECT coalesce(sum(next_offset), 0)::bigint FROM adapter_offsets WHERE topic = '{}'",
        super::deployment::TOPIC
    );
    wait_until("the adapter has read all", || it.count(&read) == records.len() as i64);
    assert_eq!(it.count("SELECT count(*) FROM adapter_dead"), 0, "and refused nothing");
    it.story.says(&format!(
        "{events} stamps in PostgreSQL, the same on Kafka, no hole in any stream, all of them read"
    ));
}

fn audit_machine(it: &Deployment, machine: &Machine, records: &[crate::support::kafka::Record]) {
    let log = machine.place.home.must(&["log", "--all", "--format", "jsonl"]);
    assert_gapless(&bodies(&log));
    machine.place.assert_log_is_disk(&[]);
    assert_hold(&it.database, records.to_vec(), &log);
    machine.place.home.must(&["verify"]);
    it.story.shows(
        "$ stampd verify",
        &format!(
            "the disk is as stamped; {} stamps, each byte for byte on both sides",
            log.lines().count()
        ),
    );
}
