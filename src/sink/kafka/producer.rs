//! The producer and the thread that owns it.
//!
//! The thread sends while something is under way, and otherwise sleeps until there is work; what becomes
//! of the records is taken in beside it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::sync::{mpsc, oneshot};

use super::client::{Answer, Job, Outcome, PROBE_TIMEOUT, Piece, Records, Work};
use super::poller::Poller;
use super::reports::{Reports, Standing};
use super::{Config, fault};
use crate::model::class::Class;
use crate::model::envelope::Event;
use crate::model::rung::{Height, Rung};
use crate::sink::SinkError;

/// How long one question of a probe may take, before what went wrong meanwhile is looked at.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait before the same question is asked again.
const QUESTION_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait for reports before records that were rendered meanwhile are sent.
const REPORTS_WAIT: Duration = Duration::from_millis(1);
/// A poll that only lets in what is there.
const POLL_WAIT: Duration = Duration::from_millis(1);
/// How often an idle thread lets librdkafka's own news go, so that they do not pile up.
const TIDY_EVERY: Duration = Duration::from_mins(1);

/// A producer.
pub(super) struct Producer {
    // Before the producer, which it holds too.
    poller: Poller,
    inner: Arc<BaseProducer<Reports>>,
    in_flight_max: usize,
    progress_timeout: Duration,
    down_timeout: Duration,
}

impl Producer {
    pub(super) fn new(settings: &ClientConfig, config: &Config) -> Result<Self, String> {
        let inner: BaseProducer<Reports> = settings
            .create_with_context(Reports::default())
            .map_err(|error: KafkaError| format!("librdkafka refuses its settings: {error}"))?;
        let inner = Arc::new(inner);
        let poller = Poller::start(Arc::clone(&inner))
            .map_err(|error| format!("the thread of the Kafka client does not start: {error}"))?;
        let &Config { in_flight_max, progress_timeout, down_timeout, .. } = config;
        Ok(Self { poller, inner, in_flight_max, progress_timeout, down_timeout })
    }

    /// Does what it is asked until nobody can ask any more.
    pub(super) fn serve(&self, work: &Receiver<Work>) {
        loop {
            match work.recv_timeout(TIDY_EVERY) {
                Ok(Work::Probe { topic, is_made, reply }) => {
                    let answer = self.probe(&topic, is_made, &reply);
                    let _ = reply.send(answer);
                }
                Ok(Work::Deliver(job)) => self.deliver(job),
                Err(RecvTimeoutError::Timeout) => self.inner.poll(POLL_WAIT),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn probe(
        &self,
        topic: &str,
        is_made: bool,
        reply: &oneshot::Sender<Result<Answer, Rung>>,
    ) -> Result<Answer, Rung> {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        loop {
            let doubt = match self.question(topic) {
                Ok(Some(answer)) if is_made && answer.topic_is_missing => {
                    format!("the topic {topic} was created and is not there")
                }
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => "its topic has no leader yet".to_owned(),
                Err(rung) if rung.class == Class::Park => return Err(rung),
                Err(rung) => rung.text,
            };
            self.inner.poll(POLL_WAIT);
            if let Some(rung) = self.reports().trouble(topic) {
                return Err(rung);
            }
            if Instant::now() >= deadline || reply.is_closed() {
                let text = format!("the cluster does not answer as it should: {doubt}");
                return Err(Rung::retry(Height::Application, text));
            }
            self.inner.poll(QUESTION_PAUSE);
        }
    }

    /// Asks once; none when the answer may be another one soon.
    fn question(&self, topic: &str) -> Result<Option<Answer>, Rung> {
        let client = self.inner.client();
        let metadata = client
            .fetch_metadata(Some(topic), QUESTION_TIMEOUT)
            .map_err(|error| Rung::retry(Height::Application, error.to_string()))?;
        let cluster_id = client.fetch_cluster_id(QUESTION_TIMEOUT).ok_or_else(|| {
            Rung::retry(Height::Identity, "the cluster does not say which one it is")
        })?;
        let Some(found) = metadata.topics().first() else { return Ok(None) };
        let code = found.error().map(Code::from);
        match code {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                return Ok(Some(Answer { cluster_id, topic_is_missing: true }));
            }
            Some(code) if fault::class(code) == Class::Park => {
                let advice = fault::advice(code, topic);
                return Err(Rung::park(Height::Application, format!("{code}{advice}")));
            }
            Some(_) => return Ok(None),
            None => {}
        }
        let led = found.partitions().iter().all(|partition| partition.leader() >= 0);
        let ready = led && !found.partitions().is_empty();
        Ok(ready.then_some(Answer { cluster_id, topic_is_missing: false }))
    }

    fn deliver(&self, job: Job) {
        let Job { records, mut pieces, reply } = job;
        let counts: Vec<usize> = records.lanes.iter().map(|lane| lane.count).collect();
        let count: usize = counts.iter().sum();
        self.reports().begin(&counts);
        let _polling = self.poller.poll();
        let mut sending = Sending::of(&records);
        let mut progress = (0, Instant::now());
        let outcome = loop {
            self.feed(&mut sending, &mut pieces);
            self.reports().wait(REPORTS_WAIT);
            let now = Instant::now();
            let standing = self.reports().standing(&records.topic);
            let sum = standing.sum();
            if sum > progress.0 {
                progress = (sum, now);
            }
            let Standing { confirmed, error } = standing;
            let fault = error.or_else(|| sending.take_fault(sum));
            let stuck = || {
                let error = self.stuck(&records.topic, now.duration_since(progress.1))?;
                Some((first_of_rest(&confirmed, &counts), error))
            };
            let done = sum == count;
            if let Some(error) = fault.or_else(|| if done { None } else { stuck() }) {
                break Outcome { confirmed, error: Some(error) };
            }
            if done || reply.is_closed() {
                break Outcome { confirmed, error: None };
            }
        };
        pieces.close();
        // Whoever abandoned the batch drops the client too.
        let _ = reply.send(outcome);
    }

    /// Sends what is there, as far as the window reaches.
    fn feed(&self, sending: &mut Sending<'_>, pieces: &mut mpsc::Receiver<Piece>) {
        while sending.fault.is_none() && self.reports().in_flight() < self.in_flight_max {
            let Some(event) = sending.next(pieces) else { return };
            match self.produce(sending, &event) {
                Ok(()) => {
                    sending.sent += 1;
                    self.reports().sent();
                }
                Err(error) if error.rdkafka_error_code() == Some(Code::QueueFull) => {
                    sending.queue.push_front(event);
                    return;
                }
                Err(error) => {
                    let error = fault::sink_error(error, &sending.records.topic);
                    sending.fault = Some((sending.lane, error));
                }
            }
        }
    }

    fn produce(&self, sending: &Sending<'_>, event: &Event) -> KafkaResult<()> {
        let headers =
            event.headers.iter().fold(
                OwnedHeaders::new_with_capacity(event.headers.len()),
                |headers, (key, value)| headers.insert(Header { key, value: Some(value) }),
            );
        let record = BaseRecord::with_opaque_to(&sending.records.topic, sending.sent)
            .key(&sending.records.lanes[sending.lane].key)
            .payload(&event.value)
            .headers(headers);
        self.inner.send(record).map_err(|(error, _)| error)
    }

    /// Why nothing moves, once that is certain.
    fn stuck(&self, topic: &str, since: Duration) -> Option<SinkError> {
        if let Some((code, text)) = self.inner.client().fatal_error() {
            let advice = fault::advice(code, topic);
            let text = format!("the Kafka producer cannot go on: {text}{advice}");
            // A new producer has no better luck with a right that is missing.
            let is_parked = fault::class(code) == Class::Park;
            let class = if is_parked { Class::Park } else { Class::Retry };
            return Some(SinkError::new(class, format!("{code:?}"), text));
        }
        if since >= self.down_timeout
            && let Some(rung) = self.reports().trouble(topic)
        {
            return Some(SinkError::new(rung.class, "connection", rung.text));
        }
        let stalled = since >= self.progress_timeout;
        stalled.then(|| {
            let text = format!("Kafka confirmed nothing for {} s", since.as_secs());
            SinkError::new(Class::Retry, "stalled", text)
        })
    }

    fn reports(&self) -> &Reports {
        self.inner.context()
    }
}

/// Records on their way out, one lane after the other.
struct Sending<'a> {
    records: &'a Records,
    /// The lane of what is in `queue`.
    lane: usize,
    queue: VecDeque<Event>,
    sent: usize,
    /// Why the record after the ones sent was not taken, and its lane.
    fault: Option<(usize, SinkError)>,
}

impl<'a> Sending<'a> {
    fn of(records: &'a Records) -> Self {
        Self { records, lane: 0, queue: VecDeque::new(), sent: 0, fault: None }
    }

    /// The next record, if it is rendered.
    fn next(&mut self, pieces: &mut mpsc::Receiver<Piece>) -> Option<Event> {
        if self.queue.is_empty() {
            let Piece { lane, events } = pieces.try_recv().ok()?;
            self.lane = lane;
            self.queue.extend(events);
        }
        self.queue.pop_front()
    }

    /// The fault, once everything before it is confirmed.
    fn take_fault(&mut self, confirmed: usize) -> Option<(usize, SinkError)> {
        if confirmed == self.sent { self.fault.take() } else { None }
    }
}

/// The first lane that is not confirmed whole.
fn first_of_rest(confirmed: &[usize], counts: &[usize]) -> usize {
    confirmed.iter().zip(counts).position(|(confirmed, count)| confirmed < count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::super::client::Lane;
    use super::super::settings;
    use super::*;

    /// A wait of a millisecond was one of none, a thousand times over: half of a busy bridge's processor
    /// time went into waiting for the broker.
    #[test]
    fn whoever_waits_for_a_broker_sleeps() {
        let config = Config {
            brokers: vec!["127.0.0.1:1".to_owned()],
            down_timeout: Duration::from_millis(300),
            ..Config::default()
        };
        let settings = settings::client(&config).map_err(|rung| rung.text).expect("a plain road");
        let producer = Producer::new(&settings, &config).expect("the client starts");
        let lanes = vec![Lane { key: "key".to_owned(), count: 1 }];
        let records = Records { topic: "nowhere".to_owned(), lanes };
        let (_feed, pieces) = mpsc::channel(1);
        let (reply, outcome) = oneshot::channel();
        let begin = Instant::now();
        producer.deliver(Job { records, pieces, reply });
        let (waited, used) = (begin.elapsed(), clock_gettime(ClockId::ThreadCPUTime));
        let outcome = outcome.blocking_recv().expect("there is an answer");
        assert_eq!(outcome.confirmed, [0]);
        assert!(outcome.error.is_some());
        let used: Duration = used.try_into().expect("a thread's clock is never negative");
        assert!(used < waited / 2, "{used:?} of the processor in {waited:?}");
    }
}
