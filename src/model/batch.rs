//! What a sink is given: a contiguous piece of one stream.

use super::stamp::Sealed;
use super::stream::{Leaf, StreamId};
use crate::runtime::time::Timestamp;

/// One position of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A stamp with its body.
    Stamp(Box<Sealed>),
    /// A position whose body does not go to this sink: only the leaf does, so that the sink's log
    /// has no hole.
    Withheld {
        /// The leaf.
        leaf: Leaf,
        /// Why the body stays away.
        reason: String,
        /// Since when.
        since: Timestamp,
    },
}

impl Entry {
    /// The leaf, which both have.
    pub fn leaf(&self) -> &Leaf {
        match self {
            Self::Stamp(sealed) => &sealed.leaf,
            Self::Withheld { leaf, .. } => leaf,
        }
    }
}

/// A contiguous piece of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The stream.
    pub stream: StreamId,
    /// The seq of the first entry; entry `i` has `first_seq + i`.
    pub first_seq: u64,
    /// The entries, in order.
    pub entries: Vec<Entry>,
}

impl Batch {
    /// The batch of stamps that follow on one another in one stream; none of no stamps.
    pub fn of(stamps: Vec<Sealed>) -> Option<Self> {
        let first = &stamps.first()?.stamp;
        let (stream, first_seq) = (first.stream, first.seq);
        let entries = stamps.into_iter().map(|sealed| Entry::Stamp(Box::new(sealed))).collect();
        Some(Self { stream, first_seq, entries })
    }

    /// The size of the stream once this batch is in.
    pub fn end(&self) -> u64 {
        self.first_seq + self.entries.len() as u64
    }
}
