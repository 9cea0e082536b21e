//! A section's values, each with where it comes from, and access to them by kind.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::keys::{self, Fallback, Form, Section, suggestion};
use super::layer::File;
use super::load::Environment;
use super::problem::{Origin, Problem};
use super::value::{Kind, Value};
use crate::model::namespace::Namespace;
use crate::runtime::secret::Secret;

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

impl Table {
    pub(super) fn new(
        section: &'static Section,
        at: Option<Origin>,
        environment: &Environment,
    ) -> Self {
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

    pub(super) fn apply_toml(&mut self, table: &DeTable<'_>, file: &File<'_>) -> Vec<Problem> {
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

    pub(super) fn apply_text(
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

    /// Opens a section that its role always has, unless somebody switched it off or on.
    pub(super) fn open(&mut self) {
        self.at.get_or_insert(Origin::Default);
    }

    /// Whether the section is in force: a road is when it is there and not switched off.
    pub(super) fn is_enabled(&self) -> bool {
        match self.section.form {
            Form::Road => self.at.is_some() && self.switch("enabled"),
            Form::Plain | Form::List => true,
        }
    }

    /// The required keys that nobody set, where the section is in force.
    pub(super) fn missing(&self) -> Vec<Problem> {
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

    /// A whole number that need not be set.
    pub(super) fn count_if_set(&self, key: &str) -> Option<u64> {
        match &self.found(key)?.value {
            Value::Count(count) => Some(*count),
            _ => None,
        }
    }

    /// A whole number.
    pub(super) fn count(&self, key: &str) -> u64 {
        self.count_if_set(key).expect("keys.rs gives this number a default")
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
