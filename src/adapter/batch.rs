//! What was read and is not in the database yet, in the order of reading.
//!
//! Holds and counts; bounded by whoever pushes, who is told when it is full. What is taken off its
//! front is a batch of one transaction, with the step forward that it makes in each partition.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use crate::store::offsets::Advance;
use crate::store::operations::Item;

/// One partition of a topic.
pub(super) type Place = (String, i32);

/// Bytes of records in one transaction, unless one record alone is larger.
const BYTES_MAX: usize = 16 << 20;

/// Records that wait for the database.
#[derive(Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    bytes: usize,
    /// When the oldest was read.
    since: Option<Instant>,
}

impl Batch {
    pub(super) fn push(&mut self, item: Item, now: Instant) {
        self.bytes += size_of(&item);
        self.since.get_or_insert(now);
        self.items.push(item);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// When the oldest record was read.
    pub(super) const fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether there is enough for a transaction.
    pub(super) fn is_full(&self, rows_max: usize) -> bool {
        self.items.len() >= rows_max || self.bytes >= BYTES_MAX
    }

    /// The first records, at most `rows_max` of them.
    pub(super) fn front(&self, rows_max: usize) -> &[Item] {
        let mut bytes = 0;
        let rows = self.items.iter().take(rows_max).take_while(|item| {
            let fits = bytes < BYTES_MAX;
            bytes += size_of(item);
            fits
        });
        &self.items[..rows.count()]
    }

    /// Forgets the first `rows` records: they are in the database.
    pub(super) fn drop_front(&mut self, rows: usize) {
        let gone: usize = self.items.drain(..rows).map(|item| size_of(&item)).sum();
        self.bytes -= gone;
        if self.items.is_empty() {
            self.since = None;
        }
    }

    /// Forgets the records of these partitions: they are somebody else's now.
    pub(super) fn drop_places(&mut self, places: &HashSet<Place>) {
        self.items.retain(|item| !places.contains(&place_of(item)));
        self.bytes = self.items.iter().map(size_of).sum();
        if self.items.is_empty() {
            self.since = None;
        }
    }
}

/// The step forward that records make in each of their partitions, from what `known` says is in
/// the database.
pub(super) fn steps(items: &[Item], known: impl Fn(&Place) -> Option<i64>) -> Vec<Advance> {
    let mut ends: BTreeMap<Place, i64> = BTreeMap::new();
    for item in items {
        ends.insert(place_of(item), item.record.offset + 1);
    }
    let step = |(place, next): (Place, i64)| Advance {
        known: known(&place),
        topic: place.0,
        partition: place.1,
        next,
    };
    ends.into_iter().map(step).collect()
}

fn place_of(item: &Item) -> Place {
    (item.record.topic.clone(), item.record.partition)
}

fn size_of(item: &Item) -> usize {
    let headers = item.record.headers.iter();
    let headers: usize =
        headers.map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
    let part = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    // What was decoded is about as large as what it was decoded from.
    2 * part(&item.record.value) + part(&item.record.key) + headers + 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::time::Timestamp;
    use crate::store::dead::{Reason, Record};

    fn item(partition: i32, offset: i64, bytes: usize) -> Item {
        let record = Record {
            topic: "t".to_owned(),
            partition,
            offset,
            sent: Timestamp::from_nanos(0),
            key: None,
            value: Some(vec![0; bytes]),
            headers: Vec::new(),
        };
        let reason = Reason {
            error_type: String::new(),
            error_message: String::new(),
            error_context: serde_json::Value::Null,
        };
        Item { record, read: Err(reason) }
    }

    fn batch(items: impl IntoIterator<Item = Item>) -> Batch {
        let (mut batch, now) = (Batch::default(), Instant::now());
        items.into_iter().for_each(|item| batch.push(item, now));
        batch
    }

    #[test]
    fn a_step_goes_behind_the_last_record_of_each_partition_over_holes() {
        let items = [item(0, 3, 1), item(1, 7, 1), item(0, 9, 1)];
        let batch = batch(items);
        let steps = steps(batch.front(9), |(_, partition)| (*partition == 0).then_some(3));
        let told: Vec<_> = steps.iter().map(|s| (s.partition, s.known, s.next)).collect();
        assert_eq!(told, [(0, Some(3), 10), (1, None, 8)]);
    }

    #[test]
    fn a_large_record_goes_alone_and_not_never() {
        let batch = batch([item(0, 0, BYTES_MAX), item(0, 1, 1), item(0, 2, 1)]);
        assert!(batch.is_full(100));
        assert_eq!(batch.front(100).len(), 1);
    }

    #[test]
    fn what_is_dropped_counts_no_more() {
        let mut batch = batch([item(0, 0, 10), item(1, 0, 10), item(0, 1, 10)]);
        batch.drop_places(&HashSet::from([("t".to_owned(), 0)]));
        assert_eq!(batch.front(9).len(), 1);
        batch.drop_front(1);
        assert!(batch.is_empty() && batch.since().is_none());
        assert_eq!(batch.bytes, 0);
    }
}
