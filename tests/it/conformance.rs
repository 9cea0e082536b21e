//! One suite that every sink passes: what a receiver must make of batches that come once, again, in
//! part, too early, interrupted or altered.
//!
//! Each case looks at the far end as its readers do. Kafka keeps no account of seqs, so there the
//! reader tells repeats by `ce_id`, and finds what Postgres would have refused.

mod far_ends;

use std::collections::BTreeMap;
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

pub use far_ends::kafka_config;
use far_ends::{FarEnd, InMemory, OnKafka, OnPostgres, OverBridge};
use stampd::model::batch::Batch;
use stampd::model::class::Class;
use stampd::model::stream::{Leaf, StreamId};
use stampd::sink::{Sink, SinkError};
use stampd::sync::plan::{Limits, Plan, Verdict};

use crate::support::record::{entry, piece, stamp, stream, withheld};

/// The leaves that a reader must find of a stream whose stamps are those of the support module.
fn leaves(stream: StreamId, count: u64) -> Vec<Leaf> {
    piece(stream, 0..count).entries.iter().map(|entry| *entry.leaf()).collect()
}

/// What a reader finds, by seq; every seq has one leaf, and none is missing.
async fn read<F: FarEnd>(far: &F, stream: StreamId) -> Vec<Leaf> {
    let found: BTreeMap<u64, Vec<Leaf>> = far.read(stream).await;
    let expected: Vec<u64> = (0..found.len() as u64).collect();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), expected, "no seq is missing");
    found
        .into_iter()
        .map(|(seq, leaves)| {
            assert_eq!(leaves.len(), 1, "seq {seq} has one leaf");
            leaves[0]
        })
        .collect()
}

async fn client<F: FarEnd>(far: &F) -> F::Client {
    let mut client = far.client();
    client.probe().await.expect("the far end is there");
    client
}

async fn a_batch_is_confirmed_up_to_its_end<F: FarEnd>(far: F) {
    let (mut client, stream) = (client(&far).await, stream());
    for (batch, size) in [(piece(stream, 0..3), 3), (piece(stream, 3..700), 700)] {
        let delivery = client.deliver(&batch).await.expect("it is taken");
        assert_eq!(delivery.size, size);
        assert_eq!(delivery.leaf, Some(leaves(stream, size)[size as usize - 1]));
        assert_eq!((delivery.accepted, delivery.duplicates), (batch.entries.len() as u64, 0));
    }
    assert_eq!(read(&far, stream).await, leaves(stream, 700));
}

async fn a_batch_that_comes_again_has_no_further_effect<F: FarEnd>(far: F) {
    let (mut client, stream) = (client(&far).await, stream());
    for seqs in [0..3, 0..3, 1..2, 0..5, 2..6] {
        let delivery = client.deliver(&piece(stream, seqs.clone())).await.expect("it is taken");
        assert!(delivery.size >= seqs.end, "{seqs:?} gives {delivery:?}");
    }
    assert_eq!(read(&far, stream).await, leaves(stream, 6));
}

async fn a_restarted_client_goes_on_where_the_last_one_was_confirmed<F: FarEnd>(far: F) {
    let stream = stream();
    for seqs in [0..4, 3..8, 8..9] {
        let mut client = client(&far).await;
        let end = seqs.end;
        assert_eq!(client.deliver(&piece(stream, seqs)).await.expect("it is taken").size, end);
        client.close(std::time::Instant::now() + crate::support::wait::DEADLINE).await;
    }
    assert_eq!(read(&far, stream).await, leaves(stream, 9));
}

async fn an_abandoned_delivery_can_be_made_again<F: FarEnd>(far: F) {
    let (mut client, stream) = (client(&far).await, stream());
    let batch = piece(stream, 0..900);
    // Polled once and dropped, it is under way and nobody knows how far.
    let _ = pin!(client.deliver(&batch)).poll(&mut Context::from_waker(Waker::noop()));
    client.probe().await.expect("a client can be made anew");
    assert_eq!(client.deliver(&batch).await.expect("it is taken").size, 900);
    assert_eq!(read(&far, stream).await, leaves(stream, 900));
}

async fn a_batch_that_comes_too_early_leaves_no_hole<F: FarEnd>(far: F) {
    let (mut client, stream) = (client(&far).await, stream());
    let early = client.deliver(&piece(stream, 3..5)).await.expect("it is answered");
    assert!(early.size == 0 || early.size == 5, "{early:?}");
    for seqs in [0..3, 3..5] {
        client.deliver(&piece(stream, seqs)).await.expect("it is taken");
    }
    assert_eq!(read(&far, stream).await, leaves(stream, 5));
}

async fn the_one_stamp_at_fault_is_found_in_the_middle<F: FarEnd>(far: F) {
    let (mut client, stream) = (client(&far).await, stream());
    let (count, poison) = (200, 77);
    let mut all = piece(stream, 0..count);
    let mut long = stamp(stream, poison);
    long.detail.target = Some(vec![b'x'; 1_200_000]);
    all.entries[poison as usize] = entry(long.clone());
    let mut plan = Plan::new(Limits { rows_max: count, rows_small: count });
    plan.extend(stream, 0, count);
    while let Some(span) = plan.next(false) {
        let entries = all.entries[span.from as usize..span.to as usize].to_vec();
        let outcome = client.deliver(&Batch { stream, first_seq: span.from, entries }).await;
        let verdict = match outcome {
            Ok(delivery) => plan.delivered(span, delivery.size),
            Err(error) => {
                assert_eq!(error.class(), Class::Reject, "{error}");
                client.probe().await.expect("the far end is still there");
                plan.rejected(span, error.seq)
            }
        };
        if let Verdict::Poison(seq) = verdict {
            assert_eq!(seq, poison);
            all.entries[seq as usize] = withheld(long.clone());
        }
    }
    let wanted: Vec<Leaf> = all.entries.iter().map(|entry| *entry.leaf()).collect();
    assert_eq!(read(&far, stream).await, wanted);
}

async fn a_body_may_come_after_its_leaf<F: FarEnd>(far: F) {
    let (mut client, stream) = (client(&far).await, stream());
    let mut batch = piece(stream, 0..3);
    batch.entries[1] = withheld(stamp(stream, 1));
    assert_eq!(client.deliver(&batch).await.expect("it is taken").size, 3);
    let late = client.deliver(&piece(stream, 1..2)).await.expect("it is taken");
    assert!(late.size == 2 || late.size == 3, "{late:?}");
    assert_eq!(read(&far, stream).await, leaves(stream, 3));
}

async fn another_body_under_the_same_seq_is_noticed<F: FarEnd>(far: F) {
    let (mut client, stream) = (client(&far).await, stream());
    client.deliver(&piece(stream, 0..4)).await.expect("it is taken");
    let mut forged = piece(stream, 0..4);
    let mut other = stamp(stream, 2);
    other.size = Some(999);
    forged.entries[2] = entry(other);
    match client.deliver(&forged).await {
        Err(SinkError { class: Class::Fork, seq, .. }) => assert_eq!(seq, Some(2)),
        Err(other) => panic!("{other}"),
        Ok(_) => {
            let found = far.read(stream).await;
            let doubled: Vec<u64> =
                found.iter().filter(|(_, leaves)| leaves.len() > 1).map(|(seq, _)| *seq).collect();
            assert_eq!(doubled, [2], "the reader sees it");
            return;
        }
    }
    assert_eq!(read(&far, stream).await, leaves(stream, 4), "what was there stays");
}

async fn streams_do_not_disturb_each_other<F: FarEnd>(far: F) {
    let mut client = client(&far).await;
    let (one, two) = (stream(), stream());
    for (stream, seqs) in [(one, 0..2), (two, 0..5), (one, 2..4), (two, 5..6)] {
        let end = seqs.end;
        assert_eq!(client.deliver(&piece(stream, seqs)).await.expect("it is taken").size, end);
    }
    assert_eq!(read(&far, one).await, leaves(one, 4));
    assert_eq!(read(&far, two).await, leaves(two, 6));
}

async fn the_far_end_says_who_it_is_each_time_the_same<F: FarEnd>(far: F) {
    let (mut one, mut two) = (far.client(), far.client());
    let first = one.probe().await.expect("the far end is there");
    assert_eq!(two.probe().await.expect("the far end is there"), first);
    assert!(!first.0.is_empty());
}

macro_rules! suite {
    ($sink:ident, $far:ty, [$($case:ident),* $(,)?]) => {
        mod $sink {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(<$far>::create().await).await;
                }
            )*
        }
    };
}

macro_rules! suites {
    ($cases:tt) => {
        suite!(recording, InMemory, $cases);
        suite!(postgres, OnPostgres, $cases);
        suite!(kafka, OnKafka, $cases);
        suite!(bridge, OverBridge, $cases);
    };
}

suites!([
    a_batch_is_confirmed_up_to_its_end,
    a_batch_that_comes_again_has_no_further_effect,
    a_restarted_client_goes_on_where_the_last_one_was_confirmed,
    an_abandoned_delivery_can_be_made_again,
    a_batch_that_comes_too_early_leaves_no_hole,
    the_one_stamp_at_fault_is_found_in_the_middle,
    a_body_may_come_after_its_leaf,
    another_body_under_the_same_seq_is_noticed,
    streams_do_not_disturb_each_other,
    the_far_end_says_who_it_is_each_time_the_same,
]);
