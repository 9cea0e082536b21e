//! Positions: a stream and a seq as the one integer that the log is keyed by.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// Bits of the seq: 10^12 stamps per stream, and 8 million streams.
const SEQ_BITS: u32 = 40;

/// Where a stamp is in this spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Position {
    /// The row of the stream.
    pub(super) stream: i64,
    /// The seq there.
    pub(super) seq: u64,
}

impl Position {
    /// The key in the log.
    pub(super) fn key(self) -> i64 {
        debug_assert!(self.stream >> (63 - SEQ_BITS) == 0, "a spool has few streams");
        debug_assert!(self.seq >> SEQ_BITS == 0, "a stream has few stamps");
        (self.stream << SEQ_BITS) + self.seq as i64
    }

    fn from_key(key: i64) -> Self {
        Self { stream: key >> SEQ_BITS, seq: (key & ((1 << SEQ_BITS) - 1)) as u64 }
    }
}

impl ToSql for Position {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.key().into())
    }
}

impl FromSql for Position {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_back_to_its_stream_and_seq_and_sorts_by_both() {
        let largest = (1 << SEQ_BITS) - 1;
        let sorted = [(0, 0), (1, 0), (1, 1), (1, largest), (2, 0), ((1 << 23) - 1, largest)]
            .map(|(stream, seq)| Position { stream, seq });
        assert!(sorted.is_sorted_by_key(|position| position.key()));
        assert_eq!(sorted.map(|position| Position::from_key(position.key())), sorted);
    }
}
