//! The way out of a fork: a sink holds other stamps than we do, so ours go on in another stream.
//!
//! A fork comes from a copy of this spool that went on elsewhere. From the first differing seq on,
//! the old stream is over for every sink, and its stamps are appended again, in order, to the next
//! epoch. Nothing waits for a person.

use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;

use super::error::SpoolError;
use super::log::{Entry, Links, stamp_columns};
use super::position::Position;
use super::queue::Receipt;
use super::stream::{self, Found, Head};
use super::track::write;
use super::writer::Session;
use super::{Spool, content, context};
use crate::model::path::RepoPath;
use crate::model::stamp::{Kind, Previous, Stamp};
use crate::model::stream::StreamId;

/// Stamps that are held in memory at a time while a tail is appended again.
const CHUNK_ROWS: i64 = 1_000;

impl Spool {
    /// Ends `stream` at `from_seq`, where a sink was found to hold another stamp, and appends what
    /// it holds from there on to the repo's newest stream, which it gives; when `stream` is the
    /// newest itself, that is a new one. Idempotent: a stream that ended there stays as it is.
    pub fn new_epoch(&self, stream: StreamId, from_seq: u64) -> Receipt<StreamId> {
        self.sending.order(move |session| session.new_epoch(stream, from_seq))
    }
}

impl Session<'_> {
    fn new_epoch(&mut self, stream: StreamId, from_seq: u64) -> Result<StreamId, SpoolError> {
        // What this transaction appended so far belongs to the tail.
        self.save_heads()?;
        let forked = self.found(stream)?;
        let mut head = self.newest_head(&forked, stream)?;
        let at = from_seq.min(forked.end);
        if head.id == stream {
            head = self.succeed(&forked, &head, at)?;
        } else if at == forked.end {
            return Ok(head.id);
        }
        self.conn
            .execute("UPDATE stream SET ends_at = ?2 WHERE id = ?1", params![forked.row, at as i64])
            .map_err(self.settings.blame.on("end a stream"))?;
        self.append_tail(&forked, at, &mut head)?;
        head.save(&mut self.statements.save_head)
            .map_err(self.settings.blame.on("write the head of a stream"))?;
        let id = head.id;
        if let Some(track) = self.tracks.get_mut(&forked.repo) {
            track.head = head;
        }
        Ok(id)
    }

    fn newest_head(&self, forked: &Found, stream: StreamId) -> Result<Head, SpoolError> {
        let newest = stream::newest(self.conn, forked.repo)
            .map_err(self.settings.blame.on("read a stream"))?;
        newest.map(|(head, _)| head).ok_or(SpoolError::UnknownStream(stream))
    }

    /// Opens the stream after `head`, which ends at `at`.
    fn succeed(&mut self, forked: &Found, head: &Head, at: u64) -> Result<Head, SpoolError> {
        let blame = self.settings.blame.clone();
        let previous =
            stream::previous(self.conn, head, at).map_err(blame.on("read the end of a stream"))?;
        // The repo need not be open now: the context that opened the old stream opens the next.
        let context = match self.tracks.get_mut(&forked.repo) {
            Some(track) => track.contexts.of(None, self.conn, &blame)?.id,
            None => head.context,
        };
        self.create_stream(forked.repo, Some(head), context, Some(previous))
    }

    /// A new stream with its first stamp. `older` is the epoch before.
    pub(super) fn create_stream(
        &mut self,
        repo: i64,
        older: Option<&Head>,
        context: i64,
        previous: Option<Previous>,
    ) -> Result<Head, SpoolError> {
        let blame = self.settings.blame.clone();
        let now = self.settings.clock.now();
        let epoch = older.map_or(0, |head| head.epoch + 1);
        let mut head = stream::create(self.conn, repo, epoch, &self.settings.origin, context, now)
            .map_err(blame.on("open a stream"))?;
        let rendered = context::load(self.conn, context, &blame)?;
        let stamp = Stamp::opened(head.id, rendered.context().clone(), previous, now);
        write(&mut self.statements, &mut head, stamp, context, &rendered, Links::default())
            .map_err(blame.on("append a stamp"))?;
        self.appended += 1;
        Ok(head)
    }

    /// Appends what `forked` holds from `from_seq` to its end to `head`.
    fn append_tail(
        &mut self,
        forked: &Found,
        from_seq: u64,
        head: &mut Head,
    ) -> Result<(), SpoolError> {
        let blame = self.settings.blame.clone();
        let mut moved: FxHashMap<Position, Position> = FxHashMap::default();
        let mut next = from_seq;
        while next < forked.end {
            let chunk = chunk(self.conn, forked, next).map_err(blame.on("read stamps"))?;
            let Some(last) = chunk.last() else { break };
            next = last.at.seq + 1;
            for entry in chunk {
                self.append_again(forked, entry, head, &mut moved)?;
            }
        }
        Ok(())
    }

    fn append_again(
        &mut self,
        forked: &Found,
        entry: Entry,
        head: &mut Head,
        moved: &mut FxHashMap<Position, Position>,
    ) -> Result<(), SpoolError> {
        let blame = self.settings.blame.clone();
        let Entry { at: old, links, stamped, body, .. } = entry;
        // A purged body was confirmed by every sink; and the new stream has its own first stamp.
        let Ok(columns) = body else { return Ok(()) };
        if columns.kind == Some(Kind::Opened) {
            return Ok(());
        }
        let context = columns.context;
        let rendered = context::load(self.conn, context, &blame)?;
        let stamp = columns
            .into_stamp(head.id, head.next().seq, stamped, &rendered)
            .ok_or(SpoolError::Altered { stream: head.id, seq: old.seq })?;
        let content = stamp.digest.zip(stamp.content_id()).filter(|_| stamp.kind == Kind::Api);
        let paths = [stamp.path.clone(), stamp.from.clone()];
        let follow = |link: Option<Position>| link.map(|at| *moved.get(&at).unwrap_or(&at));
        let links = Links { prev: follow(links.prev), from: follow(links.from) };
        let new = write(&mut self.statements, head, stamp, context, &rendered, links)
            .map_err(blame.on("append a stamp"))?;
        self.appended += 1;
        moved.insert(old, new);
        if let Some((digest, id)) = content {
            content::follow(self.conn, &digest, id, old, new)
                .map_err(blame.on("note a content"))?;
        }
        for path in paths.into_iter().flatten() {
            point(self.conn, forked.repo, &path, old, new)
                .map_err(blame.on("write the file index"))?;
        }
        Ok(())
    }
}

fn chunk(conn: &Connection, forked: &Found, from_seq: u64) -> rusqlite::Result<Vec<Entry>> {
    conn.prepare_cached(concat!(
        "SELECT ",
        stamp_columns!(),
        " FROM stamp WHERE pos >= ?1 AND pos < ?2 ORDER BY pos LIMIT ?3"
    ))?
    .query_map(params![forked.at(from_seq), forked.at(forked.end), CHUNK_ROWS], Entry::read)?
    .collect()
}

/// Lets the row of a path whose newest stamp was `old` follow it to `new`.
fn point(
    conn: &Connection,
    repo: i64,
    path: &RepoPath,
    old: Position,
    new: Position,
) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE file SET pos = ?4 WHERE repo_id = ?1 AND path = ?2 AND pos = ?3")?
        .execute(params![repo, path.as_bytes(), old, new])
        .map(drop)
}
