//! Three adapters that come and go all the time while events of every kind flow: the tables end as if
//! one had run undisturbed.

use super::model::{prepare, send, wait_told};
use super::turmoil::wait_partitions;
use super::{Adapter, LONG, Stage};
use crate::operations::model::history_of;
use crate::support::broker::Broker;
use crate::support::wait::wait_within;

/// How often one of them goes and comes back.
const LIVES: usize = 24;

/// Events between one going and the next.
const PORTION: usize = 400;

/// How one of them goes.
struct Blow {
    slot: usize,
    /// As in a crash, after which the group misses it only when its session is over; else with a
    /// goodbye, after which its partitions are free at once.
    kills: bool,
    /// When the one that came last was just given partitions, and the group is still dividing them;
    /// else when records are read, and not all of them.
    while_dividing: bool,
}

impl Blow {
    /// Every mixture in turn.
    fn of(life: usize) -> Self {
        Self { slot: life % 3, kills: life % 6 < 3, while_dividing: life % 4 < 2 }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_rebalances_of_three_adapters_every_event_has_its_effect_once() {
    let broker = Broker::start().await;
    let mut stage = Stage::on(&broker.address());
    // So that the dead are missed soon, and a life has many transactions.
    stage.home.set("STAMPD_ADAPTER__SESSION_TIMEOUT", "1s");
    stage.home.set("STAMPD_ADAPTER__BATCH_ROWS_MAX", "50");
    prepare(&stage);
    let (events, orders) = history_of(LIVES * PORTION / 2, 2);
    let told: Vec<_> = orders.iter().flatten().map(|place| &events[*place]).collect();
    let mut adapters = [0, 1, 2].map(|slot| Some(start(&stage, slot)));
    let (mut newest, mut handed_over) = (2, 0);
    for (life, portion) in told.chunks(PORTION).enumerate() {
        let before = read(&stage);
        for (number, event) in portion.iter().enumerate() {
            send(&stage, &format!("{life} {number}"), event);
        }
        let Blow { slot, kills, while_dividing } = Blow::of(life);
        if while_dividing {
            wait_partitions(adapters[newest].as_ref().expect("it runs"), 1);
        } else {
            wait_within(LONG, "more is read", || (read(&stage) > before).then_some(()));
        }
        let leaving = adapters[slot].take().expect("it runs");
        handed_over += hand_overs(&leaving);
        if kills {
            leaving.process.kill();
        } else {
            assert!(leaving.process.terminate().success());
        }
        adapters[slot] = Some(start(&stage, slot));
        newest = slot;
    }
    stage.flush();
    wait_told(&stage, told.len() as i64, &events);
    assert_eq!(stage.count("adapter_dead"), 0);
    for adapter in adapters.into_iter().flatten() {
        handed_over += hand_overs(&adapter);
        assert!(adapter.process.terminate().success());
    }
    // One who comes back before it was missed changes nothing: how often that is, is the machine's.
    assert!(handed_over > 0, "that was no storm");
}

/// How often it has given partitions up to others.
fn hand_overs(adapter: &Adapter) -> usize {
    adapter.process.log().matches("partitions went to others").count()
}

fn start(stage: &Stage, slot: usize) -> Adapter {
    stage.start(["one", "two", "three"][slot])
}

/// Records that are in the tables.
fn read(stage: &Stage) -> i64 {
    let sql = "SELECT coalesce(sum(next_offset), 0)::bigint FROM adapter_offsets";
    stage.value(sql)
}
