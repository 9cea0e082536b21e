//! Contexts: what many stamps share, stored once and never changed.

use std::sync::Arc;

use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::error::SpoolError;
use super::schema::Blame;
use crate::model::body::Rendered;
use crate::model::filetype::NamedType;
use crate::model::stamp::Context;

/// A context that is in the table, ready to render bodies with.
#[derive(Clone, Debug)]
pub(super) struct Interned {
    pub(super) id: i64,
    pub(super) rendered: Arc<Rendered>,
}

/// The contexts of one repo as it stands now, one per type of file.
#[derive(Debug)]
pub(super) struct Contexts {
    base: Context,
    by_type: FxHashMap<Option<NamedType>, Interned>,
}

impl Contexts {
    /// `base` is what the repo's stamps share; its `file` is filled in per type.
    pub(super) fn new(base: Context) -> Self {
        Self { base, by_type: FxHashMap::default() }
    }

    /// Goes on with another base: what was stamped keeps its own.
    pub(super) fn rebase(&mut self, change: impl FnOnce(&mut Context)) {
        change(&mut self.base);
        self.by_type.clear();
    }

    /// The context for stamps of files of this type.
    pub(super) fn of(
        &mut self,
        file: Option<NamedType>,
        conn: &Connection,
        blame: &Blame,
    ) -> Result<Interned, SpoolError> {
        if let Some(known) = self.by_type.get(&file) {
            return Ok(known.clone());
        }
        let context = Context { file: file.map(NamedType::to_file_type), ..self.base.clone() };
        let interned = intern(conn, context).map_err(blame.on("intern a context"))?;
        self.by_type.insert(file, interned.clone());
        Ok(interned)
    }
}

/// Puts a context into the table, where it is not there yet.
pub(super) fn intern(conn: &Connection, context: Context) -> rusqlite::Result<Interned> {
    let json = serde_json::to_string(&context).expect("the model's types have string keys only");
    conn.prepare_cached("INSERT OR IGNORE INTO context (json) VALUES (?1)")?.execute([&json])?;
    let id = conn
        .prepare_cached("SELECT id FROM context WHERE json = ?1")?
        .query_row([&json], |row| row.get(0))?;
    Ok(Interned { id, rendered: Arc::new(Rendered::new(Arc::new(context))) })
}

/// Reads a context back.
pub(super) fn load(conn: &Connection, id: i64, blame: &Blame) -> Result<Arc<Rendered>, SpoolError> {
    let json: String = conn
        .prepare_cached("SELECT json FROM context WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([id], |row| row.get(0)))
        .map_err(blame.on("read a context"))?;
    let context: Context = serde_json::from_str(&json)
        .map_err(|source| blame.damaged(format!("context {id}: {source}")))?;
    Ok(Arc::new(Rendered::new(Arc::new(context))))
}
