//! Reading ahead: while one batch is under way, the next is read from the spool.
//!
//! Reading renders and proves every body, which takes about as long as sending it does; done in
//! turns it would halve the rate.

use tokio::task::{JoinHandle, spawn_blocking};

use super::plan::Span;
use crate::model::batch::Batch;
use crate::spool::{Reader, SpoolError};

/// A reader that works on a thread of its own while it reads.
#[derive(Debug)]
pub(super) struct Ahead {
    bytes_max: usize,
    /// Present while nothing is being read.
    reader: Option<Reader>,
    /// What is being read.
    reading: Option<(Span, JoinHandle<Read>)>,
}

/// The reader comes back with what it read.
type Read = (Reader, Result<Batch, SpoolError>);

impl Ahead {
    pub(super) fn new(reader: Reader, bytes_max: usize) -> Self {
        Self { bytes_max, reader: Some(reader), reading: None }
    }

    /// Starts to read a span, unless something is being read already.
    pub(super) fn start(&mut self, span: Span) {
        let Some(reader) = self.reader.take() else { return };
        let bytes_max = self.bytes_max;
        let rows_max = usize::try_from(span.len()).unwrap_or(usize::MAX);
        let read = move || {
            let batch = reader.batch(span.stream, span.from, rows_max, bytes_max);
            (reader, batch)
        };
        self.reading = Some((span, spawn_blocking(read)));
    }

    /// A span's batch: at most its stamps, and at least one while the stream has any there.
    pub(super) async fn take(&mut self, span: Span) -> Result<Batch, SpoolError> {
        let ready = self.finish().await?;
        if let Some((read, batch)) = ready
            && read == span
        {
            return Ok(batch);
        }
        self.start(span);
        let read = self.finish().await?;
        let (_, batch) = read.expect("reading was started just now");
        Ok(batch)
    }

    async fn finish(&mut self) -> Result<Option<(Span, Batch)>, SpoolError> {
        let Some((span, reading)) = self.reading.take() else { return Ok(None) };
        let (reader, batch) =
            reading.await.expect("reading the spool neither panics nor is aborted");
        self.reader = Some(reader);
        batch.map(|batch| Some((span, batch)))
    }
}
