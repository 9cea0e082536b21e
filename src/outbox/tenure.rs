//! Which shards are ours, which are to be, and what may go out without being read: policy, given the time.
//!
//! A shard is ours as long as something of it goes out, and a moment longer: under load nothing is
//! claimed twice, and at rest nobody stands in another's way. Whoever finds a shard in which its own
//! pieces wait in another's hands says so; the owner gives it up after what is under way, and leaves
//! it alone for long enough that the other finds it free.
//!
//! **Invariant**: a batch goes out from the tray only while its shard is ours, and right behind what
//! went out of its stream since the shard became so. Everything else is read from the outbox, where the
//! order is.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::model::stream::StreamId;
use crate::store::outbox::{Answer, Ask, Gone, Load, Piece, Shards};

/// How long a shard in which nothing waits stays ours.
const IDLE: Duration = Duration::from_millis(25);
/// How soon to look again at a shard that another owns.
const CONTENDED: Duration = Duration::from_millis(10);
/// How long a shard that was given up for another is left alone.
const COURTESY: Duration = Duration::from_millis(25);

/// What is ours of the outbox.
#[derive(Debug, Default)]
pub(super) struct Tenure {
    /// When each shard of ours was last of use.
    held: BTreeMap<u8, Instant>,
    /// Shards in which something waits, as far as we know.
    due: Shards,
    /// Shards of ours that another wishes for.
    wished: Shards,
    /// Shards of others in which ours waits.
    wish: Shards,
    /// The wishes that were said.
    said: Shards,
    /// Until when a shard that is not ours is left alone.
    alone: BTreeMap<u8, Instant>,
    /// Up to where streams of ours went out; none before they first did in this tenure.
    ends: HashMap<StreamId, Option<u64>>,
}

impl Tenure {
    /// After the locks are lost: nothing is ours, and what we knew of is to be looked for.
    pub(super) fn begin_anew(&mut self) {
        let due = self.due | self.held();
        *self = Self { due, ..Self::default() };
    }

    /// Something waits in these shards.
    pub(super) fn note(&mut self, shards: Shards) {
        self.due |= shards;
    }

    /// The shards that are ours.
    pub(super) fn held(&self) -> Shards {
        self.held.keys().map(|number| Shards::one(*number)).collect()
    }

    /// Takes a batch from the tray when it may go out as it is.
    pub(super) fn admit(&mut self, load: Load, now: Instant) -> Option<Load> {
        let (stream, first, next) = (load.batch.stream, load.batch.first_seq, load.batch.end());
        let shard = Shards::of(stream);
        let is_ours = self.held().has(shard) && !self.wished.has(shard);
        let end = self.ends.entry(stream).or_default();
        match *end {
            Some(end) if next <= end => None,
            Some(at) if at == first && is_ours => {
                *end = Some(next);
                self.used(shard, now);
                Some(load)
            }
            _ => {
                self.note(shard);
                None
            }
        }
    }

    /// What to ask of the database now, if there is a reason to. What is gone is one only when it is to
    /// be tidied away; with another reason it goes along.
    pub(super) fn ask(&mut self, gone: &mut Gone, tidy: bool, now: Instant) -> Option<Ask> {
        let held = self.held();
        let idle = |shard: &Shards| !self.due.has(*shard) && self.idle_at(*shard) <= now;
        let release = held.and(self.wished) | held.each().filter(idle).collect();
        for shard in self.wished.each() {
            self.alone.insert(shard.number(), now + COURTESY);
        }
        self.wished = Shards::default();
        self.give_up(release);
        let held = self.held();
        self.alone.retain(|_, until| *until > now);
        let alone = self.alone.keys().map(|number| Shards::one(*number)).collect();
        let claim = self.due - held - alone;
        let read = self.due.and(held);
        self.wish = self.wish.and(self.due) - held;
        let shards = release | claim | read;
        let is_idle = shards.is_empty() && self.wish == self.said;
        if is_idle && (!tidy || gone.is_empty()) {
            return None;
        }
        self.said = self.wish;
        let gone = std::mem::take(gone);
        Some(Ask { gone, release, wish: self.wish, claim, read, watch: held })
    }

    /// Takes note of the answer, and returns the pieces that are to be published.
    pub(super) fn told(&mut self, ask: &Ask, answer: Answer, now: Instant) -> Vec<Piece> {
        let Answer { claimed, pieces, more, wished } = answer;
        for shard in claimed.each() {
            self.held.insert(shard.number(), now);
        }
        self.wished |= wished.and(self.held());
        let waits: Shards = pieces.iter().map(Piece::shard).collect();
        let taken = ask.claim - claimed;
        for shard in taken.and(waits).each() {
            self.alone.insert(shard.number(), now + CONTENDED);
        }
        self.wish |= taken.and(waits);
        // What is read is published, and what is not there need not be.
        self.due = (self.due - (ask.claim | ask.read)) | taken.and(waits) | more;
        let ours = ask.read | claimed;
        let waits = |piece: &Piece| ours.has(piece.shard()) && !self.is_out(piece);
        pieces.into_iter().filter(waits).collect()
    }

    /// A stream went out up to `size`, and to the end of what was to go.
    pub(super) fn went(&mut self, stream: StreamId, size: u64, now: Instant) {
        if let Some(end) = self.ends.get_mut(&stream) {
            *end = Some(end.unwrap_or(0).max(size));
        }
        self.used(Shards::of(stream), now);
    }

    /// A stream did not go out to the end of what was to go: the rest is in the outbox.
    pub(super) fn fell_short(&mut self, stream: StreamId) {
        self.ends.remove(&stream);
        self.note(Shards::of(stream));
    }

    /// When there will be something to ask without anything happening.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let held = self.held.values().map(|used| *used + IDLE);
        held.chain(self.alone.values().copied()).min()
    }

    /// Whether a piece went out, or is on its way, from the tray.
    fn is_out(&self, piece: &Piece) -> bool {
        let end = self.ends.get(&piece.stream).copied().flatten();
        end.is_some_and(|end| piece.next_seq <= end)
    }

    fn used(&mut self, shard: Shards, now: Instant) {
        if let Some(used) = self.held.get_mut(&shard.number()) {
            *used = now;
        }
    }

    fn idle_at(&self, shard: Shards) -> Instant {
        self.held[&shard.number()] + IDLE
    }

    fn give_up(&mut self, shards: Shards) {
        self.held.retain(|number, _| !shards.has(Shards::one(*number)));
        self.ends.retain(|stream, _| !shards.has(Shards::of(*stream)));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::batch::{Batch, Entry};
    use crate::model::stream::Leaf;
    use crate::runtime::time::Timestamp;

    fn stream(number: u128) -> StreamId {
        StreamId::from_uuid(Uuid::from_u128(number))
    }

    fn piece(id: i64, number: u128, first_seq: u64, next_seq: u64) -> Piece {
        Piece { id, stream: stream(number), first_seq, next_seq }
    }

    /// What a desk lays ready.
    fn load(piece: Piece) -> Load {
        let Piece { stream, first_seq, next_seq, .. } = piece;
        let leaf = Leaf::from_bytes([0; 32]);
        let since = Timestamp::from_nanos(0);
        let entry = Entry::Withheld { leaf, reason: String::new(), since };
        let entries = vec![entry; (next_seq - first_seq) as usize];
        Load { pieces: vec![piece], batch: Batch { stream, first_seq, entries } }
    }

    /// A tenure in which everything of a stream up to `size` was read and went out.
    fn begun(number: u128, size: u64, now: Instant) -> Tenure {
        let mut tenure = Tenure::default();
        assert!(tenure.admit(load(piece(1, number, 0, size)), now).is_none(), "it is not ours yet");
        let ask = tenure.ask(&mut Gone::default(), false, now).expect("something waits");
        assert_eq!(ask.claim, Shards::of(stream(number)));
        let answer = Answer {
            claimed: ask.claim,
            pieces: vec![piece(1, number, 0, size)],
            ..Answer::default()
        };
        assert_eq!(tenure.told(&ask, answer, now).len(), 1);
        tenure.went(stream(number), size, now);
        tenure
    }

    #[test]
    fn what_follows_on_what_went_out_goes_out_unread() {
        let now = Instant::now();
        let mut tenure = begun(3, 2, now);
        assert!(tenure.ask(&mut Gone::default(), false, now).is_none(), "nothing is to be asked");
        assert!(tenure.admit(load(piece(2, 3, 2, 5)), now).is_some());
        assert!(tenure.admit(load(piece(3, 3, 5, 6)), now).is_some());
        assert!(tenure.admit(load(piece(2, 3, 2, 5)), now).is_none(), "it went out");
        assert!(tenure.ask(&mut Gone::default(), false, now).is_none());
    }

    #[test]
    fn what_follows_on_nothing_is_read_and_what_went_out_is_not() {
        let now = Instant::now();
        let mut tenure = begun(3, 2, now);
        assert!(tenure.admit(load(piece(2, 3, 2, 5)), now).is_some());
        assert!(tenure.admit(load(piece(4, 3, 7, 9)), now).is_none());
        let ask = tenure.ask(&mut Gone::default(), false, now).expect("it is to be read");
        assert_eq!((ask.claim, ask.read), (Shards::default(), Shards::one(3)));
        let pieces = vec![piece(2, 3, 2, 5), piece(3, 3, 5, 7), piece(4, 3, 7, 9)];
        let answer = Answer { pieces: pieces.clone(), ..Answer::default() };
        assert_eq!(tenure.told(&ask, answer, now), pieces[1..]);
    }

    #[test]
    fn what_fell_short_is_read_again() {
        let now = Instant::now();
        let mut tenure = begun(3, 2, now);
        assert!(tenure.admit(load(piece(2, 3, 2, 5)), now).is_some());
        tenure.fell_short(stream(3));
        assert!(tenure.admit(load(piece(3, 3, 5, 6)), now).is_none(), "not before the rest of it");
        let ask = tenure.ask(&mut Gone::default(), false, now).expect("it is to be read");
        let answer = Answer { pieces: vec![piece(2, 3, 2, 5)], ..Answer::default() };
        assert_eq!(tenure.told(&ask, answer, now), [piece(2, 3, 2, 5)]);
    }

    #[test]
    fn a_shard_at_rest_is_given_up_and_begins_anew() {
        let now = Instant::now();
        let mut tenure = begun(3, 2, now);
        assert_eq!(tenure.wakes_at(), Some(now + IDLE));
        let ask =
            tenure.ask(&mut Gone::default(), false, now + IDLE).expect("it is to be given up");
        assert_eq!((ask.release, ask.watch), (Shards::one(3), Shards::default()));
        assert_eq!(tenure.wakes_at(), None, "nothing wakes who has nothing to do");
        assert!(tenure.admit(load(piece(2, 3, 2, 5)), now + IDLE).is_none(), "others may have it");
    }

    #[test]
    fn a_shard_that_another_wishes_for_is_given_up_and_left_alone() {
        let now = Instant::now();
        let mut tenure = begun(3, 2, now);
        assert!(tenure.admit(load(piece(2, 3, 2, 5)), now).is_some());
        let mut gone = Gone::default();
        gone.add(&[piece(1, 3, 0, 2)], 2);
        assert!(tenure.ask(&mut gone, false, now).is_none(), "that has time");
        let ask = tenure.ask(&mut gone, true, now).expect("something is to be taken out");
        assert!(gone.is_empty() && !ask.gone.is_empty());
        assert_eq!(ask.watch, Shards::one(3));
        tenure.told(&ask, Answer { wished: Shards::one(3), ..Answer::default() }, now);
        assert!(tenure.admit(load(piece(3, 3, 5, 6)), now).is_none(), "it is for the other now");
        let ask = tenure.ask(&mut Gone::default(), false, now).expect("it is to be given up");
        assert_eq!((ask.release, ask.claim), (Shards::one(3), Shards::default()));
        assert!(tenure.ask(&mut Gone::default(), false, now).is_none(), "it is the other's turn");
        let later = tenure.wakes_at().expect("ours waits there");
        let ask = tenure.ask(&mut Gone::default(), false, later).expect("it is our turn");
        assert_eq!(ask.claim, Shards::one(3));
    }

    #[test]
    fn what_another_owns_is_wished_for_as_long_as_something_waits_there() {
        let now = Instant::now();
        let mut tenure = Tenure::default();
        tenure.note(Shards::one(3) | Shards::one(4));
        let ask = tenure.ask(&mut Gone::default(), false, now).expect("something waits");
        let answer = Answer { pieces: vec![piece(1, 3, 0, 2)], ..Answer::default() };
        assert!(tenure.told(&ask, answer, now).is_empty(), "it is another's");
        let ask = tenure.ask(&mut Gone::default(), false, now).expect("the wish is to be said");
        assert_eq!((ask.wish, ask.claim), (Shards::one(3), Shards::default()));
        tenure.told(&ask, Answer::default(), now);
        let later = tenure.wakes_at().expect("it is to be looked at again");
        let ask = tenure.ask(&mut Gone::default(), false, later).expect("it may be free");
        assert_eq!((ask.wish, ask.claim), (Shards::one(3), Shards::one(3)));
        // The other has published it.
        tenure.told(&ask, Answer::default(), later);
        let ask = tenure.ask(&mut Gone::default(), false, later).expect("the wish is over");
        assert!(ask.wish.is_empty() && ask.claim.is_empty());
    }
}
