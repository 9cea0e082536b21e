//! The shards of the outbox, as a set.

use std::fmt;
use std::ops::{BitOr, BitOrAssign, Sub};

use crate::model::stream::StreamId;

/// How many there are.
const COUNT: u8 = 16;

/// Some of the shards.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Shards(u16);

impl Shards {
    /// The one in which the pieces of a stream wait: by the id's own bytes, as `stampd_shard` has it.
    pub fn of(stream: StreamId) -> Self {
        Self::one(stream.as_uuid().as_bytes()[15])
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` are among them.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Each alone.
    pub fn each(self) -> impl Iterator<Item = Self> {
        (0..COUNT).map(Self::one).filter(move |one| self.has(*one))
    }

    /// Their numbers.
    pub fn numbers<N: From<u8>>(self) -> Vec<N> {
        (0..COUNT).filter(|number| self.0 & (1 << number) != 0).map(N::from).collect()
    }

    /// The one of a number.
    pub const fn one(number: u8) -> Self {
        Self(1 << (number % COUNT))
    }

    /// The number of the first.
    pub const fn number(self) -> u8 {
        self.0.trailing_zeros() as u8
    }
}

impl BitOr for Shards {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Shards {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl Sub for Shards {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl FromIterator<Self> for Shards {
    fn from_iter<I: IntoIterator<Item = Self>>(shards: I) -> Self {
        shards.into_iter().fold(Self::default(), BitOr::bitor)
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.numbers::<u8>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        let of = |number: u128| Shards::of(StreamId::from_uuid(Uuid::from_u128(number)));
        let some = of(0x13) | of(0xf);
        assert_eq!(some.numbers::<i32>(), [3, 15]);
        assert_eq!(some.each().collect::<Shards>(), some);
        assert!(some.has(of(3)) && !some.has(of(4)) && !some.has(some | of(4)));
        assert_eq!(some - of(3), Shards::one(15));
        assert_eq!((some.number(), of(0xf).number()), (3, 15));
        assert_eq!(some.and(of(3) | of(4)), of(3));
        assert!((some - some).is_empty());
    }
}
