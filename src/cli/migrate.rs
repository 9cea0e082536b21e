//! `stampd migrate [--check] [--url]`: makes the schema of the database, or says what it would do.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::exit::{Exit, failed};
use super::shell::{Format, Shell, block_on, print, print_json};
use crate::config::{self, Flags};
use crate::model::class::Class;
use crate::store::address::Address;
use crate::store::migrate::{self, MIGRATIONS, MigrateError, Migration};
use crate::store::{Config, Session, StoreError};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only say what is to be done: exits 4 when something is, 0 otherwise
    #[arg(long)]
    check: bool,
    /// The database, instead of [postgres] url; the password still comes from the config
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// What was done, or is to be done.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    schema: &'static str,
    /// The version of the schema that this binary knows.
    version: usize,
    /// Whether nothing was to be changed.
    check: bool,
    steps: Vec<Step>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Step {
    version: i32,
    name: &'static str,
}

impl Report {
    fn new(check: bool, steps: &[&Migration]) -> Self {
        let step = |step: &&Migration| Step { version: step.version, name: step.name };
        Self {
            schema: "stampd.migrate/v1",
            version: MIGRATIONS.len(),
            check,
            steps: steps.iter().map(step).collect(),
        }
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        if self.check && !self.steps.is_empty() { Exit::Degraded } else { Exit::Fine }
    }

    /// For people, one line for each step.
    pub fn text(&self) -> String {
        if self.steps.is_empty() {
            return format!("nothing to do: the schema is version {}\n", self.version);
        }
        let word = if self.check { "to do" } else { "done" };
        self.steps.iter().fold(String::new(), |mut text, step| {
            let _ = writeln!(text, "{word}: {:04} {}", step.version, step.name);
            text
        })
    }
}

/// Finds the database in the config and migrates it.
pub(super) fn dispatch(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let flags = Flags { postgres_url: args.url.clone(), ..shell.flags() };
    let config = config::load(&flags, &shell.environment)?;
    let database = config.postgres.ok_or_else(|| {
        let text = "find the database: write [postgres] url into the config, or use --url";
        failed(Exit::Config, text)
    })?;
    let report = block_on(run(&database, args.check))??;
    match shell.format {
        Format::Human => print(&report.text())?,
        Format::Json | Format::Jsonl => print_json(&report)?,
    }
    Ok(report.exit())
}

/// Migrates the database at `config`, or with `check` only looks.
pub async fn run(config: &Config, check: bool) -> Result<Report, MigrateError> {
    // A migration takes as long as it takes, and waits for another one that is at work.
    let patient =
        Config { statement_timeout: None, lock_timeout: Duration::from_mins(1), ..config.clone() };
    let address = Address::parse(&patient).map_err(StoreError::from)?;
    let mut session = Session::open(&address).await?;
    let steps =
        if check { migrate::plan(&mut session).await? } else { migrate::run(&mut session).await? };
    Ok(Report::new(check, &steps))
}

/// How a migration that failed ends the command.
pub(super) fn exit_of(error: &MigrateError) -> Exit {
    match error {
        MigrateError::Busy => Exit::Temporary,
        MigrateError::Store(error) | MigrateError::Step { source: error, .. } => of_store(error),
        MigrateError::Unfit(_)
        | MigrateError::Newer(_)
        | MigrateError::Altered(_)
        | MigrateError::Foreign(_) => Exit::Config,
    }
}

fn of_store(error: &StoreError) -> Exit {
    match (error.class(), error.code()) {
        (Class::Retry | Class::RetrySmaller, _) => Exit::Temporary,
        (_, "42501") => Exit::Denied,
        // The login, the database's name and everything else that the config says.
        (_, "28000" | "28P01" | "3D000" | "connection" | "address" | "secret" | "tls") => {
            Exit::Config
        }
        (Class::Park | Class::Reject | Class::Fork, _) => Exit::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::address::AddressError;

    #[test]
    fn each_failure_has_its_exit_code() {
        assert_eq!(exit_of(&MigrateError::Busy), Exit::Temporary);
        assert_eq!(exit_of(&MigrateError::Newer(9)), Exit::Config);
        let address = || StoreError::from(AddressError::Password);
        assert_eq!(exit_of(&address().into()), Exit::Config);
        let source = StoreError::Timeout(Duration::from_secs(1));
        assert_eq!(exit_of(&MigrateError::Step { version: 1, name: "x", source }), Exit::Temporary);
    }

    #[test]
    fn a_report_is_for_people_and_for_programs() {
        let report = Report::new(true, &[&MIGRATIONS[0]]);
        assert_eq!(report.text(), "to do: 0001 record\n");
        assert_eq!(report.exit(), Exit::Degraded);
        let json = serde_json::to_value(&report).unwrap();
        let steps = serde_json::json!([{"version": 1, "name": "record"}]);
        assert_eq!((&json["schema"], &json["steps"]), (&"stampd.migrate/v1".into(), &steps));
        assert_eq!(Report::new(false, &[&MIGRATIONS[0]]).exit(), Exit::Fine);
    }
}
