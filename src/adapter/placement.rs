//! Where reading of a partition begins, and what that means for a person.
//!
//! Pure. The offset in the database decides, as long as the topic still has it; whatever else
//! happens has a name, and is told.

/// Where a partition is read from, and why there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The first offset to read.
    pub at: i64,
    /// Why there.
    pub beginning: Beginning,
}

/// Why a partition is read from where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// The group has read no partition of its topic: from the earliest record on.
    New,
    /// The topic has got another partition: from its earliest record on.
    Added,
    /// Where the database says.
    Resumed,
    /// The topic no longer has what was to come next: from the earliest that it has. The records
    /// between are lost to the adapter.
    Expired {
        /// How many, at most.
        lost: u64,
    },
    /// The topic ends before where the group was: it was deleted and made anew, or cut short. All
    /// of it is read, which has no effect twice.
    Recreated,
}

impl Beginning {
    /// The word for it in health, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Added => "partition_added",
            Self::Resumed => "resumed",
            Self::Expired { .. } => "offset_expired",
            Self::Recreated => "topic_recreated",
        }
    }

    /// Every word.
    pub const WORDS: [&'static str; 5] =
        ["new", "partition_added", "resumed", "offset_expired", "topic_recreated"];
}

/// Decides where to begin: `stored` is the offset in the database, `has` the offsets that the
/// partition has (its earliest, and the one after its last), `is_known` whether the group has read
/// any partition of the topic.
pub const fn place(stored: Option<i64>, has: (i64, i64), is_known: bool) -> Placement {
    let (earliest, end) = has;
    match stored {
        Some(at) if at > end => Placement { at: earliest, beginning: Beginning::Recreated },
        Some(at) if at < earliest => {
            let lost = (earliest - at).unsigned_abs();
            Placement { at: earliest, beginning: Beginning::Expired { lost } }
        }
        Some(at) => Placement { at, beginning: Beginning::Resumed },
        None if is_known => Placement { at: earliest, beginning: Beginning::Added },
        None => Placement { at: earliest, beginning: Beginning::New },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_decides_as_long_as_the_topic_has_the_offset() {
        let check = |stored, has, is_known, at, beginning| {
            assert_eq!(place(stored, has, is_known), Placement { at, beginning });
        };
        check(None, (0, 9), false, 0, Beginning::New);
        check(None, (4, 9), true, 4, Beginning::Added);
        check(Some(4), (4, 9), true, 4, Beginning::Resumed);
        check(Some(9), (4, 9), true, 9, Beginning::Resumed);
        check(Some(0), (0, 0), true, 0, Beginning::Resumed);
        check(Some(1), (4, 9), true, 4, Beginning::Expired { lost: 3 });
        check(Some(10), (4, 9), true, 4, Beginning::Recreated);
        check(Some(10), (0, 0), true, 0, Beginning::Recreated);
    }
}
