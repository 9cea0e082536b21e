//! Layers: defaults, the file, the environment and flags, each over the one before.
//!
//! Every value keeps the place it comes from. Nothing is mapped to a stage's own config here, and
//! nothing is read but the text that is handed in; every problem is collected, not just the first.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Form, SECTIONS, Section, suggestion};
use super::load::Environment;
use super::problem::{Origin, Problem};
use super::table::Table;

/// The prefix of variables that set keys.
const PREFIX: &str = "STAMPD_";

/// A flag that sets a key.
#[derive(Clone, Debug)]
pub(super) struct FlagValue {
    pub(super) flag: &'static str,
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) text: String,
}

/// All values in force.
#[derive(Debug)]
pub(super) struct Settings {
    tables: Vec<Table>,
    pub(super) repos: Vec<Table>,
    pub(super) problems: Vec<Problem>,
}

impl Settings {
    /// The defaults.
    pub(super) fn new(environment: &Environment) -> Self {
        let plain = SECTIONS.iter().filter(|section| section.form != Form::List);
        let tables = plain.map(|section| Table::new(section, None, environment)).collect();
        Self { tables, repos: Vec::new(), problems: Vec::new() }
    }

    /// The table of a section that is no list.
    pub(super) fn table(&self, name: &str) -> &Table {
        self.tables
            .iter()
            .find(|table| table.section.name == name)
            .expect("sections are asked for by the names that keys.rs gives them")
    }

    /// Every table, in the order of the example.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Table> {
        let list_at = SECTIONS.iter().position(|section| section.form == Form::List);
        let (before, after) = self.tables.split_at(list_at.unwrap_or(0));
        before.iter().chain(&self.repos).chain(after)
    }

    pub(super) fn table_mut(&mut self, name: &str) -> &mut Table {
        self.tables
            .iter_mut()
            .find(|table| table.section.name == name)
            .expect("every section that is no list has its table from the start")
    }

    /// Lays the file over what is there.
    pub(super) fn apply_file(&mut self, path: &Path, text: &str, environment: &Environment) {
        let file = File { path, text, environment };
        match DeTable::parse(text) {
            // Not the error's own rendering: that repeats the line, which may hold a password.
            Err(error) => {
                let text = format!("not TOML: {}", error.message());
                self.problems.push(Problem::new(&file.at(error.span()), text));
            }
            Ok(root) => {
                for (name, value) in root.get_ref() {
                    self.apply_section(&file, name, value);
                }
            }
        }
    }

    fn apply_section(
        &mut self,
        file: &File<'_>,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let origin = file.at(Some(name.span()));
        let Some(section) = keys::section(name.get_ref()) else {
            self.problems.push(Problem::new(&origin, unknown_section(name.get_ref())));
            return;
        };
        match (section.form, value.get_ref()) {
            (Form::List, DeValue::Array(items)) => {
                for item in items {
                    self.apply_repo(file, section, item);
                }
            }
            (Form::Plain | Form::Road, DeValue::Table(table)) => {
                let problems = {
                    let target = self.table_mut(section.name);
                    target.at = Some(origin);
                    target.apply_toml(table, file)
                };
                self.problems.extend(problems);
            }
            (Form::List, _) => {
                let text =
                    format!("write [[{0}]], with two brackets: there may be several", section.name);
                self.problems.push(Problem::new(&origin, text));
            }
            (Form::Plain | Form::Road, _) => {
                let text =
                    format!("write [{0}], with one bracket, and its keys below", section.name);
                self.problems.push(Problem::new(&origin, text));
            }
        }
    }

    fn apply_repo(
        &mut self,
        file: &File<'_>,
        section: &'static Section,
        item: &Spanned<DeValue<'_>>,
    ) {
        let origin = file.at(Some(item.span()));
        let Some(table) = item.get_ref().as_table() else {
            self.problems.push(Problem::new(&origin, "write [[repo]] and its keys below"));
            return;
        };
        let mut repo = Table::new(section, Some(origin), file.environment);
        self.problems.extend(repo.apply_toml(table, file));
        self.repos.push(repo);
    }

    /// Lays the environment over what is there: `STAMPD_SECTION__KEY`.
    pub(super) fn apply_environment(&mut self, environment: &Environment) {
        for (name, text) in environment.with_prefix(PREFIX) {
            let Some((section, key)) = name[PREFIX.len()..].split_once("__") else { continue };
            let (section, key) = (section.to_lowercase(), key.to_lowercase());
            self.apply_text(
                &Origin::Variable(name.to_owned()),
                (&section, &key),
                text,
                environment,
            );
        }
    }

    /// Lays flags over what is there.
    pub(super) fn apply_flags(&mut self, flags: &[FlagValue], environment: &Environment) {
        for flag in flags {
            let origin = Origin::Flag(flag.flag.to_owned());
            self.apply_text(&origin, (flag.section, flag.key), &flag.text, environment);
        }
    }

    pub(super) fn apply_text(
        &mut self,
        origin: &Origin,
        (section, key): (&str, &str),
        text: &str,
        environment: &Environment,
    ) {
        let Some(section) = keys::section(section) else {
            self.problems.push(Problem::new(origin, unknown_section(section)));
            return;
        };
        if section.form == Form::List {
            let text = "repos stand in the config file, or are given by stampd run --repo PATH";
            self.problems.push(Problem::new(origin, text));
            return;
        }
        let outcome = self.table_mut(section.name).apply_text(origin, key, text, environment);
        self.problems.extend(outcome.err());
    }

    /// Adds a repo given by a flag.
    pub(super) fn add_repo(
        &mut self,
        flag: &str,
        values: &[(&str, String)],
        environment: &Environment,
    ) {
        let section = keys::section("repo").expect("keys.rs has a section for repos");
        let origin = Origin::Flag(flag.to_owned());
        let mut repo = Table::new(section, Some(origin.clone()), environment);
        for (key, text) in values {
            self.problems.extend(repo.apply_text(&origin, key, text, environment).err());
        }
        self.repos.push(repo);
    }

    /// Notes the required keys that nobody set, where their section is in force.
    pub(super) fn check_required(&mut self) {
        let missing: Vec<_> =
            self.tables.iter().chain(&self.repos).flat_map(Table::missing).collect();
        self.problems.extend(missing);
    }
}

/// A file while it is being read.
pub(super) struct File<'a> {
    pub(super) path: &'a Path,
    text: &'a str,
    pub(super) environment: &'a Environment,
}

impl File<'_> {
    /// The line where a span begins.
    pub(super) fn at(&self, span: Option<Range<usize>>) -> Origin {
        let start = span.map_or(0, |span| span.start);
        let line = 1 + self.text.get(..start).map_or(0, |before| before.matches('\n').count());
        Origin::File(self.path.to_owned(), line)
    }
}

fn unknown_section(name: &str) -> String {
    let names = SECTIONS.iter().map(|section| section.name);
    format!("[{}] is not a section: {}", name.escape_debug(), suggestion(name, names))
}
