//! A group: the orders of several callers that are served together, each content once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use uuid::Uuid;

use super::{Job, Refused};
use crate::model::content::{Order, Row, Stamped};
use crate::store::error::StoreError;

/// What became of a content.
pub(super) enum Fate {
    Stamped(Stamped),
    Refused(Refused),
    /// Unknown, or not done: the caller may ask again.
    Failed(Arc<StoreError>),
}

impl Fate {
    pub(super) fn stamped(row: Row, event: Option<i64>, fresh: bool) -> Self {
        Self::Stamped(Stamped { row: Arc::new(row), event, fresh })
    }
}

/// The orders of several callers.
pub(super) struct Group {
    /// Each content once: the first order for it.
    orders: Vec<Order>,
    callers: Vec<Caller>,
}

struct Caller {
    /// Where in `orders` each of its own is, and whether it is the one that is there.
    places: Vec<(usize, bool)>,
    job: Job,
}

impl Group {
    /// Puts jobs together.
    pub(super) fn of(jobs: Vec<Job>) -> Self {
        let mut group = Self { orders: Vec::new(), callers: Vec::with_capacity(jobs.len()) };
        let mut known: HashMap<Uuid, usize> = HashMap::new();
        for mut job in jobs {
            let orders = std::mem::take(&mut job.orders);
            let place = |order: Order| match known.entry(order.stamp_id()) {
                Entry::Occupied(place) => (*place.get(), false),
                Entry::Vacant(vacant) => {
                    group.orders.push(order);
                    (*vacant.insert(group.orders.len() - 1), true)
                }
            };
            let places = orders.into_iter().map(place).collect();
            group.callers.push(Caller { places, job });
        }
        group
    }

    /// The contents.
    pub(super) fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// Answers every caller; `fates` are those of the orders.
    pub(super) fn answer(self, fates: &[Fate]) {
        for Caller { places, job } in self.callers {
            let answers = places.iter().map(|&(place, first)| match &fates[place] {
                Fate::Stamped(stamped) => {
                    let fresh = stamped.fresh && first;
                    Ok(Ok(Stamped { fresh, ..stamped.clone() }))
                }
                Fate::Refused(refused) => Ok(Err(refused.clone())),
                Fate::Failed(error) => Err(StoreError::Shared(Arc::clone(error))),
            });
            // A caller who went away does not need the answer.
            let _ = job.reply.send(answers.collect());
        }
    }
}
