//! Dead letters: stamps that a sink will never accept, kept so that a person can look and try again.

use rusqlite::{Connection, params};

use super::Spool;
use super::error::SpoolError;
use super::position::Position;
use super::queue::Receipt;
use super::writer::Session;
use crate::model::stream::StreamId;
use crate::runtime::time::Timestamp;

/// Why a sink does not accept a stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The class of the error.
    pub class: String,
    /// Its code: an SQLSTATE, a Kafka error name, an HTTP status.
    pub code: String,
    /// Its text.
    pub reason: String,
}

/// A stamp that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadStamp {
    /// Its stream.
    pub stream: StreamId,
    /// Its position there.
    pub seq: u64,
    /// Why.
    pub letter: DeadLetter,
    /// How often it was refused.
    pub attempts: u64,
    /// Since when.
    pub since: Timestamp,
}

impl Spool {
    /// Sets a stamp aside for a sink and moves the sink's cursor to `size`, which passes it: both or
    /// neither. Setting it aside once more counts the attempt.
    pub fn set_aside(
        &self,
        sink: &str,
        stream: StreamId,
        seq: u64,
        letter: DeadLetter,
        size: u64,
    ) -> Receipt<()> {
        let sink = sink.to_owned();
        self.sending.order(move |session| session.set_aside(&sink, stream, seq, &letter, size))
    }

    /// Takes a stamp from the dead letters: the sink has accepted it after all.
    pub fn revive(&self, sink: &str, stream: StreamId, seq: u64) -> Receipt<()> {
        let sink = sink.to_owned();
        self.sending.order(move |session| session.revive(&sink, stream, seq))
    }
}

impl Session<'_> {
    fn set_aside(
        &self,
        sink: &str,
        stream: StreamId,
        seq: u64,
        letter: &DeadLetter,
        size: u64,
    ) -> Result<(), SpoolError> {
        let found = self.found(stream)?;
        let reached = size.max(seq + 1);
        if reached > found.end {
            return Err(SpoolError::BeyondEnd { stream, size: reached, end: found.end });
        }
        self.move_cursor(sink, found.row, size)?;
        self.conn
            .prepare_cached(
                "INSERT INTO dead (sink, pos, class, code, reason, attempts, since)
                 VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6)
                 ON CONFLICT DO UPDATE SET class = excluded.class, code = excluded.code,
                   reason = excluded.reason, attempts = attempts + 1",
            )
            .and_then(|mut statement| {
                let since = self.settings.clock.now().as_nanos();
                let DeadLetter { class, code, reason } = letter;
                statement.execute(params![sink, found.at(seq), class, code, reason, since])
            })
            .map(drop)
            .map_err(self.settings.blame.on("set a stamp aside"))
    }

    fn revive(&self, sink: &str, stream: StreamId, seq: u64) -> Result<(), SpoolError> {
        let found = self.found(stream)?;
        self.conn
            .prepare_cached("DELETE FROM dead WHERE sink = ?1 AND pos = ?2")
            .and_then(|mut statement| statement.execute(params![sink, found.at(seq)]))
            .map(drop)
            .map_err(self.settings.blame.on("take a stamp from the dead letters"))
    }
}

/// The dead letters of a sink, oldest first.
pub(super) fn load(conn: &Connection, sink: &str) -> rusqlite::Result<Vec<DeadStamp>> {
    conn.prepare_cached(
        "SELECT stream_id, pos, class, code, reason, attempts, since
         FROM dead JOIN stream ON stream.id = dead.pos >> 40
         WHERE sink = ?1 ORDER BY since, pos",
    )?
    .query_map([sink], |row| {
        Ok(DeadStamp {
            stream: super::stream::stream_id(row, 0)?,
            seq: row.get::<_, Position>(1)?.seq,
            letter: DeadLetter { class: row.get(2)?, code: row.get(3)?, reason: row.get(4)? },
            attempts: row.get::<_, i64>(5)? as u64,
            since: Timestamp::from_nanos(row.get(6)?),
        })
    })?
    .collect()
}
