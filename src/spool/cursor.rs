//! Cursors: how much of each stream each sink has confirmed.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Spool;
use super::error::SpoolError;
use super::queue::Receipt;
use super::stream::{self, Found};
use super::writer::Session;
use crate::model::stream::StreamId;

/// A sink's position in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The stream.
    pub stream: StreamId,
    /// The length of the prefix it has confirmed.
    pub size: u64,
}

impl Spool {
    /// Makes a sink known before it has confirmed anything, so that purging waits for it. Idempotent.
    pub fn enroll(&self, sink: &str) -> Receipt<()> {
        let sink = sink.to_owned();
        self.sending.order(move |session| session.enroll(&sink))
    }

    /// Pins who is at the far end of a sink, at first contact.
    pub fn pin(&self, sink: &str, identity: &str) -> Receipt<()> {
        let (sink, identity) = (sink.to_owned(), identity.to_owned());
        self.sending.order(move |session| session.pin(&sink, &identity))
    }

    /// Sets a sink's cursor, forwards or, when the far end knows less than it did, backwards.
    pub fn confirm(&self, sink: &str, stream: StreamId, size: u64) -> Receipt<()> {
        let sink = sink.to_owned();
        self.sending.order(move |session| session.confirm(&sink, stream, size))
    }

    /// Forgets a sink, its cursors and its dead letters: purging waits for it no longer.
    pub fn forget(&self, sink: &str) -> Receipt<()> {
        let sink = sink.to_owned();
        self.sending.order(move |session| session.forget(&sink))
    }
}

impl Session<'_> {
    fn enroll(&self, sink: &str) -> Result<(), SpoolError> {
        self.conn
            .prepare_cached("INSERT OR IGNORE INTO sink (name) VALUES (?1)")
            .and_then(|mut statement| statement.execute([sink]))
            .map(drop)
            .map_err(self.settings.blame.on("note a sink"))
    }

    fn pin(&self, sink: &str, identity: &str) -> Result<(), SpoolError> {
        self.conn
            .prepare_cached(
                "INSERT INTO sink (name, identity) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET identity = excluded.identity",
            )
            .and_then(|mut statement| statement.execute([sink, identity]))
            .map(drop)
            .map_err(self.settings.blame.on("pin the identity of a sink"))
    }

    fn confirm(&self, sink: &str, stream: StreamId, size: u64) -> Result<(), SpoolError> {
        let found = self.found(stream)?;
        if size > found.end {
            return Err(SpoolError::BeyondEnd { stream, size, end: found.end });
        }
        self.move_cursor(sink, found.row, size)
    }

    /// Moves a cursor to a size that was checked.
    pub(super) fn move_cursor(&self, sink: &str, stream: i64, size: u64) -> Result<(), SpoolError> {
        self.enroll(sink)?;
        self.conn
            .prepare_cached(
                "INSERT INTO cursor (sink, stream, size) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET size = excluded.size",
            )
            .and_then(|mut statement| statement.execute(params![sink, stream, size as i64]))
            .map(drop)
            .map_err(self.settings.blame.on("move a cursor"))
    }

    fn forget(&self, sink: &str) -> Result<(), SpoolError> {
        let forget = || {
            self.conn.execute("DELETE FROM dead WHERE sink = ?1", [sink])?;
            self.conn.execute("DELETE FROM cursor WHERE sink = ?1", [sink])?;
            self.conn.execute("DELETE FROM sink WHERE name = ?1", [sink])
        };
        forget().map(drop).map_err(self.settings.blame.on("forget a sink"))
    }

    /// The row and end of a stream; a stream that is not here is the caller's mistake.
    pub(super) fn found(&self, stream: StreamId) -> Result<Found, SpoolError> {
        stream::find(self.conn, stream)
            .map_err(self.settings.blame.on("find a stream"))?
            .ok_or(SpoolError::UnknownStream(stream))
    }
}

/// How much of a stream a sink has confirmed.
pub(super) fn load(conn: &Connection, sink: &str, stream: StreamId) -> rusqlite::Result<u64> {
    let size: Option<i64> = conn
        .prepare_cached(
            "SELECT size FROM cursor JOIN stream ON stream.id = cursor.stream
             WHERE sink = ?1 AND stream_id = ?2",
        )?
        .query_row(params![sink, stream.as_uuid().as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(size.unwrap_or(0) as u64)
}
