//! A request's body that neither grows nor lasts for ever.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Config;
use super::linger::Unread;

/// How slow a body may come: it has `grace`, and a second more for every `bytes_per_s` that came. A
/// client that trickles is found out, and a large file over a poor line is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// What every body has, from its head.
    pub grace: Duration,
    /// The pace after that.
    pub bytes_per_s: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { grace: Duration::from_secs(10), bytes_per_s: 64 * 1024 }
    }
}

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than any route takes.
    #[error("the body is larger than {0} bytes")]
    TooLong(u64),
    /// It did not keep the pace.
    #[error("the body came too slowly")]
    TooSlow,
    /// The connection broke, or its framing was wrong.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
}

impl BodyError {
    /// Finds one among the causes of an extractor's or a reader's error.
    pub fn of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

/// A body under watch.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Incoming,
    unread: Unread,
    pace: Pace,
    bytes_max: u64,
    started: Instant,
    bytes: u64,
    /// Set while the body makes us wait: most bodies are there at once and need no timer.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    pub(super) fn new(inner: Incoming, unread: Unread, config: &Config, started: Instant) -> Self {
        let (pace, bytes_max) = (config.pace, config.body_bytes_max);
        Self { inner, unread, pace, bytes_max, started, bytes: 0, deadline: None }
    }

    /// When the next frame must have come.
    fn due(&self) -> Instant {
        let earned = Duration::from_secs(self.bytes / self.pace.bytes_per_s.max(1));
        self.started + self.pace.grace + earned
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), BodyError> {
        self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        if self.bytes > self.bytes_max { Err(BodyError::TooLong(self.bytes_max)) } else { Ok(()) }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.deadline = None;
            let Some(frame) = frame else { return Poll::Ready(None) };
            let frame = frame.map_err(BodyError::Broken);
            return Poll::Ready(Some(frame.and_then(|frame| self.count(&frame).map(|()| frame))));
        }
        let due = self.due();
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(due)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(BodyError::TooSlow)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.unread.note(&self.inner);
    }
}
