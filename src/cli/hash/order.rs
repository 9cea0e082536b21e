//! Work on all threads, told in the order in which it was asked for.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::hash::Hasher;

/// Does `work` for every item on the hasher's threads, and tells what came of each, in order and as
/// soon as it can be told; `true` where nothing more can be told for now. When it cannot be told,
/// what has not begun yet is left undone.
pub(super) fn in_order<T: Sync, O: Send>(
    hasher: &Hasher,
    items: &[T],
    work: impl Fn(&T) -> O + Sync,
    mut tell: impl FnMut(O, bool) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Unbounded, but holds no more than one outcome for each item.
    let (sender, receiver) = crossbeam_channel::unbounded();
    hasher.pool().in_place_scope(|scope| {
        scope.spawn(|_| {
            let numbered = items.iter().enumerate().par_bridge();
            // An error says that nobody listens any more, and ends the loop.
            let _ = numbered.try_for_each_with(sender, |sender, (number, item)| {
                sender.send((number, work(item)))
            });
        });
        let mut early = BTreeMap::new();
        let mut next = 0;
        for (number, outcome) in receiver {
            early.insert(number, outcome);
            while let Some(outcome) = early.remove(&next) {
                let is_last = !early.contains_key(&(next + 1));
                tell(outcome, is_last)?;
                next += 1;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash;

    fn hasher() -> Hasher {
        Hasher::new(hash::Config { threads: 3, ..hash::Config::default() }).unwrap()
    }

    #[test]
    fn outcomes_are_told_in_order_whoever_ends_first() {
        let items: Vec<u32> = (0..1_000).collect();
        let mut told = Vec::new();
        let work = |item: &u32| {
            // The early ones are the long ones.
            (0..(1_000 - item) * 20).fold(*item, |sum, _| std::hint::black_box(sum))
        };
        in_order(&hasher(), &items, work, |outcome, _| {
            told.push(outcome);
            Ok(())
        })
        .unwrap();
        assert_eq!(told, items);
    }
}
