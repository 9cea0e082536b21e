//! Dead letters on their way to the topics of dead letters, `<topic>.dlq`.
//!
//! A letter is in the database first, in the transaction that read past its record. It goes onto the
//! topic afterwards, and is marked when the broker has it; of several adapters one does this at a
//! time. Killed in between, a letter is on the topic twice, with the same place in `ce_id`.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::outlet::{Outgoing, Outlet, OutletError};
use super::view::Side;
use super::{Config, Parts};
use crate::runtime::chain::chain;
use crate::runtime::failpoint;
use crate::runtime::time::Timestamp;
use crate::store::dead::{self, Letter, Which};
use crate::store::{Session, StoreError};

/// How often letters that others left are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// Letters fetched at once.
const FETCH: u32 = 100;
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What is added to a topic's name.
pub const SUFFIX: &str = ".dlq";

/// The task that publishes them.
pub(super) struct Drain {
    parts: Parts,
    outlet: Outlet,
}

#[derive(Debug, thiserror::Error)]
enum DrainError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Outlet(#[from] OutletError),
}

impl Drain {
    pub(super) fn new(config: &Config, parts: &Parts) -> Result<Self, OutletError> {
        Ok(Self { parts: parts.clone(), outlet: Outlet::new(&config.kafka)? })
    }

    /// Publishes until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // What was published and not marked is published again by the next sweep.
                drained = self.sweep() => self.tell(drained.err()),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = timeout(SWEEP, self.parts.letters.notified()) => {}
            }
        }
    }

    async fn sweep(&mut self) -> Result<(), DrainError> {
        let mut session = Session::open(&self.parts.address).await?;
        if dead::own(&mut session).await? {
            while self.publish(&mut session).await? {}
        }
        // The right to publish ends with the session.
        session.close(Instant::now() + GOODBYE).await;
        Ok(())
    }

    /// Publishes some; whether there may be more.
    async fn publish(&mut self, session: &mut Session) -> Result<bool, DrainError> {
        let letters = dead::fetch(session, Which::Unpublished, 0, FETCH).await?;
        for letter in &letters {
            match self.outlet.send(&outgoing(letter, true)).await {
                // It tells where the whole lies.
                Err(error) if error.is_too_large() => {
                    self.outlet.send(&outgoing(letter, false)).await?;
                }
                sent => sent?,
            }
            failpoint::pass("letter-published");
            self.parts.figures.published.inc();
            dead::published(session, &[letter.id]).await?;
        }
        Ok(letters.len() == FETCH as usize)
    }

    fn tell(&self, error: Option<DrainError>) {
        match error {
            None => {
                self.parts.view.dead_letters(Side::Good);
            }
            Some(error) => {
                let why = format!("failed to {}", chain(&error));
                if self.parts.view.dead_letters(Side::Bad(why.clone())) {
                    tracing::warn!(why, "dead letters wait in the database: trying on");
                }
            }
        }
    }
}

/// A letter as a record of its topic: all that was known, key and headers as they were; `whole` with
/// the record's value.
fn outgoing(letter: &Letter, whole: bool) -> Outgoing {
    let record = &letter.record;
    let mut headers = record.headers.clone();
    if !headers.iter().any(|(name, _)| name == "ce_id") {
        let place = format!("{}/{}/{}", record.topic, record.partition, record.offset);
        headers.push(("ce_id".to_owned(), Some(place.into_bytes())));
    }
    let mut document = Document::of(letter);
    if !whole {
        document.original_message = Original::None;
        document.original_message_encoding = "too_large";
    }
    Outgoing {
        topic: format!("{}{SUFFIX}", record.topic),
        key: record.key.clone(),
        value: serde_json::to_vec(&document).expect("all its keys are strings"),
        headers,
    }
}

/// A letter as a document.
#[derive(Debug, Serialize)]
pub struct Document<'l> {
    original_message: Original<'l>,
    /// What was done to it: `json`, `text` or `base64`; `none` where there was no value, `too_large`
    /// where the topic does not take it: the database has it.
    original_message_encoding: &'static str,
    original_topic: &'l str,
    original_partition: i32,
    original_offset: i64,
    original_timestamp: Timestamp,
    error_type: &'l str,
    error_message: &'l str,
    error_context: &'l Value,
    failed_at: Timestamp,
    retry_count: i32,
}

/// A record's value: as it was where it is JSON or text, and else in base64.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Original<'l> {
    None,
    Json(&'l RawValue),
    Text(&'l str),
    Base64(String),
}

impl<'l> Document<'l> {
    /// The document of a letter.
    pub fn of(letter: &'l Letter) -> Self {
        let (record, reason) = (&letter.record, &letter.reason);
        let original = Original::of(record.value.as_deref());
        Self {
            original_message_encoding: original.encoding(),
            original_message: original,
            original_topic: &record.topic,
            original_partition: record.partition,
            original_offset: record.offset,
            original_timestamp: record.sent,
            error_type: &reason.error_type,
            error_message: &reason.error_message,
            error_context: &reason.error_context,
            failed_at: letter.failed_at,
            retry_count: letter.retry_count,
        }
    }
}

impl<'l> Original<'l> {
    fn of(bytes: Option<&'l [u8]>) -> Self {
        let Some(bytes) = bytes else { return Self::None };
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Self::Base64(STANDARD.encode(bytes));
        };
        // Also what only looks like JSON: a reader of the letter must be able to read it whole.
        let is_json = serde_json::from_str::<Value>(text).is_ok();
        match serde_json::from_str(text) {
            Ok(raw) if is_json => Self::Json(raw),
            _ => Self::Text(text),
        }
    }

    const fn encoding(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Json(_) => "json",
            Self::Text(_) => "text",
            Self::Base64(_) => "base64",
        }
    }
}
