//! The plan: which piece of which stream goes to a sink next, and what its answer means.
//!
//! Pure: heads, sizes and answers come in, ranges and verdicts come out. Streams take turns, one
//! batch each, so that a first scan of one repo does not hold up the stamps of another.

use std::collections::BTreeMap;

use crate::model::stream::StreamId;

/// How large a batch may be, in stamps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// On an open road.
    pub rows_max: u64,
    /// When the road has just opened.
    pub rows_small: u64,
}

/// A contiguous piece of one stream: `from`, up to but not including `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The stream.
    pub stream: StreamId,
    /// The first seq.
    pub from: u64,
    /// The seq after the last.
    pub to: u64,
}

impl Span {
    /// How many stamps it has.
    pub const fn len(&self) -> u64 {
        self.to - self.from
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.to == self.from
    }
}

/// What the answer to a batch means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver holds the stream up to here.
    Confirm(u64),
    /// The receiver holds another length than the batch gives it, one that our stream has: if its
    /// last leaf is ours it is the new size, or else the two have forked.
    Compare(u64),
    /// The receiver holds more than our stream has: the two have forked at our end.
    Fork(u64),
    /// The receiver took the batch and holds no more than before.
    Stuck,
    /// The stamp at this seq is the one at fault.
    Poison(u64),
    /// Try again with less; the plan has been changed accordingly.
    Smaller,
}

/// What is to be delivered to one sink.
#[derive(Clone, Debug)]
pub struct Plan {
    limits: Limits,
    lines: BTreeMap<StreamId, Line>,
    /// Whose turn it was last.
    last: Option<StreamId>,
}

/// One stream.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// What the receiver holds of it.
    size: u64,
    /// Where it ends here.
    end: u64,
    /// The most that goes at once, lowered when the receiver asks for less.
    rows: u64,
    /// A batch up to here was rejected: the stamp at fault lies before it.
    suspect_end: Option<u64>,
    /// The batch size of the search.
    suspect_rows: u64,
    /// Whether it has forked: it goes on in another stream.
    ended: bool,
}

impl Plan {
    /// A plan with nothing in it.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, lines: BTreeMap::new(), last: None }
    }

    /// Adds a stream with what the receiver is thought to hold of it, or moves its end.
    pub fn extend(&mut self, stream: StreamId, size: u64, end: u64) {
        let rows = self.limits.rows_max;
        let fresh = Line { size, end, rows, suspect_end: None, suspect_rows: 0, ended: false };
        let line = self.lines.entry(stream).or_insert(fresh);
        line.end = end;
        // A stream that ends earlier than it did has gone on in another one.
        line.size = line.size.min(end);
    }

    /// Whether a stream is in the plan.
    pub fn knows(&self, stream: StreamId) -> bool {
        self.lines.contains_key(&stream)
    }

    /// Takes note that a stream has forked and goes on in another one.
    pub fn end(&mut self, stream: StreamId) {
        if let Some(line) = self.lines.get_mut(&stream) {
            line.ended = true;
        }
    }

    /// Whether a stream has forked, as far as is known.
    pub fn is_ended(&self, stream: StreamId) -> bool {
        self.lines.get(&stream).is_some_and(|line| line.ended)
    }

    /// Whether a stream has forked and the receiver has all of it up to there.
    pub fn is_over(&self, stream: StreamId) -> bool {
        self.lines.get(&stream).is_some_and(|line| line.ended && line.size == line.end)
    }

    /// What the receiver holds of a stream.
    pub fn size(&self, stream: StreamId) -> u64 {
        self.lines.get(&stream).map_or(0, |line| line.size)
    }

    /// How many stamps wait.
    pub fn queued(&self) -> u64 {
        self.lines.values().map(|line| line.end - line.size).sum()
    }

    /// The next piece, if anything waits.
    pub fn next(&self, small: bool) -> Option<Span> {
        let (&stream, line) = self.next_line()?;
        let rows = match line.suspect_end {
            Some(_) => line.suspect_rows,
            None if small => line.rows.min(self.limits.rows_small),
            None => line.rows,
        };
        let to = line.end.min(line.size.saturating_add(rows));
        Some(Span { stream, from: line.size, to })
    }

    /// The waiting stream after the one whose turn it was.
    fn next_line(&self) -> Option<(&StreamId, &Line)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let later = self.last.map(|last| (Excluded(last), Unbounded));
        let later = later.into_iter().flat_map(|range| self.lines.range(range));
        later.chain(&self.lines).find(|(_, line)| line.size < line.end)
    }

    /// The receiver took the batch and holds `size` of the stream now.
    pub fn delivered(&mut self, span: Span, size: u64) -> Verdict {
        self.last = Some(span.stream);
        let rows_max = self.limits.rows_max;
        let Some(line) = self.lines.get_mut(&span.stream) else {
            return Verdict::Stuck;
        };
        if size > line.end {
            return Verdict::Fork(line.end);
        }
        if size > span.to || size < span.from {
            return Verdict::Compare(size);
        }
        if size == span.from {
            return Verdict::Stuck;
        }
        line.rows = line.rows.saturating_mul(2).min(rows_max);
        line.move_to(size);
        Verdict::Confirm(size)
    }

    /// Sets what the receiver holds, after a [`Verdict::Compare`] that compared well or a stamp that
    /// was set aside.
    pub fn move_to(&mut self, stream: StreamId, size: u64) {
        if let Some(line) = self.lines.get_mut(&stream) {
            line.move_to(size.min(line.end));
        }
    }

    /// The receiver rejected the batch; `seq` is the position at fault where it says so.
    pub fn rejected(&mut self, span: Span, seq: Option<u64>) -> Verdict {
        let Some(line) = self.lines.get_mut(&span.stream) else {
            return Verdict::Stuck;
        };
        match seq.filter(|seq| (span.from..span.to).contains(seq)) {
            _ if span.len() <= 1 => return Verdict::Poison(span.from),
            Some(seq) if seq == span.from => return Verdict::Poison(seq),
            Some(seq) => {
                line.suspect_end = Some(seq + 1);
                line.suspect_rows = seq - span.from;
            }
            None => {
                line.suspect_end = Some(span.to);
                line.suspect_rows = span.len() / 2;
            }
        }
        Verdict::Smaller
    }

    /// The receiver wants less at once. `None`: less than one stamp there is not.
    pub fn refused_as_too_much(&mut self, span: Span) -> Option<Verdict> {
        let line = self.lines.get_mut(&span.stream).filter(|_| span.len() > 1)?;
        line.rows = span.len() / 2;
        line.suspect_rows = line.suspect_rows.min(line.rows);
        Some(Verdict::Smaller)
    }
}

impl Line {
    fn move_to(&mut self, size: u64) {
        self.size = size;
        match self.suspect_end {
            // The half that passed clears itself; the other one holds the stamp at fault.
            Some(end) if size < end => self.suspect_rows = ((end - size) / 2).max(1),
            Some(_) => self.suspect_end = None,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LIMITS: Limits = Limits { rows_max: 5_000, rows_small: 100 };

    fn stream(number: u128) -> StreamId {
        StreamId::from_uuid(Uuid::from_u128(number))
    }

    fn plan(lines: &[(u128, u64, u64)]) -> Plan {
        let mut plan = Plan::new(LIMITS);
        for &(number, size, end) in lines {
            plan.extend(stream(number), size, end);
        }
        plan
    }

    fn span(number: u128, from: u64, to: u64) -> Span {
        Span { stream: stream(number), from, to }
    }

    #[test]
    fn streams_take_turns_until_nothing_waits() {
        let mut plan = plan(&[(1, 0, 12_000), (2, 0, 0), (3, 7, 9)]);
        let mut order = Vec::new();
        while let Some(next) = plan.next(false) {
            assert_eq!(plan.delivered(next, next.to), Verdict::Confirm(next.to));
            order.push(next);
        }
        let first = [span(1, 0, 5_000), span(3, 7, 9)];
        assert_eq!(
            order,
            [&first[..], &[span(1, 5_000, 10_000), span(1, 10_000, 12_000)]].concat()
        );
        assert_eq!(plan.queued(), 0);
    }

    #[test]
    fn a_road_just_opened_gets_a_small_batch() {
        assert_eq!(plan(&[(1, 50, 6_000)]).next(true), Some(span(1, 50, 150)));
        assert_eq!(plan(&[(1, 50, 60)]).next(true), Some(span(1, 50, 60)));
        assert_eq!(plan(&[(1, 60, 60)]).next(true), None);
    }

    #[test]
    fn an_answer_means_what_the_table_says() {
        // The stream ends at 100; the batch was 10..20.
        for (size, verdict) in [
            (20, Verdict::Confirm(20)),
            (15, Verdict::Confirm(15)), // part of it: the rest goes next
            (10, Verdict::Stuck),
            (9, Verdict::Compare(9)), // the receiver was restored to an older state
            (0, Verdict::Compare(0)),
            (21, Verdict::Compare(21)), // another road was faster
            (100, Verdict::Compare(100)),
            (101, Verdict::Fork(100)),
        ] {
            let mut plan = plan(&[(1, 10, 100)]);
            assert_eq!(plan.delivered(span(1, 10, 20), size), verdict, "size {size}");
        }
    }

    /// Delivers everything, with stamps in `poison` rejected; returns what was set aside and the
    /// number of batches.
    fn deliver(plan: &mut Plan, poison: &[u64], names_it: bool) -> (Vec<u64>, usize) {
        let (mut dead, mut batches) = (Vec::new(), 0);
        while let Some(next) = plan.next(false) {
            batches += 1;
            assert!(batches < 1_000, "no progress at {next:?}");
            let found =
                (next.from..next.to).find(|seq| poison.contains(seq) && !dead.contains(seq));
            let verdict = match found {
                Some(seq) => plan.rejected(next, names_it.then_some(seq)),
                None => plan.delivered(next, next.to),
            };
            match verdict {
                Verdict::Poison(seq) => {
                    dead.push(seq);
                    plan.move_to(next.stream, seq + 1);
                }
                Verdict::Confirm(_) | Verdict::Smaller => {}
                other => panic!("{other:?}"),
            }
        }
        (dead, batches)
    }

    #[test]
    fn bisection_sets_aside_exactly_the_stamps_at_fault() {
        for poison in [vec![0], vec![4_999], vec![2_500], vec![1, 2, 3], vec![0, 4_999, 7_000]] {
            for names_it in [false, true] {
                let (dead, batches) = deliver(&mut plan(&[(1, 0, 8_000)]), &poison, names_it);
                assert_eq!(dead, poison);
                assert!(batches <= 2 + 28 * poison.len(), "{batches} for {poison:?}");
            }
        }
    }

    #[test]
    fn a_receiver_that_wants_less_gets_half_and_later_more_again() {
        let mut plan = plan(&[(1, 0, 50_000)]);
        let mut sizes = Vec::new();
        for _ in 0..3 {
            let next = plan.next(false).expect("stamps wait");
            sizes.push(next.len());
            assert_eq!(plan.refused_as_too_much(next), Some(Verdict::Smaller));
        }
        for _ in 0..5 {
            let next = plan.next(false).expect("stamps wait");
            sizes.push(next.len());
            plan.delivered(next, next.to);
        }
        assert_eq!(sizes, [5_000, 2_500, 1_250, 625, 1_250, 2_500, 5_000, 5_000]);
        assert_eq!(plan.refused_as_too_much(span(1, 0, 1)), None);
    }

    #[test]
    fn a_stream_that_went_on_elsewhere_ends_where_the_fork_is() {
        let mut plan = plan(&[(1, 80, 100)]);
        plan.extend(stream(1), 80, 40);
        assert_eq!((plan.queued(), plan.next(false)), (0, None));
    }
}
