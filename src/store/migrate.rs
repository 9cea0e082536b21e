//! The schema: what a database has, what it lacks, and how it gets it.
//!
//! Migrations are `migrations/postgres/NNNN_*.sql`, compiled in. All that are missing run in one
//! transaction under an advisory lock, so a failure leaves the schema that was there, and two
//! migrators at once do the work of one. A `metadata_stamps` of another program is adopted in the
//! same transaction, and what else has a name of ours makes room; what that means is `adopt`'s to
//! say. What belongs to the whole server, the roles, is made before. Agents never migrate.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use super::adopt::{self, AdoptError, Adoption, Aside, Hold, Stage, aside};
use super::error::StoreError;
use super::session::Session;
use crate::model::digest::Digest;

/// One file of `migrations/postgres`.
#[derive(Debug, PartialEq, Eq)]
pub struct Migration {
    /// Counted from 1 without gaps.
    pub version: i32,
    /// The file's name without the number.
    pub name: &'static str,
    sql: &'static str,
}

impl Migration {
    /// The file's text.
    #[cfg(test)]
    pub(super) fn sql(&self) -> &'static str {
        self.sql
    }

    /// The digest of the file, which is never edited once released.
    fn checksum(&self) -> String {
        Digest::of(self.sql.as_bytes()).to_string()
    }
}

macro_rules! migration {
    ($version:literal, $name:literal, $file:literal) => {
        Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../migrations/postgres/", $file)),
        }
    };
}

/// Every migration, in order.
pub const MIGRATIONS: [Migration; 6] = [
    migration!(1, "record", "0001_record.sql"),
    migration!(2, "append", "0002_append.sql"),
    migration!(3, "roles", "0003_roles.sql"),
    migration!(4, "stamping", "0004_stamping.sql"),
    migration!(5, "ingest", "0005_ingest.sql"),
    migration!(6, "adapter", "0006_adapter.sql"),
];

/// The tables that the migrations make.
pub const TABLES: [&str; 19] = [
    adopt::TABLE,
    adopt::UNPLACED,
    "adapter_dead",
    "adapter_offsets",
    "bridge_state_events",
    "bridge_states",
    "fsm_transitions",
    "gaps",
    "node_registrations",
    "outbox",
    "pending_steps",
    "stamp_events",
    "stampd_ledger",
    "stampd_schema",
    "stampd_tokens",
    "streams",
    "withheld",
    "workflow_executions",
    "workflow_steps",
];

/// Any number that no other program is likely to lock: "stampd" in ASCII.
const LOCK: i64 = 0x7374_616d_7064;

/// Makes the roles that 0003 grants rights to, in a transaction of its own. They belong to the whole
/// server, and the migration of another database may be making them at this moment. Who waited for
/// it within a transaction that goes on was then told that there is no such role: a session learns
/// of what others have made when its next transaction begins.
const ROLES: &str = "
    DO $$ DECLARE
        wanted text;
    BEGIN
        FOREACH wanted IN ARRAY ARRAY['stampd_agent', 'stampd_server'] LOOP
            IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
                BEGIN
                    EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
                EXCEPTION WHEN duplicate_object OR unique_violation THEN
                    NULL;
                END;
            END IF;
        END LOOP;
    END $$";

/// The oldest server that has everything used here (`NULLS NOT DISTINCT`).
const SERVER_OLDEST: i32 = 150_000;

/// What a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// `server_version_num`.
    pub server: i32,
    /// `UTF8`, one hopes.
    pub encoding: String,
    /// Whether it is a standby, which takes no writes.
    pub standby: bool,
    /// Where the schema stands.
    pub standing: Standing,
    /// Tables under names that a migration which is missing wants for its own.
    pub strangers: Vec<String>,
    /// The identity of the record.
    pub ledger: Option<Uuid>,
    /// Whether this login may append.
    pub may_append: bool,
}

/// Where a schema stands, seen from this binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing of ours is there.
    Blank,
    /// Something is there under a name of ours that no migration made.
    Foreign(Vec<String>),
    /// As many of our migrations as the number says ran, and more are known.
    Behind(i32),
    /// It is the schema we know.
    Current,
    /// It has a migration of this version, and we know none.
    Ahead(i32),
    /// The migration of this version was another one than ours.
    Altered(i32),
}

impl Standing {
    /// Whether the migration of this version is still to run.
    fn lacks(&self, version: i32) -> bool {
        match self {
            Self::Blank | Self::Foreign(_) => true,
            Self::Behind(ran) => *ran < version,
            Self::Current | Self::Ahead(_) | Self::Altered(_) => false,
        }
    }
}

/// Why a database cannot be migrated. Nothing was changed in any case.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The road or the server.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A migration failed and was rolled back.
    #[error("run migration {version} ({name}); nothing was changed")]
    Step {
        /// Which one.
        version: i32,
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The database has a `metadata_stamps` that cannot be adopted.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// Another migrator holds the lock.
    #[error("migrate: another migration is running; try again when it is done")]
    Busy,
    /// The server cannot hold the schema.
    #[error("migrate: {0}")]
    Unfit(String),
    /// The database was migrated by a newer stampd.
    #[error(
        "migrate: the database has schema version {0}, newer than this stampd knows ({known}); \
         upgrade stampd",
        known = MIGRATIONS.len()
    )]
    Newer(i32),
    /// The database was migrated by a stampd that knew another migration of this version.
    #[error(
        "migrate: version {0} of the database's schema was made by another build of stampd; \
         use that build"
    )]
    Altered(i32),
    /// Tables of our names that we did not make.
    #[error(
        "migrate: the database has {0} already, which stampd did not make; nothing was changed: \
         use a database of its own, or move the tables away"
    )]
    Foreign(String),
}

/// Tells what a database is.
pub async fn survey(session: &mut Session) -> Result<Survey, StoreError> {
    session.run(async |client| survey_with(client).await).await
}

/// What a migration did, or would do.
#[derive(Debug, PartialEq, Eq)]
pub struct Work {
    /// The foreign table that is adopted.
    pub adoption: Option<Adoption>,
    /// The foreign tables that are renamed.
    pub aside: Vec<Aside>,
    /// The migrations that are missing.
    pub steps: Vec<&'static Migration>,
}

/// Hears how far the work is.
pub type Watch<'a> = &'a mut (dyn FnMut(Stage) + Send);

/// Tells what is to be done, and refuses a database that must not be migrated.
pub async fn plan(session: &mut Session, watch: Watch<'_>) -> Result<Work, MigrateError> {
    let missing = Missing::of(&survey(session).await?)?;
    if !missing.meets_others() {
        return Ok(Work { adoption: None, aside: Vec::new(), steps: missing.steps });
    }
    session.run(async |client| Ok(plan_with(client, watch).await)).await?
}

async fn plan_with(client: &mut Client, watch: Watch<'_>) -> Result<Work, MigrateError> {
    // What is looked at must hold still, and the transaction leaves nothing behind.
    let transaction = client.transaction().await.map_err(StoreError::from)?;
    lock(&transaction).await?;
    let survey = survey_with(transaction.client()).await.map_err(StoreError::from)?;
    let missing = Missing::of(&survey)?;
    let mut adoption = None;
    if missing.adopts {
        let found = adopt::look(&transaction, Hold::Loose).await?;
        adoption = Some(found.assess(&transaction, watch).await?);
    }
    let aside = aside::look(&transaction, &missing.strangers).await?;
    transaction.rollback().await.map_err(StoreError::from)?;
    Ok(Work { adoption, aside, steps: missing.steps })
}

/// Does what is to be done; returns what was.
pub async fn run(session: &mut Session, watch: Watch<'_>) -> Result<Work, MigrateError> {
    // The first look says what is wrong without waiting for anyone.
    let missing = Missing::of(&survey(session).await?)?;
    if let Some(step) = missing.steps.iter().find(|step| step.name == "roles") {
        let made = session.run(async |client| client.batch_execute(ROLES).await).await;
        made.map_err(|source| MigrateError::Step {
            version: step.version,
            name: step.name,
            source,
        })?;
    }
    session.run(async |client| Ok(run_with(client, watch).await)).await?
}

async fn run_with(client: &mut Client, watch: Watch<'_>) -> Result<Work, MigrateError> {
    let transaction = client.transaction().await.map_err(StoreError::from)?;
    lock(&transaction).await?;
    // Another migrator may have been at work while we waited.
    let survey = survey_with(transaction.client()).await.map_err(StoreError::from)?;
    let missing = Missing::of(&survey)?;
    let mut found = None;
    if missing.adopts {
        let old = adopt::look(&transaction, Hold::Fast).await?;
        old.set_aside(&transaction).await?;
        found = Some(old);
    }
    let mut aside = aside::look(&transaction, &missing.strangers).await?;
    for stranger in &aside {
        aside::rename(&transaction, stranger).await?;
    }
    for step in &missing.steps {
        apply(&transaction, step).await.map_err(|error| MigrateError::Step {
            version: step.version,
            name: step.name,
            source: error.into(),
        })?;
    }
    for stranger in &mut aside {
        aside::copy(&transaction, stranger).await?;
    }
    let mut adoption = None;
    if let Some(found) = found {
        adoption = Some(found.carry(&transaction, watch).await?);
    }
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(Work { adoption, aside, steps: missing.steps })
}

async fn lock(transaction: &Transaction<'_>) -> Result<(), MigrateError> {
    match transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            Err(MigrateError::Busy)
        }
        Err(error) => Err(StoreError::from(error).into()),
    }
}

async fn apply(
    transaction: &Transaction<'_>,
    step: &Migration,
) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(step.sql).await?;
    let row = "INSERT INTO public.stampd_schema (version, name, checksum) VALUES ($1, $2, $3)";
    transaction.execute(row, &[&step.version, &step.name, &step.checksum()]).await?;
    Ok(())
}

/// What a database lacks, and what stands where it goes.
struct Missing {
    steps: Vec<&'static Migration>,
    /// Whether a foreign `metadata_stamps` becomes ours.
    adopts: bool,
    strangers: Vec<String>,
}

impl Missing {
    fn of(survey: &Survey) -> Result<Self, MigrateError> {
        if let Some(unfit) = survey.unfit() {
            return Err(MigrateError::Unfit(unfit));
        }
        let ran = match &survey.standing {
            Standing::Blank => 0,
            Standing::Behind(version) => *version,
            Standing::Current => MIGRATIONS.len() as i32,
            Standing::Ahead(version) => return Err(MigrateError::Newer(*version)),
            Standing::Altered(version) => return Err(MigrateError::Altered(*version)),
            Standing::Foreign(tables) if tables.iter().all(|table| makes_room(table)) => 0,
            Standing::Foreign(tables) => return Err(MigrateError::Foreign(tables.join(", "))),
        };
        let adopts = match &survey.standing {
            Standing::Foreign(tables) => tables.iter().any(|table| table == adopt::TABLE),
            _ => false,
        };
        let steps = MIGRATIONS.iter().filter(|migration| migration.version > ran).collect();
        Ok(Self { steps, adopts, strangers: survey.strangers.clone() })
    }

    /// Whether something of another program's is in the way.
    fn meets_others(&self) -> bool {
        self.adopts || !self.strangers.is_empty()
    }
}

/// Whether we know what to do about a foreign table of this name.
fn makes_room(table: &str) -> bool {
    table == adopt::TABLE || aside::is_ours_to_take(table)
}

impl Survey {
    /// Why the server cannot hold the record at all; `None` when it can.
    pub fn unfit(&self) -> Option<String> {
        if self.server < SERVER_OLDEST {
            let major = self.server / 10_000;
            return Some(format!("the server is PostgreSQL {major}; stampd needs 15 or newer"));
        }
        if self.encoding != "UTF8" {
            return Some(format!(
                "the database's encoding is {}; create one with ENCODING 'UTF8'",
                self.encoding
            ));
        }
        None
    }
}

async fn survey_with(client: &Client) -> Result<Survey, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, pg_encoding_to_char(encoding)::text,
                pg_is_in_recovery(),
                ARRAY(SELECT c.relname::text FROM pg_class c JOIN pg_namespace n
                    ON n.oid = c.relnamespace AND n.nspname = 'public'
                    WHERE c.relname = ANY ($1) ORDER BY 1),
                EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n
                    ON n.oid = p.pronamespace AND n.nspname = 'public'
                    WHERE p.proname = 'stampd_append' AND has_function_privilege(p.oid, 'EXECUTE'))
            FROM pg_database WHERE datname = current_database()",
            &[&TABLES.as_slice()],
        )
        .await?;
    let present: Vec<String> = row.try_get(3)?;
    let mut strangers = present.clone();
    let (standing, ledger) = record(client, present).await?;
    strangers.retain(|table| standing.lacks(aside::SINCE) && aside::is_ours_to_take(table));
    Ok(Survey {
        server: row.try_get(0)?,
        encoding: row.try_get(1)?,
        standby: row.try_get(2)?,
        standing,
        strangers,
        ledger,
        may_append: row.try_get(4)?,
    })
}

/// Where the schema stands, and which record it is.
async fn record(
    client: &Client,
    present: Vec<String>,
) -> Result<(Standing, Option<Uuid>), tokio_postgres::Error> {
    if !["stampd_schema", "stampd_ledger"].iter().all(|ours| present.iter().any(|is| is == ours)) {
        return Ok((standing(present, None), None));
    }
    let rows = client
        .query("SELECT version, checksum FROM public.stampd_schema ORDER BY version", &[])
        .await?;
    let mut ran = Vec::with_capacity(rows.len());
    for row in rows {
        ran.push((row.try_get(0)?, row.try_get(1)?));
    }
    let ledger = client.query_opt("SELECT id FROM public.stampd_ledger", &[]).await?;
    let ledger = ledger.map(|row| row.try_get(0)).transpose()?;
    Ok((standing(present, Some(&ran)), ledger))
}

/// Compares the tables that are there, and the migrations that ran where there is a list of them,
/// with ours.
fn standing(present: Vec<String>, ran: Option<&[(i32, String)]>) -> Standing {
    let Some(ran) = ran else {
        return if present.is_empty() { Standing::Blank } else { Standing::Foreign(present) };
    };
    for (index, (version, checksum)) in ran.iter().enumerate() {
        match MIGRATIONS.get(index) {
            None => return Standing::Ahead(ran.last().map_or(*version, |(newest, _)| *newest)),
            Some(ours) if ours.version == *version && ours.checksum() == *checksum => {}
            Some(_) => return Standing::Altered(*version),
        }
    }
    match ran.len() {
        all if all == MIGRATIONS.len() => Standing::Current,
        some => Standing::Behind(some as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(count: usize) -> Vec<(i32, String)> {
        MIGRATIONS.iter().take(count).map(|step| (step.version, step.checksum())).collect()
    }

    #[test]
    fn versions_count_from_one_without_gaps() {
        let versions: Vec<i32> = MIGRATIONS.iter().map(|step| step.version).collect();
        assert_eq!(versions, (1..=MIGRATIONS.len() as i32).collect::<Vec<_>>());
    }

    #[test]
    fn every_file_is_compiled_in() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres");
        let mut files: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let ours = MIGRATIONS.iter().map(|step| format!("{:04}_{}.sql", step.version, step.name));
        assert_eq!(files, ours.collect::<Vec<_>>());
    }

    #[test]
    fn every_table_that_a_migration_makes_is_looked_for() {
        for migration in MIGRATIONS {
            for made in migration.sql.split("CREATE TABLE public.").skip(1) {
                let name = made.split([' ', '(']).next().unwrap();
                assert!(TABLES.contains(&name), "{name} of {:04}", migration.version);
            }
        }
    }

    #[test]
    fn a_schema_is_known_by_the_migrations_that_ran() {
        let tables = || vec!["metadata_stamps".to_owned()];
        assert_eq!(standing(vec![], None), Standing::Blank);
        assert_eq!(standing(tables(), None), Standing::Foreign(tables()));
        assert_eq!(standing(tables(), Some(&[])), Standing::Behind(0));
        assert_eq!(standing(tables(), Some(&ran(1))), Standing::Behind(1));
        assert_eq!(standing(tables(), Some(&ran(MIGRATIONS.len()))), Standing::Current);
        let mut newer = ran(MIGRATIONS.len());
        newer.push((99, "?".to_owned()));
        assert_eq!(standing(tables(), Some(&newer)), Standing::Ahead(99));
        let mut altered = ran(2);
        altered[0].1 = "?".to_owned();
        assert_eq!(standing(tables(), Some(&altered)), Standing::Altered(1));
        assert_eq!(standing(tables(), Some(&ran(3)[1..])), Standing::Altered(2));
    }
}
