//! The tray: where whoever puts something into the outbox says so, and lays it ready.
//!
//! What was committed a moment ago need not be read from the database again to be published. The tray
//! is a shortcut and no store: it holds little, and what is not laid into it, or is lost with it, waits
//! in the outbox as ever.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{ENTRIES_MAX, Load, Piece, Shards};
use crate::model::batch::{Batch, Entry};
use crate::model::stream::StreamId;

/// Bytes of bodies that are laid ready at most.
const BYTES_MAX: usize = 4 << 20;

/// A tray. Desks and ingest fill it, the publisher empties it.
#[derive(Default)]
pub struct Tray {
    bell: Notify,
    /// Rung when the database is found again.
    returned: Notify,
    laid: Mutex<Laid>,
}

/// What is in a tray.
#[derive(Debug, Default)]
pub struct Laid {
    /// Pieces that are committed, in order for each stream.
    pub loads: Vec<Load>,
    /// Shards into which something else was put.
    pub shards: Shards,
    entries: usize,
    bytes: usize,
}

impl Tray {
    /// Says that something of the stream is in the outbox.
    pub fn ring(&self, stream: StreamId) {
        self.lock().shards |= Shards::of(stream);
        self.bell.notify_one();
    }

    /// Says that a batch is in the outbox as the row `id`, and lays it ready where there is room.
    pub fn lay(&self, id: i64, batch: Batch) {
        let bytes: usize = batch.entries.iter().map(body_bytes).sum();
        let mut laid = self.lock();
        let entries = laid.entries + batch.entries.len();
        if entries > ENTRIES_MAX as usize || laid.bytes + bytes > BYTES_MAX {
            laid.shards |= Shards::of(batch.stream);
        } else {
            laid.entries = entries;
            laid.bytes += bytes;
            laid.loads.push(Load::laid(id, batch));
        }
        drop(laid);
        self.bell.notify_one();
    }

    /// Takes everything.
    pub fn take(&self) -> Laid {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until something was put into the outbox since this was last waited for. Cancel-safe: a
    /// ring that nobody hears is kept.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Says that the database is back after it was away.
    pub fn tell_return(&self) {
        self.returned.notify_one();
    }

    /// Waits until the database is back. Cancel-safe, as [`rung`](Self::rung).
    pub async fn returned(&self) {
        self.returned.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Laid> {
        self.laid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Laid {
    /// All shards that it speaks of.
    pub fn all_shards(&self) -> Shards {
        self.loads.iter().map(|load| Shards::of(load.batch.stream)).collect::<Shards>()
            | self.shards
    }
}

impl Load {
    fn laid(id: i64, batch: Batch) -> Self {
        let (stream, first_seq, next_seq) = (batch.stream, batch.first_seq, batch.end());
        Self { pieces: vec![Piece { id, stream, first_seq, next_seq }], batch }
    }
}

fn body_bytes(entry: &Entry) -> usize {
    match entry {
        Entry::Stamp(sealed) => sealed.body.len(),
        Entry::Withheld { reason, .. } => reason.len(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::stream::Leaf;
    use crate::runtime::time::Timestamp;

    fn batch(number: u128, count: usize, reason: &str) -> Batch {
        let since = Timestamp::from_nanos(0);
        let leaf = Leaf::from_bytes([0; 32]);
        let entry = Entry::Withheld { leaf, reason: reason.to_owned(), since };
        let stream = StreamId::from_uuid(Uuid::from_u128(number));
        Batch { stream, first_seq: 5, entries: vec![entry; count] }
    }

    #[tokio::test]
    async fn what_is_laid_is_taken_once_and_the_bell_is_heard_later() {
        let tray = Tray::default();
        tray.lay(9, batch(1, 2, ""));
        tray.ring(batch(2, 0, "").stream);
        tray.rung().await;
        let laid = tray.take();
        let piece = Piece { id: 9, stream: batch(1, 0, "").stream, first_seq: 5, next_seq: 7 };
        assert_eq!(laid.loads[0].pieces, [piece]);
        assert_eq!(laid.all_shards().numbers::<u8>(), [1, 2]);
        assert!(tray.take().all_shards().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_left_in_the_outbox() {
        let tray = Tray::default();
        tray.lay(1, batch(1, 3_000, ""));
        tray.lay(2, batch(2, 3_000, ""));
        tray.lay(3, batch(3, 1, &"x".repeat(BYTES_MAX + 1)));
        let laid = tray.take();
        assert_eq!(laid.loads.len(), 1);
        assert_eq!(laid.shards.numbers::<u8>(), [2, 3]);
        tray.lay(4, batch(2, 3_000, ""));
        assert_eq!(tray.take().loads.len(), 1, "there is room again");
    }
}
