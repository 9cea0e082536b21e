//! Adopting a `metadata_stamps` that stampd did not make: its rows move into the one schema. What
//! is there under another of our names is `aside`'s.
//!
//! The old table is set aside under another name, the migrations make ours, and every row is
//! carried over by a few statements inside the server, all in the migrator's transaction. `shape`
//! knows the tables that are out there, `look` asks the catalog, `mapping` says in SQL what becomes
//! of each column.
//!
//! - Every row is kept: in `metadata_stamps`, or whole in `metadata_stamps_unplaced` with the reason
//!   why the schema cannot hold it. The rows are counted before the old table is dropped.
//! - Every column is kept: one that we do not know goes into `file_metadata.legacy_columns`.
//! - Whatever hangs on the old table from outside, a view or a foreign key, is named and nothing is
//!   changed. What belongs to the table itself, its indexes and triggers, goes with it, by name.
//!
//! The lock, the commit and the order of things are left to `migrate`.

use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use super::error::StoreError;
use look::names;
use mapping::Mapping;

pub(super) mod aside;
mod look;
mod mapping;
mod shape;

pub use aside::Aside;
pub(super) use look::{Hold, look};
pub use shape::Shape;

/// The table that is adopted.
pub const TABLE: &str = "metadata_stamps";

/// Where rows rest that the schema cannot hold.
pub const UNPLACED: &str = "metadata_stamps_unplaced";

/// The old table's name while its rows are carried over.
const ASIDE: &str = "stampd_adopting";

/// What adopting a table comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// Which of the known tables it is.
    pub shape: Shape,
    /// Rows that the schema holds.
    pub placed: u64,
    /// Rows that it cannot hold: why, and how many.
    pub unplaced: Vec<(String, u64)>,
    /// Columns that we do not know, kept in `file_metadata.legacy_columns`.
    pub columns: Vec<String>,
    /// Who may read the table, and still may.
    pub readers: Vec<String>,
    /// What goes with the old table: indexes, triggers, rights to write.
    pub gone: Vec<String>,
}

/// How far the work is, for whoever watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Rows that do not fit are looked for, among so many.
    Reading(u64),
    /// Rows are copied.
    Copying(u64),
    /// Indexes are built over them.
    Indexing,
}

/// Why a table is not adopted. Nothing was changed in any case.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The road, the server or the statement.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is no table of stamps.
    #[error(
        "adopt metadata_stamps: {0}; nothing was changed: use a database of its own, or move it \
         away (ALTER TABLE metadata_stamps RENAME TO …)"
    )]
    Unrecognised(String),
    /// Others need the table as it is.
    #[error(
        "adopt metadata_stamps: these hang on it: {}; nothing was changed: drop them, migrate, and \
         make them anew", .0.join(", ")
    )]
    InTheWay(Vec<String>),
    /// It belongs to somebody else.
    #[error(
        "adopt metadata_stamps: it belongs to {owner}; nothing was changed: migrate as {owner} or \
         a superuser, or let {owner} say ALTER TABLE metadata_stamps OWNER TO {login}"
    )]
    NotOwner {
        /// Whose it is.
        owner: String,
        /// Who asked.
        login: String,
    },
    /// A policy hides rows from us.
    #[error(
        "adopt metadata_stamps: its policies may hide rows from {0}; nothing was changed: say ALTER \
         TABLE metadata_stamps NO FORCE ROW LEVEL SECURITY, or migrate as a superuser"
    )]
    Hidden(String),
    /// A table that has to be renamed belongs to somebody else.
    #[error(
        "rename {table}: it belongs to {owner}; nothing was changed: migrate as {owner} or a \
         superuser, or let {owner} say ALTER TABLE {table} OWNER TO {login}"
    )]
    Unnamable {
        /// The table.
        table: &'static str,
        /// Whose it is.
        owner: String,
        /// Who asked.
        login: String,
    },
    /// A table that has to be renamed is being used.
    #[error("rename {0}: another session is using it; stop what writes to it, and try again")]
    Used(&'static str),
    /// Others are using it.
    #[error(
        "adopt metadata_stamps: another session is using it; stop what writes to it, and try again"
    )]
    InUse,
    /// The rows before and after differ in number.
    #[error(
        "adopt metadata_stamps: of {before} rows {after} came over; nothing was changed: report \
         this as a bug"
    )]
    Miscounted {
        /// In the old table.
        before: u64,
        /// In both new ones.
        after: u64,
    },
}

impl From<tokio_postgres::Error> for AdoptError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A foreign `metadata_stamps`, locked and understood.
pub(super) struct Found {
    shape: Shape,
    mapping: Mapping,
    readers: Vec<String>,
    gone: Vec<String>,
    /// How many there are; exact while the table is held fast.
    rows: u64,
}

impl Found {
    /// Tells what adopting it comes to, and changes nothing.
    pub(super) async fn assess(
        self,
        tx: &Transaction<'_>,
        watch: &mut (dyn FnMut(Stage) + Send),
    ) -> Result<Adoption, AdoptError> {
        watch(Stage::Reading(self.rows));
        let marked = self.mapping.marks(TABLE);
        let query =
            format!("SELECT reason, count(*) FROM ({marked}) m GROUP BY 1 ORDER BY 2 DESC, 1");
        let mut placed = 0;
        let mut unplaced = Vec::new();
        for row in tx.query(&query, &[]).await? {
            let rows = row.try_get::<_, i64>(1)? as u64;
            match row.try_get::<_, Option<String>>(0)? {
                None => placed = rows,
                Some(reason) => unplaced.push((reason, rows)),
            }
        }
        Ok(self.adoption(placed, unplaced))
    }

    /// Gives the table and its indexes other names, so that ours are free.
    pub(super) async fn set_aside(&self, tx: &Transaction<'_>) -> Result<(), AdoptError> {
        Ok(tx.batch_execute(SET_ASIDE).await?)
    }

    /// Carries every row over into the tables that the migrations made, and drops the old table.
    pub(super) async fn carry(
        self,
        tx: &Transaction<'_>,
        watch: &mut (dyn FnMut(Stage) + Send),
    ) -> Result<Adoption, AdoptError> {
        tx.batch_execute(SETTINGS).await?;
        watch(Stage::Reading(self.rows));
        let unplaced = self.mark(tx).await?;
        watch(Stage::Copying(self.rows));
        let indexes = names(tx, INDEXES).await?;
        tx.batch_execute(DROP_INDEXES).await?;
        let placed = tx.execute(&self.mapping.place(ASIDE), &[]).await?;
        let moved = if unplaced.is_empty() { 0 } else { keep_unplaced(tx).await? };
        if self.rows != placed + moved {
            return Err(AdoptError::Miscounted { before: self.rows, after: placed + moved });
        }
        watch(Stage::Indexing);
        // Built once over all rows, an index takes a fraction of what it takes row by row.
        tx.batch_execute(&indexes.join(";")).await?;
        tx.batch_execute("ANALYZE public.metadata_stamps").await?;
        self.grant(tx, moved > 0).await?;
        drop_old(tx).await?;
        Ok(self.adoption(placed, unplaced))
    }

    /// Writes down which rows do not fit, and which need another id; returns the reasons.
    async fn mark(&self, tx: &Transaction<'_>) -> Result<Vec<(String, u64)>, AdoptError> {
        let marked = self.mapping.marks(ASIDE);
        tx.batch_execute(&format!(
            "CREATE TEMP TABLE stampd_marks ON COMMIT DROP AS
             SELECT * FROM ({marked}) m WHERE reason IS NOT NULL OR renumbered;
             ANALYZE pg_temp.stampd_marks"
        ))
        .await?;
        let query = "SELECT reason, count(*) FROM pg_temp.stampd_marks WHERE reason IS NOT NULL
            GROUP BY 1 ORDER BY 2 DESC, 1";
        let mut reasons = Vec::new();
        for row in tx.query(query, &[]).await? {
            reasons.push((row.try_get(0)?, row.try_get::<_, i64>(1)? as u64));
        }
        Ok(reasons)
    }

    /// Lets those read who could read before.
    async fn grant(&self, tx: &Transaction<'_>, unplaced: bool) -> Result<(), AdoptError> {
        let tables = if unplaced {
            "public.metadata_stamps, public.metadata_stamps_unplaced"
        } else {
            "public.metadata_stamps"
        };
        for reader in &self.readers {
            tx.batch_execute(&format!("GRANT SELECT ON {tables} TO {reader}")).await?;
        }
        Ok(())
    }

    fn adoption(self, placed: u64, unplaced: Vec<(String, u64)>) -> Adoption {
        let Self { shape, mapping, readers, gone, .. } = self;
        Adoption { shape, placed, unplaced, columns: mapping.into_legacy_columns(), readers, gone }
    }
}

/// Moves the rows that do not fit, as they are, into a table of their own.
async fn keep_unplaced(tx: &Transaction<'_>) -> Result<u64, AdoptError> {
    tx.batch_execute(
        "CREATE TABLE public.metadata_stamps_unplaced (
            unplaced_reason text NOT NULL,
            unplaced_at timestamptz NOT NULL DEFAULT now(),
            LIKE public.stampd_adopting);
        COMMENT ON TABLE public.metadata_stamps_unplaced IS
            'Rows of the metadata_stamps that stampd migrate found which the schema cannot hold'",
    )
    .await?;
    let moved = tx.execute(
        "INSERT INTO public.metadata_stamps_unplaced
        SELECT m.reason, now(), o.* FROM public.stampd_adopting o
        JOIN pg_temp.stampd_marks m ON m.part = o.tableoid AND m.place = o.ctid
        WHERE m.reason IS NOT NULL",
        &[],
    );
    Ok(moved.await?)
}

/// Drops the old table, and names what still hangs on it if something does.
async fn drop_old(tx: &Transaction<'_>) -> Result<(), AdoptError> {
    let dropped = tx.batch_execute("DROP TABLE public.stampd_adopting").await;
    dropped.map_err(|error| match error.as_db_error() {
        Some(reply) if *reply.code() == SqlState::DEPENDENT_OBJECTS_STILL_EXIST => {
            let detail = reply.detail().unwrap_or_default().replace(ASIDE, TABLE);
            AdoptError::InTheWay(detail.lines().map(str::to_owned).collect())
        }
        _ => error.into(),
    })
}

/// Renames the table and whatever has a name that ours would get: a constraint of the same name,
/// even elsewhere, would make the server choose another one for ours.
const SET_ASIDE: &str = "
    ALTER TABLE public.metadata_stamps RENAME TO stampd_adopting;
    DO $$ DECLARE
        old record;
    BEGIN
        FOR old IN SELECT i.indexrelid::regclass AS name, i.indexrelid::bigint AS number
            FROM pg_index i WHERE i.indrelid = 'public.stampd_adopting'::regclass
        LOOP
            EXECUTE format('ALTER INDEX %s RENAME TO stampd_adopting_%s', old.name, old.number);
        END LOOP;
        FOR old IN SELECT c.conname AS name, c.oid::bigint AS number FROM pg_constraint c
            WHERE c.conrelid = 'public.stampd_adopting'::regclass
                AND c.contype NOT IN ('p', 'u', 'x')
        LOOP
            EXECUTE format('ALTER TABLE public.stampd_adopting
                RENAME CONSTRAINT %I TO stampd_adopting_%s', old.name, old.number);
        END LOOP;
    END $$;
    SET LOCAL search_path TO DEFAULT";

/// How to build our indexes again, but for the primary key.
const INDEXES: &str = "
    SELECT pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid = 'public.metadata_stamps'::regclass AND NOT indisprimary ORDER BY indexrelid";

const DROP_INDEXES: &str = "
    DO $$ DECLARE
        ours regclass;
    BEGIN
        FOR ours IN SELECT indexrelid FROM pg_index
            WHERE indrelid = 'public.metadata_stamps'::regclass AND NOT indisprimary
        LOOP
            EXECUTE format('DROP INDEX %s', ours);
        END LOOP;
    END $$";

/// No name is taken from a schema that others may write to; a policy that would hide rows is an
/// error instead; times are read and written as UTC, texts as they stand here. And where the server
/// can, it looks whether we are still there while it works: after Ctrl-C nothing is held for long.
const SETTINGS: &str = "
    SET LOCAL search_path = pg_catalog, pg_temp;
    SET LOCAL row_security = off;
    SET LOCAL standard_conforming_strings = on;
    SET LOCAL TimeZone = 'UTC';
    SET LOCAL DateStyle = 'ISO, YMD';
    DO $$ BEGIN
        SET LOCAL client_connection_check_interval = '1s';
    EXCEPTION WHEN invalid_parameter_value THEN
        NULL; -- its platform cannot
    END $$";
