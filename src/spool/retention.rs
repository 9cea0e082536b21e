//! Retention: which bodies go, and how large the file may become.
//!
//! A body goes when every sink that ever had a cursor has confirmed it (and there is one), its time
//! is up, a later stamp of its path exists, and nobody set it aside; of a content that was stamped
//! through the API, never. Its leaf and its place in the
//! stream stay: a sink that comes later is told of them, so its log has no hole.

use rusqlite::{OptionalExtension as _, params};
use rustc_hash::FxHashMap;

use super::Spool;
use super::error::SpoolError;
use super::position::Position;
use super::queue::Receipt;
use super::writer::Session;
use crate::runtime::time::Timestamp;

/// Rows that one slice looks at, so that appends wait for milliseconds only.
const SLICE_ROWS_MAX: usize = 2_000;

/// Free pages that one slice gives back to the file system.
const VACUUM_PAGES_MAX: u32 = 1_000;

/// What a slice of purging did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Bodies that went.
    pub bodies: u64,
    /// Whether there is more to look at: purge again.
    pub more: bool,
}

impl Spool {
    /// Purges a slice of the bodies whose time is up at `now`. To be called again while there is
    /// [`more`](Purged::more), and from time to time.
    pub fn purge(&self, now: Timestamp) -> Receipt<Purged> {
        self.sending.order(move |session| {
            let cutoff = now.as_nanos().saturating_sub(
                i64::try_from(session.settings.config.retention.as_nanos()).unwrap_or(i64::MAX),
            );
            session.purge_slice(Timestamp::from_nanos(cutoff), now)
        })
    }
}

/// A stream as retention sees it.
#[derive(Clone, Copy, Debug)]
struct Span {
    stream: i64,
    repo: i64,
    purged_to: u64,
    /// What every sink has confirmed.
    confirmed: u64,
}

impl Span {
    fn at(&self, seq: u64) -> Position {
        Position { stream: self.stream, seq }
    }
}

/// What retention reads of a stamp.
struct Candidate {
    at: Position,
    stamped: Timestamp,
    path: Option<Vec<u8>>,
    from: Option<Vec<u8>>,
    follows: [Option<Position>; 2],
}

impl Session<'_> {
    /// Refuses to append when the file is as large as it may be, unless bodies that every sink has
    /// can go before their time.
    pub(super) fn make_room(&mut self) -> Result<(), SpoolError> {
        let bytes_max = self.settings.config.max_bytes;
        let blame = self.settings.blame.clone();
        let measure = |session: &Self| session.bytes_used().map_err(blame.on("measure the file"));
        let mut bytes = measure(self)?;
        let mut more = true;
        while bytes >= bytes_max && more {
            let now = self.settings.clock.now();
            more = self.purge_slice(now, now)?.more;
            bytes = measure(self)?;
        }
        if bytes < bytes_max { Ok(()) } else { Err(SpoolError::Full { bytes, bytes_max }) }
    }

    /// Bytes of the pages in use.
    fn bytes_used(&self) -> rusqlite::Result<u64> {
        let number = |sql| self.conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
        let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
        Ok((pages * number("PRAGMA page_size")?) as u64)
    }

    /// Looks at the next stamps that were taken before `cutoff`.
    fn purge_slice(&mut self, cutoff: Timestamp, now: Timestamp) -> Result<Purged, SpoolError> {
        let purged = self.purge(cutoff, now);
        purged.map_err(self.settings.blame.on("purge bodies"))
    }

    fn purge(&self, cutoff: Timestamp, now: Timestamp) -> rusqlite::Result<Purged> {
        let spans = self.spans()?;
        let confirmed: FxHashMap<i64, u64> =
            spans.iter().map(|span| (span.stream, span.confirmed)).collect();
        let mut purged = Purged::default();
        let mut room = SLICE_ROWS_MAX;
        for span in &spans {
            let candidates = self.candidates(span, room)?;
            room -= candidates.len();
            let due = candidates.iter().take_while(|candidate| candidate.stamped < cutoff);
            let mut purged_to = span.purged_to;
            for candidate in due {
                purged.bodies += self.purge_one(span, candidate, &confirmed, cutoff, now)?;
                purged_to = candidate.at.seq + 1;
            }
            self.conn
                .prepare_cached("UPDATE stream SET purged_to = ?2 WHERE id = ?1")?
                .execute(params![span.stream, purged_to as i64])?;
            if room == 0 {
                purged.more = purged_to > span.purged_to;
                break;
            }
        }
        self.give_back()?;
        Ok(purged)
    }

    /// Every stream of which sinks have confirmed more than was looked at.
    fn spans(&self) -> rusqlite::Result<Vec<Span>> {
        self.conn
            .prepare_cached(
                "SELECT id, repo_id, purged_to,
                   (SELECT min(coalesce(size, 0)) FROM sink LEFT JOIN cursor
                      ON cursor.sink = sink.name AND cursor.stream = stream.id) AS confirmed
                 FROM stream WHERE confirmed IS NOT NULL ORDER BY id",
            )?
            .query_map([], |row| {
                Ok(Span {
                    stream: row.get(0)?,
                    repo: row.get(1)?,
                    purged_to: row.get::<_, i64>(2)? as u64,
                    confirmed: row.get::<_, i64>(3)? as u64,
                })
            })?
            .collect()
    }

    fn candidates(&self, span: &Span, rows_max: usize) -> rusqlite::Result<Vec<Candidate>> {
        self.conn
            .prepare_cached(
                "SELECT pos, stamped, path, from_path, prev_pos, from_pos
                 FROM stamp WHERE pos >= ?1 AND pos < ?2 ORDER BY pos LIMIT ?3",
            )?
            .query_map(
                params![span.at(span.purged_to), span.at(span.confirmed), rows_max as i64],
                |row| {
                    Ok(Candidate {
                        at: row.get(0)?,
                        stamped: Timestamp::from_nanos(row.get(1)?),
                        path: row.get(2)?,
                        from: row.get(3)?,
                        follows: [row.get(4)?, row.get(5)?],
                    })
                },
            )?
            .collect()
    }

    /// Purges a stamp that was superseded, and those it supersedes, which were looked at when they
    /// still were the newest of their path.
    fn purge_one(
        &self,
        span: &Span,
        candidate: &Candidate,
        confirmed: &FxHashMap<i64, u64>,
        cutoff: Timestamp,
        now: Timestamp,
    ) -> rusqlite::Result<u64> {
        let mut bodies = 0;
        for older in candidate.follows.into_iter().flatten() {
            if confirmed.get(&older.stream).is_some_and(|&size| older.seq < size) {
                bodies += self.erase(older, cutoff, now)?;
            }
        }
        let newest = self.is_newest(span.repo, candidate.path.as_deref(), candidate.at)?
            || self.is_newest(span.repo, candidate.from.as_deref(), candidate.at)?;
        if !newest {
            bodies += self.erase(candidate.at, cutoff, now)?;
        }
        Ok(bodies)
    }

    fn is_newest(&self, repo: i64, path: Option<&[u8]>, at: Position) -> rusqlite::Result<bool> {
        let Some(path) = path else { return Ok(false) };
        self.conn
            .prepare_cached("SELECT 1 FROM file WHERE repo_id = ?1 AND path = ?2 AND pos = ?3")?
            .query_row(params![repo, path, at], |_| Ok(()))
            .optional()
            .map(|found| found.is_some())
    }

    fn erase(&self, at: Position, cutoff: Timestamp, now: Timestamp) -> rusqlite::Result<u64> {
        let erased = self
            .conn
            .prepare_cached(
                "UPDATE stamp SET kind = NULL, context = NULL, path = NULL, from_path = NULL,
                   digest = NULL, prev = NULL, size = NULL, mode = NULL, mtime = NULL, seen = NULL,
                   detail = NULL, purged = ?3
                 WHERE pos = ?1 AND stamped < ?2 AND purged IS NULL AND kind <> 'api'
                   AND NOT EXISTS (SELECT 1 FROM dead WHERE dead.pos = ?1)",
            )?
            .execute(params![at, cutoff.as_nanos(), now.as_nanos()])?;
        Ok(erased as u64)
    }

    fn give_back(&self) -> rusqlite::Result<()> {
        let sql = format!("PRAGMA incremental_vacuum({VACUUM_PAGES_MAX})");
        let mut statement = self.conn.prepare(&sql)?;
        let mut freed = statement.query([])?;
        // One step per page.
        while freed.next()?.is_some() {}
        Ok(())
    }
}
