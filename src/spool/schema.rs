//! Opening the file: pragmas, whose file it is, its version, its health.
//!
//! Promises that a connection it hands out is to a spool of exactly the version this binary writes.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::error::SpoolError;

/// `STMP`: tells our files from other programs'.
const APPLICATION_ID: i64 = 0x5354_4d50;

/// The first SQLite without the WAL-reset corruption of 3.7.0 to 3.51.2.
const SQLITE_MIN: i32 = 3_051_003;

/// The ladder: file `n` (from 1) takes a spool from version `n - 1` to `n`.
const MIGRATIONS: [&str; 2] = [
    include_str!("../../migrations/spool/0001_initial.sql"),
    include_str!("../../migrations/spool/0002_content.sql"),
];

/// The version this binary writes.
const VERSION: u32 = MIGRATIONS.len() as u32;

/// The spool of a state directory.
pub(super) fn path_in(state_dir: &Path) -> PathBuf {
    state_dir.join("spool.db")
}

/// Gives SQLite's errors the words around them: the file and what was being done.
#[derive(Clone, Debug)]
pub(super) struct Blame(PathBuf);

impl Blame {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The file holds what we never wrote.
    pub(super) fn damaged(&self, report: String) -> SpoolError {
        SpoolError::Corrupt { path: self.0.clone(), report }
    }

    /// For `map_err`.
    pub(super) fn on(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> SpoolError {
        let path = self.0.clone();
        move |source| match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => SpoolError::Foreign { path: path.clone() },
            Some(ErrorCode::DatabaseCorrupt) => {
                SpoolError::Corrupt { path: path.clone(), report: source.to_string() }
            }
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                SpoolError::Denied { action, path: path.clone(), source }
            }
            _ => SpoolError::Sqlite { action, path: path.clone(), source },
        }
    }
}

/// Opens the spool for its writer, making and migrating it as needed.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection, SpoolError> {
    assert_sqlite()?;
    create_private(path)
        .map_err(|source| SpoolError::Unwritable { dir: path.to_owned(), source })?;
    let blame = Blame::new(path);
    let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let found = check_ours(&conn, path)?;
    writing_pragmas(&conn, found).map_err(blame.on("set up the connection"))?;
    check_wal(&conn, path)?;
    if found > 0 && !stopped_in_order(&conn).map_err(blame.on("read how it was left"))? {
        check_health(&conn, path)?;
    }
    migrate(&mut conn, found).map_err(blame.on("migrate"))?;
    Ok(conn)
}

/// Opens an existing spool to read from it, beside a running agent or without one.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, SpoolError> {
    assert_sqlite()?;
    if matches!(fs::metadata(path), Err(missing) if missing.kind() == io::ErrorKind::NotFound) {
        return Err(SpoolError::Missing { path: path.to_owned() });
    }
    let conn = if is_frozen(path) {
        connect(&immutable(path), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?
    };
    match check_ours(&conn, path)? {
        0 => return Err(SpoolError::Missing { path: path.to_owned() }),
        VERSION => {}
        found => return Err(SpoolError::Older { path: path.to_owned(), found, known: VERSION }),
    }
    conn.execute_batch("PRAGMA cache_size=-2000; PRAGMA query_only=ON;")
        .map_err(Blame::new(path).on("set up the connection"))?;
    Ok(conn)
}

/// Whether a stopped agent's spool lies where nobody can write. To read beside a writer SQLite makes
/// an index of the log, which it cannot there; where there is no log, nothing needs one.
fn is_frozen(path: &Path) -> bool {
    let is_read_only = statvfs(path).is_ok_and(|it| it.f_flag.contains(StatVfsMountFlags::RDONLY));
    is_read_only && !path.with_extension("db-wal").exists()
}

/// The file's name as a URI that tells SQLite to look for no log and to lock nothing.
fn immutable(path: &Path) -> PathBuf {
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            // Only these mean something else there.
            b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02x}").bytes()),
            byte => uri.push(*byte),
        }
    }
    uri.extend(b"?immutable=1");
    PathBuf::from(OsString::from_vec(uri))
}

/// Inode of the spool: another one means a restored backup or a cloned image.
pub(super) fn inode(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|meta| meta.ino())
}

fn assert_sqlite() -> Result<(), SpoolError> {
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(SpoolError::OldSqlite { found: rusqlite::version() });
    }
    Ok(())
}

/// SQLite would make it with the process's umask; its -wal and -shm take the mode of this file.
fn create_private(path: &Path) -> io::Result<()> {
    let private = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match private {
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, SpoolError> {
    let blame = Blame::new(path);
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(blame.on("open"))?;
    conn.set_prepared_statement_cache_capacity(64);
    // Without this a statement is prepared anew for the values that are bound, each time.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(blame.on("set up the connection"))?;
    conn.execute_batch(
        "PRAGMA busy_timeout=5000; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;
         PRAGMA mmap_size=0; PRAGMA foreign_keys=ON;",
    )
    .map_err(blame.on("set up the connection"))?;
    Ok(conn)
}

/// Says the file's version, 0 for a new one.
fn check_ours(conn: &Connection, path: &Path) -> Result<u32, SpoolError> {
    let blame = Blame::new(path);
    let number = |pragma| {
        conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(blame.on("read whose file it is"))
    };
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(blame.on("read whose file it is"))?;
    let (id, found) = (number("application_id")?, number("user_version")?);
    if tables == 0 && id == 0 && found == 0 {
        return Ok(0);
    }
    match u32::try_from(found) {
        Ok(1..=VERSION) if id == APPLICATION_ID => Ok(found as u32),
        Ok(newer) if id == APPLICATION_ID && newer > VERSION => {
            Err(SpoolError::Newer { path: path.to_owned(), found: newer, known: VERSION })
        }
        _ => Err(SpoolError::Foreign { path: path.to_owned() }),
    }
}

fn writing_pragmas(conn: &Connection, found: u32) -> rusqlite::Result<()> {
    if found == 0 {
        // Takes effect only before the first table.
        conn.execute_batch("PRAGMA auto_vacuum=INCREMENTAL;")?;
    }
    conn.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA fullfsync=ON;
         PRAGMA checkpoint_fullfsync=ON; PRAGMA journal_size_limit=67108864;
         PRAGMA cache_size=-8000;",
    )
}

/// A pragma that does not take says so only when asked; durability depends on these two.
fn check_wal(conn: &Connection, path: &Path) -> Result<(), SpoolError> {
    let blame = Blame::new(path);
    let mode: String = conn
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(blame.on("read the journal mode"))?;
    let synchronous: i64 = conn
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .map_err(blame.on("read the synchronous mode"))?;
    if mode == "wal" && synchronous == 2 {
        return Ok(());
    }
    let source = rusqlite::Error::ToSqlConversionFailure(
        format!("journal_mode is {mode} and synchronous is {synchronous}").into(),
    );
    Err(SpoolError::Sqlite { action: "turn on write-ahead logging", path: path.into(), source })
}

fn stopped_in_order(conn: &Connection) -> rusqlite::Result<bool> {
    let clean: Option<String> = conn
        .query_row("SELECT value FROM meta WHERE key = 'clean'", [], |row| row.get(0))
        .optional()?;
    Ok(clean.as_deref() == Some("1"))
}

fn check_health(conn: &Connection, path: &Path) -> Result<(), SpoolError> {
    let report: String = conn
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(Blame::new(path).on("check its health"))?;
    if report == "ok" {
        return Ok(());
    }
    Err(SpoolError::Corrupt { path: path.to_owned(), report })
}

fn migrate(conn: &mut Connection, found: u32) -> rusqlite::Result<()> {
    for (script, version) in MIGRATIONS.iter().zip(1..).skip(found as usize) {
        let tx = conn.transaction()?;
        tx.execute_batch(script)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_that_rests_is_read_whatever_its_path_is() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("50%?immutable=0#");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let found: i64 = connect(&immutable(&path), flags)
            .unwrap()
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, 1);
    }
}
