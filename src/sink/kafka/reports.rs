//! What librdkafka reports: which records arrived, what failed, and its own words.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::fault;
use crate::model::class::Class;
use crate::model::rung::{Height, Rung};
use crate::sink::SinkError;

/// What librdkafka reports: written by the thread that polls, read by the client's.
#[derive(Default)]
pub(super) struct Reports {
    state: Mutex<State>,
    /// Every record is reported on.
    settled: Condvar,
}

#[derive(Default)]
struct State {
    /// Which records are confirmed, those of one lane behind those of the other.
    confirmed: Vec<bool>,
    /// Records whose order matters, each after the ones before it.
    lanes: Vec<Lane>,
    sent: usize,
    reported: usize,
    /// The first record that failed, and why.
    failed: Option<(usize, KafkaError)>,
    /// The last thing that went wrong with the road, as opposed to a record.
    trouble: Option<(KafkaError, String)>,
}

/// The records of one key.
#[derive(Clone, Copy)]
struct Lane {
    /// The place of its first record.
    first: usize,
    /// The place behind its last one.
    end: usize,
    /// The place of the first record that is not confirmed.
    prefix: usize,
}

/// How the records stand.
pub(super) struct Standing {
    /// How many of each lane are confirmed, from its first on.
    pub(super) confirmed: Vec<usize>,
    /// A lane, and the error of the record behind those.
    pub(super) error: Option<(usize, SinkError)>,
}

impl Standing {
    /// How many records are confirmed and follow on confirmed ones.
    pub(super) fn sum(&self) -> usize {
        self.confirmed.iter().sum()
    }
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lanes of so many records each begin.
    pub(super) fn begin(&self, counts: &[usize]) {
        let mut first = 0;
        let lane = |&count: &usize| {
            let lane = Lane { first, end: first + count, prefix: first };
            first = lane.end;
            lane
        };
        let lanes = counts.iter().map(lane).collect();
        *self.lock() = State { confirmed: vec![false; first], lanes, ..State::default() };
    }

    /// One more record was sent.
    pub(super) fn sent(&self) {
        self.lock().sent += 1;
    }

    /// Records sent and not reported on.
    pub(super) fn in_flight(&self) -> usize {
        let state = self.lock();
        // A report may come before its record was noted as sent.
        state.sent.saturating_sub(state.reported)
    }

    /// Waits until every record is reported on, and at most so long.
    pub(super) fn wait(&self, at_most: Duration) {
        let state = self.lock();
        drop(self.settled.wait_timeout_while(state, at_most, |state| !state.is_settled()));
    }

    /// The confirmed prefixes, and the error of the record behind one once it is the first to matter.
    pub(super) fn standing(&self, topic: &str) -> Standing {
        let state = self.lock();
        let error = state.failed.as_ref().and_then(|(index, error)| {
            let lane = state.lane_of(*index)?;
            let is_next = state.lanes[lane].prefix == *index;
            is_next.then(|| (lane, fault::sink_error(error.clone(), topic)))
        });
        let confirmed = state.lanes.iter().map(|lane| lane.prefix - lane.first).collect();
        Standing { confirmed, error }
    }

    /// What is wrong with the road, if that needs more than patience.
    pub(super) fn trouble(&self, topic: &str) -> Option<Rung> {
        let state = self.lock();
        let (error, reason) = state.trouble.as_ref()?;
        let code = error.rdkafka_error_code()?;
        let text = format!("{reason}{}", fault::advice(code, topic));
        match code {
            Code::SSL => Some(Rung::retry(Height::Tls, text)),
            Code::AllBrokersDown => Some(Rung::retry(Height::Tcp, "all Kafka brokers are down")),
            code if fault::class(code) == Class::Park => {
                Some(Rung::park(Height::Application, text))
            }
            _ => None,
        }
    }
}

impl State {
    fn lane_of(&self, index: usize) -> Option<usize> {
        let lane = self.lanes.partition_point(|lane| lane.end <= index);
        (lane < self.lanes.len()).then_some(lane)
    }

    /// Moves a lane's prefix over what is confirmed.
    fn advance(&mut self, lane: usize) {
        let Lane { end, prefix, .. } = &mut self.lanes[lane];
        while *prefix < *end && self.confirmed[*prefix] {
            *prefix += 1;
        }
    }

    /// Whether every record is reported on.
    fn is_settled(&self) -> bool {
        self.reported >= self.confirmed.len()
    }

    fn report(&mut self, index: usize, outcome: Result<(), KafkaError>) {
        self.reported += 1;
        match outcome {
            Ok(()) => {
                if let Some(confirmed) = self.confirmed.get_mut(index) {
                    *confirmed = true;
                }
                if let Some(lane) = self.lane_of(index) {
                    self.advance(lane);
                }
                // Whatever was wrong with the road is no more.
                self.trouble = None;
            }
            Err(error) => {
                if self.failed.as_ref().is_none_or(|(first, _)| index < *first) {
                    self.failed = Some((index, error));
                }
            }
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        log_quietly(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        let mut state = self.lock();
        // That all brokers are down follows from what is wrong with each, which says more.
        let says_less = error.rdkafka_error_code() == Some(Code::AllBrokersDown)
            && state.trouble.as_ref().is_some_and(|(known, _)| {
                matches!(known.rdkafka_error_code(), Some(Code::SSL | Code::Authentication))
            });
        let transient = matches!(
            error.rdkafka_error_code(),
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut)
        );
        if !says_less && !transient {
            state.trouble = Some((error, reason.to_owned()));
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let outcome = result.as_ref().map(drop).map_err(|(error, _)| error.clone());
        let mut state = self.lock();
        state.report(index, outcome);
        if state.is_settled() {
            self.settled.notify_one();
        }
    }
}

/// librdkafka's own words are for whoever debugs it; what matters comes as errors.
fn log_quietly(facility: &str, message: &str) {
    tracing::debug!(target: "librdkafka", facility, message);
}

/// The context of clients from which nothing but an answer is wanted.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        log_quietly(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}
