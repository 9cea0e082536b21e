//! The task of a sink against a receiver that fails in every way: nothing is lost, nothing doubled,
//! and a person is told why it waits.

pub mod desk;

use std::time::{Duration, Instant};

use desk::{Desk, leaves, patience};
use stampd::model::batch::{Batch, Entry};
use stampd::model::class::Class;
use stampd::model::rung::{Height, Rung};
use stampd::model::status::ReachState;
use stampd::sink::Endpoint;
use stampd::sink::recording::{Fault, Receiver};
use stampd::sync::{Config, reach};
use tokio::net::TcpListener;

use crate::support::record::{entry, stamp};
use crate::support::wait::{DEADLINE, wait_for_async};

#[tokio::test]
async fn every_stamp_is_delivered_and_confirmed() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    desk.stamp(300).await;
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    desk.stamp(7_000).await;
    courier.confirmed().await;
    let stream = desk.stream();
    assert_eq!(leaves(&receiver.held(stream)), desk.leaves(stream));
    let status = courier.state(ReachState::Online, "").await;
    assert_eq!((status.queued, status.oldest, status.dead_letters), (0, None, 0));
    assert!(status.confirmed_at.is_some(), "{status:?}");
    courier.stop().await;
    assert_eq!(receiver.clients(), 0, "a stopped task lets go");
}

#[tokio::test]
async fn a_restarted_task_goes_on_at_its_cursor() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    desk.stamp(50).await;
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    courier.stop().await;
    let before = receiver.deliveries();
    desk.stamp(50).await;
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    assert_eq!(receiver.deliveries(), before + 1);
    assert_eq!(leaves(&receiver.held(desk.stream())), desk.leaves(desk.stream()));
}

#[tokio::test]
async fn a_closed_road_holds_no_client_and_delivers_once_it_opens() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    receiver.close_road(Rung::retry(Height::Application, "under the sea"));
    desk.stamp(10).await;
    let courier = desk.deliver_to(receiver.sink());
    let status = courier.state(ReachState::Offline, "under the sea").await;
    assert_eq!((status.queued, receiver.clients()), (11, 0));
    let soon = Instant::now() + Duration::from_millis(50);
    let refusal = courier.handle.wait_confirmed(Some(soon)).await.unwrap_err();
    assert!(refusal.to_string().contains("under the sea"), "{refusal}");
    desk.stamp(10).await;
    receiver.open_road();
    courier.confirmed().await;
    assert_eq!(leaves(&receiver.held(desk.stream())), desk.leaves(desk.stream()));
}

#[tokio::test]
async fn a_knock_finds_the_road_open_however_long_the_backoff_has_grown() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let host = closed.ip().to_string();
    receiver.lead_through(Endpoint { host, port: closed.port(), tls: None });
    desk.stamp(1).await;
    let hours = Duration::from_hours(9);
    let reach = reach::Config { backoff_first: hours, backoff_max: hours, ..patience().reach };
    let courier = desk.deliver_with(receiver.sink(), Config { reach, ..patience() });
    courier.state(ReachState::Offline, "nothing listens").await;
    let _listener = TcpListener::bind(closed).await.unwrap();
    // Not through `wait_confirmed`, which asks for a probe: the knock alone must find it.
    wait_for_async("it is delivered", async || (courier.handle.status().queued == 0).then_some(()))
        .await;
}

#[tokio::test]
async fn an_idle_road_holds_no_client_and_takes_the_next_stamp() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    let idle_close = Duration::from_millis(1);
    let courier = desk.deliver_with(receiver.sink(), Config { idle_close, ..patience() });
    for _ in 0..3 {
        desk.stamp(3).await;
        courier.confirmed().await;
        wait_for_async("it lets go", async || (receiver.clients() == 0).then_some(())).await;
        assert_eq!(courier.handle.status().state, ReachState::Online);
    }
    assert_eq!(leaves(&receiver.held(desk.stream())), desk.leaves(desk.stream()));
}

#[tokio::test]
async fn a_lost_answer_doubles_nothing() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    for fault in [Fault::LoseAnswer, Fault::Refuse(Class::Retry), Fault::LoseAnswer] {
        receiver.fail_next(fault);
    }
    desk.stamp(40).await;
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    assert_eq!(leaves(&receiver.held(desk.stream())), desk.leaves(desk.stream()));
}

#[tokio::test]
async fn a_silent_receiver_is_given_up_and_asked_again() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    receiver.fail_next(Fault::Hang);
    desk.stamp(5).await;
    let deliver_timeout = Duration::from_millis(50);
    let courier = desk.deliver_with(receiver.sink(), Config { deliver_timeout, ..patience() });
    courier.confirmed().await;
    assert_eq!(leaves(&receiver.held(desk.stream())), desk.leaves(desk.stream()));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_silent_receiver() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    receiver.fail_next(Fault::Hang);
    desk.stamp(5).await;
    let close_grace = Duration::from_millis(20);
    let config = Config { close_grace, deliver_timeout: DEADLINE * 10, ..patience() };
    let courier = desk.deliver_with(receiver.sink(), config);
    wait_for_async("it hangs", async || (receiver.deliveries() == 1).then_some(())).await;
    courier.stop().await;
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
}

#[tokio::test]
async fn a_receiver_that_wants_less_gets_less() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    for _ in 0..4 {
        receiver.fail_next(Fault::Refuse(Class::RetrySmaller));
    }
    desk.stamp(500).await;
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    assert_eq!(leaves(&receiver.held(desk.stream())), desk.leaves(desk.stream()));
}

#[tokio::test]
async fn exactly_the_stamp_at_fault_is_set_aside_and_can_be_retried() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    desk.stamp(200).await;
    let stream = desk.stream();
    let longest = 100 + desk.batch(stream).entries.iter().map(length).max().unwrap();
    desk.stamp_long_link(longest).await;
    desk.stamp(200).await;
    receiver.refuse_bodies_over(longest);
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    let dead = desk.spool().reader().unwrap().dead("recording").unwrap();
    assert_eq!(dead.iter().map(|dead| dead.seq).collect::<Vec<_>>(), [201]);
    assert_eq!((dead[0].letter.code.as_str(), courier.handle.status().dead_letters), ("23514", 1));
    let held = receiver.held(stream);
    assert_eq!(leaves(&held), desk.leaves(stream), "its leaf went on");
    let withheld = |entry: &&Entry| matches!(entry, Entry::Withheld { .. });
    assert_eq!(held.iter().filter(withheld).count(), 1);

    let refusal = courier.handle.retry_dead(stream, 201).await.unwrap_err();
    assert!(refusal.to_string().contains("too long"), "{refusal}");
    assert!(courier.handle.retry_dead(stream, 5).await.is_err(), "that is no dead letter");
    receiver.refuse_bodies_over(usize::MAX);
    courier.handle.retry_dead(stream, 201).await.unwrap();
    assert_eq!(courier.handle.status().dead_letters, 0);
    assert_eq!(receiver.held(stream).iter().filter(withheld).count(), 0);
}

fn length(entry: &Entry) -> usize {
    match entry {
        Entry::Stamp(sealed) => sealed.body.len(),
        Entry::Withheld { .. } => 0,
    }
}

#[tokio::test]
async fn what_was_set_aside_stays_so_when_everything_goes_again() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    desk.stamp(10).await;
    let stream = desk.stream();
    let longest = 100 + desk.batch(stream).entries.iter().map(length).max().unwrap();
    desk.stamp_long_link(longest).await;
    receiver.refuse_bodies_over(longest);
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    receiver.restore(stream, 0);
    let before = receiver.deliveries();
    desk.stamp(1).await;
    courier.confirmed().await;
    assert_eq!(leaves(&receiver.held(stream)), desk.leaves(stream));
    assert!(receiver.deliveries() <= before + 3, "nothing was searched for again");
    assert_eq!(courier.handle.status().dead_letters, 1);
}

#[tokio::test]
async fn a_stamp_is_not_set_aside_before_the_receiver_has_its_leaf() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    desk.stamp(10).await;
    let stream = desk.stream();
    let longest = 100 + desk.batch(stream).entries.iter().map(length).max().unwrap();
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    receiver.refuse_bodies_over(longest);
    receiver.restore(stream, 0);
    desk.stamp_long_link(longest).await;
    courier.confirmed().await;
    assert_eq!(leaves(&receiver.held(stream)), desk.leaves(stream));
    assert_eq!(courier.handle.status().dead_letters, 1);
}

#[tokio::test]
async fn a_receiver_restored_to_an_older_state_gets_the_rest_again() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    desk.stamp(60).await;
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    let stream = desk.stream();
    for size in [40, 0] {
        receiver.restore(stream, size);
        desk.stamp(1).await;
        courier.confirmed().await;
        wait_for_async("the receiver has all of it", async || {
            (receiver.held(stream).len() == desk.leaves(stream).len()).then_some(())
        })
        .await;
        assert_eq!(leaves(&receiver.held(stream)), desk.leaves(stream));
    }
    assert_eq!(desk.streams().len(), 1);
}

#[tokio::test]
async fn what_a_faster_road_brought_is_not_sent_again() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    desk.stamp(6_000).await;
    let stream = desk.stream();
    receiver.take(&desk.batch(stream)).unwrap();
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    assert_eq!(receiver.deliveries(), 1, "one small batch shows how far the other road came");
    assert_eq!(courier.handle.status().queued, 0);
    assert_eq!(desk.streams().len(), 1);
}

#[tokio::test]
async fn a_sink_added_after_bodies_were_purged_gets_their_leaves() {
    let mut desk = Desk::new();
    desk.stamp(20).await;
    desk.stamp_again(1).await;
    let (stream, size) = desk.streams()[0];
    desk.spool().confirm("other", stream, size).await.unwrap();
    desk.clock.advance(Duration::from_hours(24 * 365));
    while desk.spool().purge(desk.clock.now()).await.unwrap().more {}
    let receiver = Receiver::new("r");
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    let held = receiver.held(stream);
    assert_eq!(leaves(&held), desk.leaves(stream), "there is no hole");
    let withheld = held.iter().filter(|entry| matches!(entry, Entry::Withheld { .. })).count();
    assert!(withheld >= 20, "{withheld} of {} are withheld", held.len());
}

#[tokio::test]
async fn another_server_than_at_first_contact_gets_nothing() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("first"));
    desk.stamp(3).await;
    let courier = desk.deliver_to(receiver.sink());
    courier.confirmed().await;
    courier.stop().await;
    let other = Receiver::new("second");
    desk.stamp(3).await;
    let courier = desk.deliver_to(other.sink());
    courier.state(ReachState::Parked, "stampd sync forget recording").await;
    assert_eq!((other.deliveries(), other.clients()), (0, 0));
    other.rename("first");
    courier.confirmed().await;
}

#[tokio::test]
async fn what_needs_a_person_is_parked_until_it_is_mended() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    receiver.close_road(Rung::park(Height::Application, "run `stampd migrate`"));
    desk.stamp(3).await;
    let courier = desk.deliver_to(receiver.sink());
    courier.state(ReachState::Parked, "stampd migrate").await;
    receiver.fail_next(Fault::Refuse(Class::Park));
    receiver.open_road();
    courier.confirmed().await;
    courier.state(ReachState::Online, "").await;
}

/// Another stamp under a seq of this stream.
fn other(stream: stampd::model::stream::StreamId, seq: u64) -> Entry {
    let mut other = stamp(stream, seq);
    other.size = Some(4_711);
    entry(other)
}

#[tokio::test]
async fn a_fork_goes_on_in_a_new_stream_from_the_first_seq_that_differs() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    desk.stamp(9).await;
    let stream = desk.stream();
    let mut forked = desk.batch(stream);
    forked.entries.truncate(5);
    forked.entries.push(other(stream, 5));
    receiver.take(&forked).unwrap();
    let courier = desk.deliver_to(receiver.sink());
    wait_for_async("a new stream is opened", async || (desk.streams().len() == 2).then_some(()))
        .await;
    courier.confirmed().await;
    let streams = desk.streams();
    assert_eq!(streams[0], (stream, 5));
    assert_eq!(streams[1].1, 1 + 5, "opened, and what came after the fork");
    assert_eq!(leaves(&receiver.held(streams[1].0)), desk.leaves(streams[1].0));
    assert_eq!(leaves(&receiver.held(stream)), leaves(&forked.entries), "what was there stays");
    desk.stamp(2).await;
    courier.confirmed().await;
    assert_eq!(leaves(&receiver.held(streams[1].0)), desk.leaves(streams[1].0));
}

#[tokio::test]
async fn a_receiver_that_holds_more_than_was_stamped_proves_a_fork() {
    let (mut desk, receiver) = (Desk::new(), Receiver::new("r"));
    desk.stamp(4).await;
    let stream = desk.stream();
    let mut beyond: Batch = desk.batch(stream);
    let end = beyond.end();
    beyond.entries.extend([other(stream, end), other(stream, end + 1)]);
    receiver.take(&beyond).unwrap();
    let courier = desk.deliver_to(receiver.sink());
    wait_for_async("a new stream is opened", async || (desk.streams().len() == 2).then_some(()))
        .await;
    desk.stamp(3).await;
    courier.confirmed().await;
    let streams = desk.streams();
    assert_eq!(streams[0], (stream, end));
    assert_eq!(leaves(&receiver.held(streams[1].0)), desk.leaves(streams[1].0));
    assert_eq!(courier.handle.status().queued, 0);
}
