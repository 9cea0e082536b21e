//! `stampd migrate [--check]`: makes the schema of the database, or says what it would do.

use std::io::{self, Write};
use std::time::Duration;

use super::exit::{Exit, failed};
use super::shell::{Shell, block_on};
use crate::config::{self, Flags};
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
    /// The exit code as a number.
    pub fn exit_code(&self) -> u8 {
        self.exit() as u8
    }

    /// How the process ends: permission, temporary, for a person to mend, or unexpected.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Output(_) => Exit::Unexpected,
            Self::Migrate(error) => match error {
                MigrateError::Busy => Exit::Temporary,
                MigrateError::Store(error) | MigrateError::Step { source: error, .. } => {
                    exit_of(error)
                }
                MigrateError::Unfit(_)
                | MigrateError::Newer(_)
                | MigrateError::Altered(_)
                | MigrateError::Foreign(_) => Exit::Config,
            },
        }
    }
}

fn exit_of(error: &StoreError) -> Exit {
    match (error.class(), error.code()) {
        (Class::Retry | Class::RetrySmaller, _) => Exit::Temporary,
        (_, "42501") => Exit::Denied,
        (_, "28000" | "28P01" | "3D000" | "address" | "secret" | "tls") => Exit::Config,
        (Class::Park | Class::Reject | Class::Fork, _) => Exit::Unexpected,
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only say what is to be done: exits 4 when something is, 0 otherwise
    #[arg(long)]
    check: bool,
    /// The database, instead of [postgres] url; the password still comes from the config
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Finds the database in the config and migrates it.
pub(super) fn dispatch(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let flags = Flags { postgres_url: args.url.clone(), ..shell.flags() };
    let config = config::load(&flags, &shell.environment)?;
    let database = config.postgres.ok_or_else(|| {
        let text = "find the database: write [postgres] url into the config, or use --url";
        failed(Exit::Config, text)
    })?;
    match block_on(run(&database, args.check, &mut io::stdout()))?? {
        Outcome::Current => Ok(Exit::Fine),
        Outcome::ToDo => Ok(Exit::Degraded),
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
