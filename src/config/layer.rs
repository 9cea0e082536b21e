//! Layers: defaults, the file, the environment and flags, each over the one before.
//!
//! Every value keeps the place it comes from. Nothing is mapped to a stage's own config here, and
//! nothing is read but the text that is handed in; every problem is collected, not just the first.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Fallback, Form, SECTIONS, Section, suggestion};
use super::load::Environment;
use super::problem::{Origin, Problem};
use super::value::{Kind, Value};
use crate::model::namespace::Namespace;
use crate::runtime::secret::Secret;

/// The prefix of variables that set keys.
const PREFIX: &str = "STAMPD_";

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// One section's values, or one repo's.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) section: &'static Section,
    /// Where it was opened; `None` when only defaults are in it.
    pub(super) at: Option<Origin>,
    values: BTreeMap<&'static str, Found>,
    /// Keys whose value was wrong: they were set, and are not missing as well.
    wrong: Vec<&'static str>,
}

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

    fn apply_text(
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
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    environment: &'a Environment,
}

impl File<'_> {
    /// The line where a span begins.
    fn at(&self, span: Option<Range<usize>>) -> Origin {
        let start = span.map_or(0, |span| span.start);
        let line = 1 + self.text.get(..start).map_or(0, |before| before.matches('\n').count());
        Origin::File(self.path.to_owned(), line)
    }
}

fn unknown_section(name: &str) -> String {
    let names = SECTIONS.iter().map(|section| section.name);
    format!("[{}] is not a section: {}", name.escape_debug(), suggestion(name, names))
}

impl Table {
    fn new(section: &'static Section, at: Option<Origin>, environment: &Environment) -> Self {
        let context = environment.context(environment.directory());
        let default = |key: &'static keys::Key| {
            let Fallback::Is(text) = key.fallback else { return None };
            let value = key.kind.read_text(text, &context);
            let value = value.expect("a test reads every default in keys.rs");
            Some((key.name, Found { value, origin: Origin::Default }))
        };
        let values = section.keys.iter().filter_map(default).collect();
        Self { section, at, values, wrong: Vec::new() }
    }

    fn apply_toml(&mut self, table: &DeTable<'_>, file: &File<'_>) -> Vec<Problem> {
        let base = file.path.parent().unwrap_or(Path::new("/"));
        let context = file.environment.context(base);
        let mut problems = Vec::new();
        for (name, given) in table {
            let origin = file.at(Some(name.span()));
            let read = |kind: Kind| kind.read_toml(given.get_ref(), &context);
            problems.extend(self.set(&origin, name.get_ref(), read).err());
        }
        problems
    }

    fn apply_text(
        &mut self,
        origin: &Origin,
        name: &str,
        text: &str,
        environment: &Environment,
    ) -> Result<(), Problem> {
        let context = environment.context(environment.directory());
        self.set(origin, name, |kind| kind.read_text(text, &context))?;
        if self.section.form == Form::Road && self.at.is_none() {
            self.at = Some(origin.clone());
        }
        Ok(())
    }

    fn set(
        &mut self,
        origin: &Origin,
        name: &str,
        read: impl FnOnce(Kind) -> Result<Value, String>,
    ) -> Result<(), Problem> {
        let section = self.section.name;
        let Some(key) = self.section.key(name) else {
            let known = suggestion(name, self.section.keys.iter().map(|key| key.name));
            let text = format!("[{section}] has no key {}: {known}", name.escape_debug());
            return Err(Problem::new(origin, text));
        };
        let value = read(key.kind).map_err(|text| {
            self.wrong.push(key.name);
            Problem::new(origin, format!("[{section}] {}: {text}", key.name))
        })?;
        self.values.insert(key.name, Found { value, origin: origin.clone() });
        Ok(())
    }

    /// Whether the section is in force: a road is when it is there and not switched off.
    pub(super) fn is_enabled(&self) -> bool {
        match self.section.form {
            Form::Road => self.at.is_some() && self.switch("enabled"),
            Form::Plain | Form::List => true,
        }
    }

    fn missing(&self) -> Vec<Problem> {
        let Some(at) = self.at.as_ref().filter(|_| self.is_enabled()) else { return Vec::new() };
        let of_key = |key: &keys::Key| {
            let Fallback::Required { example } = key.fallback else { return None };
            let (section, name) = (self.section.name, key.name);
            let line = format!("{name} = {}", super::example::literal(key.kind, example));
            let text = format!("[{section}] {name} is missing: set it, such as {line}");
            let missing = self.found(name).is_none() && !self.wrong.contains(&name);
            missing.then(|| Problem::new(at, text))
        };
        self.section.keys.iter().filter_map(of_key).collect()
    }

    /// The value of a key and where it comes from.
    pub(super) fn found(&self, name: &str) -> Option<&Found> {
        debug_assert!(self.section.key(name).is_some(), "[{}] {name}", self.section.name);
        self.values.get(name)
    }

    /// Where the value of a key comes from; the section's own place when it has none.
    pub(super) fn origin(&self, name: &str) -> Origin {
        let found = self.found(name).map(|found| found.origin.clone());
        found.or_else(|| self.at.clone()).unwrap_or(Origin::Default)
    }

    /// Sets what is derived from elsewhere, unless somebody set it.
    pub(super) fn derive(&mut self, name: &'static str, value: Value, origin: Origin) {
        self.values.entry(name).or_insert(Found { value, origin });
    }
}

/// Access by kind. A key's kind never varies: what is asked for as another kind is as good as not
/// there, and the test over the whole table finds it.
impl Table {
    /// A text, a choice, a level or a URL.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.found(key)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A path, absolute.
    pub(super) fn path(&self, key: &str) -> Option<&Path> {
        match &self.found(key)?.value {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    /// A list; empty when nobody set it.
    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        match self.found(key).map(|found| &found.value) {
            Some(Value::Texts(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }

    /// A reference to a secret.
    pub(super) fn secret(&self, key: &str) -> Option<&Secret> {
        match &self.found(key)?.value {
            Value::Secret(secret) => Some(secret),
            _ => None,
        }
    }

    /// A namespace.
    pub(super) fn namespace(&self, key: &str) -> Option<&Namespace> {
        match &self.found(key)?.value {
            Value::Namespace(namespace) => Some(namespace),
            _ => None,
        }
    }

    /// A size that need not be set.
    pub(super) fn size_if_set(&self, key: &str) -> Option<u64> {
        match &self.found(key)?.value {
            Value::Size(bytes) => Some(*bytes),
            _ => None,
        }
    }

    /// A size.
    pub(super) fn size(&self, key: &str) -> u64 {
        self.size_if_set(key).expect("keys.rs gives this size a default")
    }

    /// A switch.
    pub(super) fn switch(&self, key: &str) -> bool {
        let value = self.found(key).map(|found| &found.value);
        value == Some(&Value::Switch(true))
    }

    /// A whole number.
    pub(super) fn count(&self, key: &str) -> u64 {
        match self.found(key).map(|found| &found.value) {
            Some(Value::Count(count)) => Some(*count),
            _ => None,
        }
        .expect("keys.rs gives this number a default")
    }

    /// A duration.
    pub(super) fn duration(&self, key: &str) -> Duration {
        match self.found(key).map(|found| &found.value) {
            Some(Value::Duration(duration)) => Some(*duration),
            _ => None,
        }
        .expect("keys.rs gives this duration a default")
    }
}
