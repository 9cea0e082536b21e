//! The partitions in our hands: where each of them stands in the database and in our reading.
//!
//! **Invariant**: a record is taken only of a partition that is here, and only if it is not behind
//! what was read already; what the client delivers of others is left alone.

use std::collections::{BTreeMap, HashSet};

use super::batch::Place;
use super::placement::Placement;
use super::route::Slug;
use super::view::Held as Shown;
use crate::store::offsets::Advance;

/// The partitions in our hands.
#[derive(Default)]
pub(super) struct Held(BTreeMap<Place, Partition>);

struct Partition {
    slug: Slug,
    /// What the database says, as far as we know.
    known: Option<i64>,
    /// What is to be read next.
    next: i64,
    placement: Placement,
}

impl Held {
    pub(super) fn insert(
        &mut self,
        place: Place,
        slug: Slug,
        known: Option<i64>,
        placement: Placement,
    ) {
        self.0.insert(place, Partition { slug, known, next: placement.at, placement });
    }

    pub(super) fn remove(&mut self, places: &HashSet<Place>) {
        self.0.retain(|place, _| !places.contains(place));
    }

    /// Takes everything out.
    pub(super) fn take_all(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.0).into_keys().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The partitions with the kind of event that each carries.
    pub(super) fn places(&self) -> impl Iterator<Item = (&Place, Slug)> {
        self.0.iter().map(|(place, partition)| (place, partition.slug))
    }

    /// The kind of event of a record at this place, where the record is to be taken.
    pub(super) fn expects(&self, place: &Place, offset: i64) -> Option<Slug> {
        let partition = self.0.get(place)?;
        (offset >= partition.next).then_some(partition.slug)
    }

    /// A record was taken.
    pub(super) fn took(&mut self, place: &Place, offset: i64) {
        if let Some(partition) = self.0.get_mut(place) {
            partition.next = offset + 1;
        }
    }

    /// Where a partition stands in the database.
    pub(super) fn known(&self, place: &Place) -> Option<i64> {
        self.0.get(place)?.known
    }

    /// The database has gone forward.
    pub(super) fn advanced(&mut self, steps: &[Advance]) {
        for step in steps {
            let place = (step.topic.clone(), step.partition);
            if let Some(partition) = self.0.get_mut(&place) {
                partition.known = Some(step.next);
            }
        }
    }

    /// For health.
    pub(super) fn shown(&self) -> BTreeMap<Place, Shown> {
        let shown = |(place, partition): (&Place, &Partition)| {
            let next = partition.known.unwrap_or(partition.placement.at);
            (place.clone(), Shown { state: partition.placement.beginning.as_str(), next })
        };
        self.0.iter().map(shown).collect()
    }
}
