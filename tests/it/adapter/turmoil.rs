//! Adapters that are killed, stopped and outlived, and servers that go: the tables end as if one had
//! run undisturbed.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::scope;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Adapter, LONG, Stage, started, uuid};
use crate::support::broker::Broker;
use crate::support::wait::{wait_until, wait_within};

/// Workflows that begin, run through steps and end, in an order that mixes them.
struct Load {
    ids: Vec<String>,
}

const STEPS: i64 = 4;

impl Load {
    fn new(workflows: usize) -> Self {
        Self { ids: (0..workflows).map(|_| uuid()).collect() }
    }

    /// Makes the topics.
    fn prepare(stage: &Stage) {
        for slug in ["workflow-started", "workflow-completed", "step-completed"] {
            stage.topic(&stage.long(slug), 6);
        }
    }

    /// Sends all of it once.
    fn send(&self, stage: &Stage) {
        for (number, id) in self.ids.iter().enumerate() {
            let step = |order: i64| {
                json!({
                    "event_id": format!("{id}/{order}"),
                    "payload": {
                        "workflow_id": id, "step_name": format!("s{order}"), "step_order": order,
                        "status": "COMPLETED",
                    },
                })
            };
            let ended = json!({
                "correlation_id": id, "current_state": "COMPLETED",
                "completed_at": "2025-10-08T12:00:01Z", "execution_time_ms": number,
            });
            for order in 0..STEPS {
                stage.send(&stage.long("step-completed"), id, &step(order));
            }
            stage.send(&stage.long("workflow-started"), id, &started(id));
            stage.send(&stage.long("workflow-completed"), id, &ended);
        }
        stage.flush();
    }

    /// Waits until all of it is in the tables, as if one adapter had read it undisturbed.
    fn wait_whole(&self, stage: &Stage) {
        let workflows = self.ids.len() as i64;
        let done = "workflow_executions WHERE current_state = 'COMPLETED' AND workflow_type = 'test' \
                    AND namespace = 'a.b.c' AND completed_at IS NOT NULL";
        wait_within(LONG, "every workflow is whole", || {
            (stage.count(done) == workflows && stage.count("workflow_steps") == workflows * STEPS)
                .then_some(())
        });
        assert_eq!(stage.count("workflow_executions"), workflows);
        assert_eq!(stage.count("pending_steps"), 0);
        assert_eq!(stage.count("adapter_dead"), 0);
        let rows: BTreeMap<String, i64> = rows(stage);
        let sent = self.ids.iter().cloned().zip(0..).collect();
        assert_eq!(rows, sent);
        let each = "(SELECT workflow_id, step_order FROM workflow_steps GROUP BY 1, 2) g";
        assert_eq!(stage.count(each), workflows * STEPS, "each step is there once");
    }
}

/// What the workflows took, by correlation id.
fn rows(stage: &Stage) -> BTreeMap<String, i64> {
    let text: Value = serde_json::from_str(&stage.value::<String>(
        "SELECT json_object_agg(correlation_id, execution_time_ms)::text \
         FROM workflow_executions",
    ))
    .unwrap();
    let pairs = text.as_object().unwrap().iter();
    pairs.map(|(id, number)| (id.clone(), number.as_i64().unwrap())).collect()
}

/// Waits until the adapter holds partitions.
pub(super) fn wait_partitions(adapter: &Adapter, at_least: usize) {
    wait_within(LONG, "it has partitions", || {
        let (_, health) = adapter.get("/health");
        (health["partitions"].as_array().unwrap().len() >= at_least).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_one_killed_one_stopped_and_the_broker_restarted_all_is_there_once() {
    let mut broker = Broker::start().await;
    let stage = Stage::on(&broker.address());
    let load = Load::new(1_500);
    Load::prepare(&stage);
    let adapters = [stage.start("one"), stage.start("two"), stage.start("three")];
    for adapter in &adapters {
        wait_partitions(adapter, 6);
    }
    let [one, two, three] = adapters;
    load.send(&stage);
    one.process.kill();
    two.process.signal(Signal::STOP);
    // The others take its partitions once its session is over, while it believes to have them.
    wait_partitions(&three, 18);
    broker.kill();
    broker.restart();
    load.send(&stage);
    two.process.signal(Signal::CONT);
    load.send(&stage);
    load.wait_whole(&stage);
    assert!(two.process.terminate().success());
    assert!(three.process.terminate().success());
}

#[test]
fn killed_at_random_moments_every_event_has_its_effect_once() {
    let stage = Stage::new();
    let load = Load::new(1_000);
    Load::prepare(&stage);
    load.send(&stage);
    for round in 0..8 {
        let adapter = stage.start(&format!("life{round}"));
        std::thread::sleep(crate::support::process::moment(round, Duration::from_millis(1_500)));
        adapter.process.kill();
    }
    let adapter = stage.start("last");
    load.send(&stage);
    load.wait_whole(&stage);
    assert!(adapter.process.terminate().success());
}

#[test]
fn with_sessions_terminated_all_the_time_it_gets_through() {
    let stage = Stage::new();
    let load = Load::new(800);
    Load::prepare(&stage);
    let adapter = stage.start("adapter");
    // Dropped by a panic too, so that the other thread ends with this one.
    let (going_on, ended) = mpsc::channel::<()>();
    scope(|threads| {
        let stage = &stage;
        threads.spawn(move || terminate_until(stage, &ended));
        load.send(stage);
        load.send(stage);
        load.wait_whole(stage);
        drop(going_on);
    });
    assert!(adapter.process.terminate().success());
}

/// Terminates every session of the adapter's, ten times a second, until the other end is gone.
///
/// On a busy machine a session once took longer to be made than it was let live, and nobody could get
/// through: there it is done as seldom as leaves time for a few sessions.
fn terminate_until(stage: &Stage, ended: &Receiver<()>) {
    const OFTEN: Duration = Duration::from_millis(100);
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND usename LIKE 'login%'";
    let mut pause = OFTEN;
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let began = Instant::now();
        // In a session that is made for it.
        stage.value::<i64>(sql);
        pause = OFTEN.max(began.elapsed() * 4);
    }
}

#[test]
fn a_group_that_grows_and_shrinks_under_load_loses_and_doubles_nothing() {
    let stage = Stage::new();
    let load = Load::new(1_000);
    Load::prepare(&stage);
    let first = stage.start("first");
    load.send(&stage);
    for round in 0..4 {
        let guest = stage.start(&format!("guest{round}"));
        wait_partitions(&guest, 1);
        assert!(guest.process.terminate().success());
    }
    load.send(&stage);
    load.wait_whole(&stage);
    wait_until("the first has all partitions again", || {
        first.get("/health").1["partitions"].as_array().unwrap().len() == 18
    });
    assert!(first.process.terminate().success());
}
