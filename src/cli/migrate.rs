//! `stampd migrate [--check]`: makes the schema of the database, or says what it would do.

use std::io::{self, Write};
use std::time::Duration;

use crate::model::class::Class;
use crate::store::address::Address;
use crate::store::migrate::{self, MigrateError, Migration};
use crate::store::{Config, Session, StoreError};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The schema is the one we know.
    Current,
    /// `--check` found something to do.
    ToDo,
}

/// Why it did not end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// Our own output.
    #[error("write the outcome")]
    Output(#[from] io::Error),
}

impl Outcome {
    /// The exit code: 0, or 4 for work to do.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Current => 0,
            Self::ToDo => 4,
        }
    }
}

impl Error {
    /// The exit code: 8 permission, 75 temporary, 78 for a person to mend, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Output(_) => 1,
            Self::Migrate(error) => match error {
                MigrateError::Busy => 75,
                MigrateError::Store(error) | MigrateError::Step { source: error, .. } => {
                    code_of(error)
                }
                MigrateError::Unfit(_)
                | MigrateError::Newer(_)
                | MigrateError::Altered(_)
                | MigrateError::Foreign(_) => 78,
            },
        }
    }
}

fn code_of(error: &StoreError) -> u8 {
    match (error.class(), error.code()) {
        (Class::Retry | Class::RetrySmaller, _) => 75,
        (_, "42501") => 8,
        (_, "28000" | "28P01" | "3D000" | "address" | "secret" | "tls") => 78,
        (Class::Park | Class::Reject | Class::Fork, _) => 1,
    }
}

/// Migrates the database at `config`, or with `check` only looks.
pub async fn run(config: &Config, check: bool, out: &mut impl Write) -> Result<Outcome, Error> {
    let address = Address::parse(&patient(config)).map_err(|error| store(error.into()))?;
    let mut session = Session::open(&address).await.map_err(store)?;
    if check {
        let steps = migrate::plan(&mut session).await?;
        tell(out, "to do", &steps)?;
        return Ok(if steps.is_empty() { Outcome::Current } else { Outcome::ToDo });
    }
    let steps = migrate::run(&mut session).await?;
    tell(out, "done", &steps)?;
    Ok(Outcome::Current)
}

/// A migration takes as long as it takes, and waits for another one that is at work.
fn patient(config: &Config) -> Config {
    Config { statement_timeout: None, lock_timeout: Duration::from_mins(1), ..config.clone() }
}

fn store(error: StoreError) -> Error {
    Error::Migrate(error.into())
}

fn tell(out: &mut impl Write, word: &str, steps: &[&Migration]) -> io::Result<()> {
    if steps.is_empty() {
        return writeln!(out, "nothing to do: the schema is version {}", migrate::MIGRATIONS.len());
    }
    for step in steps {
        writeln!(out, "{word}: {:04} {}", step.version, step.name)?;
    }
    Ok(())
}
