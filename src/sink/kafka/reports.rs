//! What librdkafka reports: which records arrived, what failed, and its own words.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::fault;
use crate::model::class::Class;
use crate::model::rung::{Height, Rung};
use crate::sink::SinkError;

/// What librdkafka reports. Written and read by the client's thread only; the lock is for the type.
#[derive(Default)]
pub(super) struct Reports(Mutex<State>);

#[derive(Default)]
struct State {
    /// Which records of the batch are confirmed.
    confirmed: Vec<bool>,
    /// How many, from the first on, are.
    prefix: usize,
    sent: usize,
    reported: usize,
    /// The first record that failed, and why.
    failed: Option<(usize, KafkaError)>,
    /// The last thing that went wrong with the road, as opposed to a record.
    trouble: Option<(KafkaError, String)>,
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch of `count` records begins.
    pub(super) fn begin(&self, count: usize) {
        *self.lock() = State { confirmed: vec![false; count], ..State::default() };
    }

    /// One more record was sent.
    pub(super) fn sent(&self) {
        self.lock().sent += 1;
    }

    /// Records sent and not reported on.
    pub(super) fn in_flight(&self) -> usize {
        let state = self.lock();
        state.sent - state.reported
    }

    /// The confirmed prefix, and the error of the record behind it once it is the first to matter.
    pub(super) fn standing(&self, topic: &str) -> (usize, Option<SinkError>) {
        let state = self.lock();
        let failed = state.failed.as_ref().filter(|(index, _)| *index == state.prefix);
        let error = failed.map(|(_, error)| fault::sink_error(error.clone(), topic));
        (state.prefix, error)
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
    fn report(&mut self, index: usize, outcome: Result<(), KafkaError>) {
        self.reported += 1;
        match outcome {
            Ok(()) => {
                if let Some(confirmed) = self.confirmed.get_mut(index) {
                    *confirmed = true;
                }
                while self.confirmed.get(self.prefix) == Some(&true) {
                    self.prefix += 1;
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
        self.lock().report(index, outcome);
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
