//! `stampd migrate [--check] [--url]`: makes the schema of the database, or says what it would do.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::exit::{Exit, failed};
use super::progress;
use super::shell::{Format, Shell, block_on, print, print_json};
use crate::config::{self, Flags, Role};
use crate::model::class::Class;
use crate::store::address::Address;
use crate::store::adopt::{self, AdoptError, Adoption, Aside, Stage};
use crate::store::migrate::{self, MIGRATIONS, MigrateError, Migration, Watch, Work};
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
    /// The table of another program that becomes ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    adopt: Option<Adopt>,
    /// The tables of another program that make room for ours.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aside: Vec<Stood>,
    steps: Vec<Step>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Step {
    version: i32,
    name: &'static str,
}

/// What becomes of a foreign `metadata_stamps`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Adopt {
    table: &'static str,
    shape: &'static str,
    #[serde(skip)]
    words: &'static str,
    rows_placed: u64,
    rows_unplaced: u64,
    unplaced: Vec<Unplaced>,
    legacy_columns: Vec<String>,
    readers: Vec<String>,
    gone: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Unplaced {
    reason: String,
    rows: u64,
}

/// What becomes of another foreign table.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Stood {
    table: &'static str,
    kept_as: String,
    rows: u64,
    /// Unknown before it is tried.
    rows_copied: Option<u64>,
}

impl From<Aside> for Stood {
    fn from(aside: Aside) -> Self {
        let Aside { table, kept_as, rows, copied } = aside;
        Self { table, kept_as, rows, rows_copied: copied }
    }
}

impl Stood {
    /// For people: where the old table is, and what of it is in ours.
    fn write(&self, text: &mut String, word: &str) {
        let Self { table, kept_as, rows: count, rows_copied } = self;
        let copied = match rows_copied {
            None => "those that fit are copied".to_owned(),
            Some(copied) => format!("{copied} copied"),
        };
        let count = rows(*count);
        let _ = writeln!(
            text,
            "{word}: keep the {table} that is there as {kept_as}: {count}, {copied}"
        );
    }
}

impl From<Adoption> for Adopt {
    fn from(adoption: Adoption) -> Self {
        let Adoption { shape, placed, unplaced, columns, readers, gone } = adoption;
        Self {
            table: adopt::TABLE,
            shape: shape.as_str(),
            words: shape.words(),
            rows_placed: placed,
            rows_unplaced: unplaced.iter().map(|(_, rows)| rows).sum(),
            unplaced: unplaced
                .into_iter()
                .map(|(reason, rows)| Unplaced { reason, rows })
                .collect(),
            legacy_columns: columns,
            readers,
            gone,
        }
    }
}

impl Adopt {
    /// For people: what becomes of the rows, then what else there is to know.
    fn write(&self, text: &mut String, word: &str) {
        let Self { table, words, rows_placed, rows_unplaced, .. } = self;
        let _ = writeln!(text, "{word}: adopt {table} ({words}): {} in it", rows(*rows_placed));
        if *rows_unplaced > 0 {
            let _ = writeln!(text, "  {} in {}:", rows(*rows_unplaced), adopt::UNPLACED);
        }
        for Unplaced { reason, rows: count } in &self.unplaced {
            let _ = writeln!(text, "    {}: {reason}", rows(*count));
        }
        for (what, names) in [
            ("kept in file_metadata.legacy_columns", &self.legacy_columns),
            ("may read it as before", &self.readers),
            ("goes with the old table", &self.gone),
        ] {
            if !names.is_empty() {
                let _ = writeln!(text, "  {what}: {}", names.join(", "));
            }
        }
    }
}

fn rows(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

impl Report {
    fn new(check: bool, work: Work) -> Self {
        let step = |step: &&Migration| Step { version: step.version, name: step.name };
        Self {
            schema: "stampd.migrate/v1",
            version: MIGRATIONS.len(),
            check,
            adopt: work.adoption.map(Adopt::from),
            aside: work.aside.into_iter().map(Stood::from).collect(),
            steps: work.steps.iter().map(step).collect(),
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
        let mut text = String::new();
        if let Some(adopt) = &self.adopt {
            adopt.write(&mut text, word);
        }
        for stood in &self.aside {
            stood.write(&mut text, word);
        }
        for step in &self.steps {
            let _ = writeln!(text, "{word}: {:04} {}", step.version, step.name);
        }
        text
    }
}

/// Finds the database in the config and migrates it.
pub(super) fn dispatch(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let flags = Flags { role: Role::Bridge, postgres_url: args.url.clone(), ..shell.flags() };
    let config = config::load(&flags, &shell.environment)?;
    let database = config.postgres.ok_or_else(|| {
        let text = "find the database: write [postgres] url into the config, or use --url";
        failed(Exit::Config, text)
    })?;
    let spinner = progress::spinner(shell);
    let mut watch = |stage| spinner.set_message(words_of(stage));
    let report = block_on(run(&database, args.check, &mut watch))?;
    spinner.finish_and_clear();
    let report = report?;
    match shell.format {
        Format::Human => print(&report.text())?,
        Format::Json | Format::Jsonl => print_json(&report)?,
    }
    Ok(report.exit())
}

fn words_of(stage: Stage) -> String {
    match stage {
        Stage::Reading(count) => format!("looking at {} of metadata_stamps", rows(count)),
        Stage::Copying(count) => format!("copying {} of metadata_stamps", rows(count)),
        Stage::Indexing => "building the indexes of metadata_stamps".to_owned(),
    }
}

/// Migrates the database at `config`, or with `check` only looks; `watch` hears how far it is.
pub async fn run(config: &Config, check: bool, watch: Watch<'_>) -> Result<Report, MigrateError> {
    // A migration takes as long as it takes, and waits for another one that is at work.
    let patient =
        Config { statement_timeout: None, lock_timeout: Duration::from_mins(1), ..config.clone() };
    let address = Address::parse(&patient).map_err(StoreError::from)?;
    let mut session = Session::open(&address).await?;
    let work = if check {
        migrate::plan(&mut session, watch).await?
    } else {
        migrate::run(&mut session, watch).await?
    };
    Ok(Report::new(check, work))
}

/// How a migration that failed ends the command.
pub(super) fn exit_of(error: &MigrateError) -> Exit {
    match error {
        MigrateError::Store(error)
        | MigrateError::Step { source: error, .. }
        | MigrateError::Adopt(AdoptError::Store(error)) => of_store(error),
        MigrateError::Busy | MigrateError::Adopt(AdoptError::InUse | AdoptError::Used(_)) => {
            Exit::Temporary
        }
        MigrateError::Adopt(
            AdoptError::NotOwner { .. } | AdoptError::Unnamable { .. } | AdoptError::Hidden(_),
        ) => Exit::Denied,
        MigrateError::Adopt(AdoptError::Miscounted { .. }) => Exit::Unexpected,
        MigrateError::Unfit(_)
        | MigrateError::Newer(_)
        | MigrateError::Altered(_)
        | MigrateError::Foreign(_)
        | MigrateError::Adopt(AdoptError::Unrecognised(_) | AdoptError::InTheWay(_)) => {
            Exit::Config
        }
    }
}

/// How a failure of the database ends a command.
pub(super) fn of_store(error: &StoreError) -> Exit {
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
    use crate::store::adopt::Shape;

    #[test]
    fn each_failure_has_its_exit_code() {
        assert_eq!(exit_of(&MigrateError::Busy), Exit::Temporary);
        assert_eq!(exit_of(&MigrateError::Newer(9)), Exit::Config);
        let views = AdoptError::InTheWay(vec!["view v".to_owned()]);
        assert_eq!(exit_of(&views.into()), Exit::Config);
        assert_eq!(exit_of(&AdoptError::InUse.into()), Exit::Temporary);
        let (owner, login) = ("a".to_owned(), "b".to_owned());
        assert_eq!(exit_of(&AdoptError::NotOwner { owner, login }.into()), Exit::Denied);
        let address = || StoreError::from(AddressError::Password);
        assert_eq!(exit_of(&address().into()), Exit::Config);
        let source = StoreError::Timeout(Duration::from_secs(1));
        assert_eq!(exit_of(&MigrateError::Step { version: 1, name: "x", source }), Exit::Temporary);
    }

    #[test]
    fn a_report_is_for_people_and_for_programs() {
        let work = || Work { adoption: None, aside: Vec::new(), steps: vec![&MIGRATIONS[0]] };
        let report = Report::new(true, work());
        assert_eq!(report.text(), "to do: 0001 record\n");
        assert_eq!(report.exit(), Exit::Degraded);
        let json = serde_json::to_value(&report).unwrap();
        let steps = serde_json::json!([{"version": 1, "name": "record"}]);
        assert_eq!((&json["schema"], &json["steps"]), (&"stampd.migrate/v1".into(), &steps));
        assert_eq!(Report::new(false, work()).exit(), Exit::Fine);
    }

    #[test]
    fn a_report_of_an_adoption_names_every_row_and_column() {
        let adoption = Adoption {
            shape: Shape::Adapter,
            placed: 2,
            unplaced: vec![("too long".to_owned(), 1)],
            columns: vec!["stamp_id".to_owned(), "note".to_owned()],
            readers: vec!["app".to_owned()],
            gone: vec!["trigger t".to_owned()],
        };
        let work = Work {
            adoption: Some(adoption),
            aside: vec![Aside {
                table: "workflow_steps",
                kept_as: "workflow_steps_before_stampd".to_owned(),
                rows: 2,
                copied: Some(1),
            }],
            steps: vec![&MIGRATIONS[0]],
        };
        let report = Report::new(false, work);
        let text = "\
done: adopt metadata_stamps (the database adapter's): 2 rows in it
  1 row in metadata_stamps_unplaced:
    1 row: too long
  kept in file_metadata.legacy_columns: stamp_id, note
  may read it as before: app
  goes with the old table: trigger t
done: keep the workflow_steps that is there as workflow_steps_before_stampd: 2 rows, 1 copied
done: 0001 record
";
        assert_eq!(report.text(), text);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["adopt"]["shape"], "adapter");
        assert_eq!(json["adopt"]["unplaced"][0]["rows"], 1);
    }
}
