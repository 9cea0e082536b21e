//! What holds the stamps: the record, or an agent's spool. Both answer the same questions.
//!
//! A failure is logged here with all its causes, and the caller is told only that it may come again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::counts::Counts;
use super::problem::{Code, Problem};
use crate::model::content::{Order, Row, Stamped};
use crate::model::digest::Digest;
use crate::runtime::chain::chain;
use crate::spool::Contents;
use crate::store::stamps::{Desk, Refused};

/// What holds the stamps.
#[derive(Clone)]
pub enum Backend {
    /// The record, in PostgreSQL.
    Store(Desk),
    /// The spool of the agent in whose process this is.
    Spool(Contents),
}

/// What became of each order, in their order.
pub(super) type Answers = Vec<Result<Stamped, Problem>>;

impl Backend {
    /// Stamps contents, durable when it returns.
    pub(super) async fn stamp(
        &self,
        orders: Vec<Order>,
        counts: &Counts,
    ) -> Result<Answers, Problem> {
        let asked = Instant::now();
        let answers = match self {
            Self::Spool(contents) => {
                let stamped =
                    contents.stamp(orders).await.map_err(|error| unavailable(error, counts));
                stamped.map(|all| all.into_iter().map(Ok).collect())
            }
            Self::Store(desk) => {
                desk.stamp(orders).await.map_err(|error| unavailable(error, counts)).map(|all| {
                    all.into_iter().map(|one| one.map_err(|error| refused(&error))).collect()
                })
            }
        };
        counts.asked("stamp", asked, answers.is_ok());
        answers
    }

    /// The rows of a content, newest first.
    pub(super) async fn find(
        &self,
        digest: &Digest,
        namespace: Option<&str>,
        path: Option<&str>,
        counts: &Counts,
    ) -> Result<Vec<Row>, Problem> {
        let asked = Instant::now();
        let rows = match self {
            Self::Spool(contents) => contents
                .find(digest, namespace, path)
                .await
                .map_err(|error| unavailable(error, counts)),
            Self::Store(desk) => {
                desk.find(digest, namespace, path).await.map_err(|error| unavailable(error, counts))
            }
        };
        counts.asked("find", asked, rows.is_ok());
        rows
    }

    /// How many rows a namespace has, and a page of them, newest first.
    pub(super) async fn page(
        &self,
        namespace: &str,
        limit: u32,
        offset: u64,
        counts: &Counts,
    ) -> Result<(u64, Vec<Row>), Problem> {
        let asked = Instant::now();
        let page = match self {
            Self::Spool(contents) => contents
                .page(namespace, limit, offset)
                .await
                .map_err(|error| unavailable(error, counts)),
            Self::Store(desk) => desk
                .page(namespace, limit, offset)
                .await
                .map_err(|error| unavailable(error, counts)),
        };
        counts.asked("page", asked, page.is_ok());
        page
    }

    /// How long it takes to answer at all.
    pub(super) async fn ping(&self, counts: &Counts) -> Result<Duration, Problem> {
        match self {
            Self::Spool(contents) => {
                contents.ping().await.map_err(|error| unavailable(error, counts))
            }
            Self::Store(desk) => desk.ping().await.map_err(|error| unavailable(error, counts)),
        }
    }

    /// Its name among the components of the health routes.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Spool(_) => "spool",
            Self::Store(_) => "database",
        }
    }
}

/// The data is at fault, and what the database says of it is for the log.
fn refused(refused: &Refused) -> Problem {
    tracing::warn!(error = %refused, code = refused.code, "the database refused an order");
    Problem::new(Code::ValidationError, "the content cannot be held: a value of it is refused")
}

fn unavailable(error: impl std::error::Error + 'static, counts: &Counts) -> Problem {
    if let Some(untold) = counts.outage.tell(Instant::now()) {
        let error = chain(&error);
        tracing::warn!(%error, untold, "failed to answer a request from what holds the stamps");
    }
    Problem::new(
        Code::DatabaseUnavailable,
        "what holds the stamps cannot be reached: nothing was stamped; send it again later",
    )
}

/// Keeps the log readable in an outage, in which every request fails for the same reason: one line
/// now and then, with the number of those that were kept back.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<(Option<Instant>, u64)>);

impl Outage {
    /// The time between two lines.
    const EVERY: Duration = Duration::from_secs(10);

    /// Whether to tell of a failure, and how many were kept back since the last that was told.
    fn tell(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, untold) = &mut *state;
        if told.is_some_and(|told| now.duration_since(told) < Self::EVERY) {
            *untold += 1;
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of an outage under load was thousands of lines.
    #[test]
    fn an_outage_is_told_at_once_and_then_seldom() {
        let (outage, begin) = (Outage::default(), Instant::now());
        assert_eq!(outage.tell(begin), Some(0));
        for request in 1..=500 {
            assert_eq!(outage.tell(begin + Duration::from_millis(request)), None);
        }
        assert_eq!(outage.tell(begin + Outage::EVERY), Some(500));
        assert_eq!(outage.tell(begin + Outage::EVERY), None);
    }
}
