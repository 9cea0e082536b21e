//! What was said, by digest: bounded in bytes, and the oldest goes first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use crate::model::digest::Digest;
use crate::model::intelligence::{Intelligence, Unfit};

/// Bytes of everything that is kept.
pub(super) const BYTES_MAX: usize = 16 << 20;

/// Bytes of an entry beside what was said.
const ENTRY_BYTES: usize = 256;

/// What was said of a content.
#[derive(Debug)]
pub(super) struct Said {
    /// As it came.
    pub(super) object: Map<String, Value>,
    /// As a body holds it.
    pub(super) canonical: Intelligence,
    bytes: usize,
}

impl Said {
    /// Takes an answer that a body can hold.
    pub(super) fn new(object: Map<String, Value>) -> Result<Self, Unfit> {
        let canonical = Intelligence::new(object.clone())?;
        // The tree takes a few times the room of its text.
        let bytes = ENTRY_BYTES + 4 * canonical.as_str().len();
        Ok(Self { object, canonical, bytes })
    }
}

/// Written by whoever got an answer; read by every question.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    said: FxHashMap<Digest, Arc<Said>>,
    /// The digests in the order in which they came.
    order: VecDeque<Digest>,
    bytes: usize,
}

impl Cache {
    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Said>> {
        self.kept().said.get(digest).cloned()
    }

    /// Keeps what was said, or what was said first where two asked at a time.
    pub(super) fn keep(&self, digest: Digest, said: Said) -> Arc<Said> {
        let mut kept = self.kept();
        if let Some(first) = kept.said.get(&digest) {
            return Arc::clone(first);
        }
        let said = Arc::new(said);
        kept.bytes += said.bytes;
        kept.order.push_back(digest);
        kept.said.insert(digest, Arc::clone(&said));
        while kept.bytes > BYTES_MAX {
            let oldest = kept.order.pop_front().expect("what is counted is in the order");
            let gone = kept.said.remove(&oldest).expect("what is in the order is kept");
            kept.bytes -= gone.bytes;
        }
        said
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let cache = Cache::default();
        let object = Map::from_iter([("a".to_owned(), "x".repeat(15_000).into())]);
        let said = || Said::new(object.clone()).expect("it can be held");
        let digest = |n: usize| Digest::of(&n.to_le_bytes());
        for n in 0..1_000 {
            cache.keep(digest(n), said());
            assert!(cache.kept().bytes <= BYTES_MAX);
        }
        assert!(cache.get(&digest(0)).is_none() && cache.get(&digest(999)).is_some());
        let kept = cache.kept();
        assert_eq!(kept.said.len(), kept.order.len());
    }
}
