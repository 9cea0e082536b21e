//! Values: the kinds a key can have, and how each is read from TOML or from a variable.
//!
//! What is wrong with a value is said here, in words that tell how to write it. The value of a
//! secret, or of what may hold one, is never repeated.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::model::namespace::Namespace;
use crate::runtime::secret::Secret;
use crate::runtime::telemetry;
use crate::runtime::units::{HumanDuration, HumanSize};

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number between two bounds.
    Count(u64, u64),
    /// Any text.
    Text,
    /// A path; `~/` is the home, what is relative starts where it was written.
    Path,
    /// A duration with a unit.
    Duration,
    /// A size with a unit.
    Size,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A reference to a secret.
    Secret,
    /// A namespace.
    Namespace,
    /// A log level or directives.
    Level,
    /// A URL, which may wrongly hold a password.
    Url,
}

/// A value that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Switch(bool),
    Count(u64),
    Text(String),
    Path(PathBuf),
    Duration(Duration),
    Size(u64),
    Texts(Vec<String>),
    Secret(Secret),
    Namespace(Namespace),
}

/// What reading a value depends on beside its text.
#[derive(Clone, Debug)]
pub(super) struct Context<'a> {
    /// Where relative paths start.
    pub(super) base: &'a Path,
    /// What `~/` stands for.
    pub(super) home: Option<&'a Path>,
    /// Where credentials lie (`CREDENTIALS_DIRECTORY`).
    pub(super) credentials: Option<&'a Path>,
    /// The environment's variables, for `{ env = … }`.
    pub(super) variables: &'a BTreeMap<String, String>,
}

impl Kind {
    /// Reads a value from a TOML file.
    pub(super) fn read_toml(
        self,
        given: &DeValue<'_>,
        context: &Context<'_>,
    ) -> Result<Value, String> {
        match (self, given) {
            (Self::Switch, DeValue::Boolean(value)) => Ok(Value::Switch(*value)),
            (Self::Count(..), DeValue::Integer(value)) if value.radix() == 10 => {
                self.read_text(&value.as_str().replace('_', ""), context)
            }
            (Self::Texts, DeValue::Array(items)) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map(Value::Texts)
                .ok_or_else(|| self.expectation()),
            (Self::Secret, DeValue::Table(table)) => read_reference(table, context),
            (Self::Switch | Self::Count(..) | Self::Texts | Self::Secret, _) => {
                Err(self.expectation())
            }
            (_, DeValue::String(text)) => self.read_text(text, context),
            _ => Err(self.expectation()),
        }
    }

    /// Reads a value from text: a variable's, a flag's, or a TOML string's.
    pub(super) fn read_text(self, text: &str, context: &Context<'_>) -> Result<Value, String> {
        let said = |error: &dyn fmt::Display| error.to_string();
        match self {
            Self::Switch => text.parse().map(Value::Switch).map_err(|_| self.expectation()),
            Self::Count(min, max) => match text.parse() {
                Ok(value) if (min..=max).contains(&value) => Ok(Value::Count(value)),
                _ => Err(self.expectation()),
            },
            Self::Text | Self::Url => Ok(Value::Text(text.to_owned())),
            Self::Path => resolve(text, context).map(Value::Path),
            Self::Duration => text
                .parse()
                .map(|HumanDuration(value)| Value::Duration(value))
                .map_err(|error| said(&error)),
            Self::Size => text
                .parse()
                .map(|HumanSize(value)| Value::Size(value))
                .map_err(|error| said(&error)),
            Self::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::Choice(_) => Err(self.expectation()),
            Self::Texts => Ok(Value::Texts(split(text))),
            Self::Secret => read_reference_text(text, context),
            Self::Namespace => text.parse().map(Value::Namespace).map_err(|error| said(&error)),
            Self::Level => telemetry::check_level(text)
                .map(|()| Value::Text(text.to_owned()))
                .map_err(|_| self.expectation()),
        }
    }

    /// How a value of this kind is written.
    pub(super) fn expectation(self) -> String {
        match self {
            Self::Switch => "write true or false".to_owned(),
            Self::Count(min, max) if max == u64::MAX => {
                format!("write a whole number of at least {min}, without quotes")
            }
            Self::Count(min, max) => {
                format!("write a whole number from {min} to {max}, without quotes")
            }
            Self::Text => "write a text in quotes".to_owned(),
            Self::Path => "write a path in quotes".to_owned(),
            Self::Duration => {
                "write a duration with its unit in quotes, such as \"250ms\"".to_owned()
            }
            Self::Size => "write a size with its unit in quotes, such as \"64MiB\"".to_owned(),
            Self::Choice(words) => format!("write one of \"{}\"", words.join("\", \"")),
            Self::Texts => "write a list of texts, such as [\"a\", \"b\"]".to_owned(),
            Self::Secret => {
                "a secret is given by reference only: write { credential = \"name\" }, \
                             { file = \"path\" } or { env = \"NAME\" } (in a variable \
                             credential:name, file:path or env:NAME)"
                    .to_owned()
            }
            Self::Namespace => {
                "write three words such as \"projecta.services.metadata\"".to_owned()
            }
            Self::Level => "write error, warn, info, debug or trace in quotes".to_owned(),
            Self::Url => "write a URL in quotes".to_owned(),
        }
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn resolve(text: &str, context: &Context<'_>) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err(Kind::Path.expectation());
    }
    let under_home = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let path = match (under_home, context.home) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
        (Some(_), None) => {
            return Err("~ means nothing without HOME: write the whole path".to_owned());
        }
        (None, _) => context.base.join(text),
    };
    // Without `.` and trailing slashes; `..` stays, since what it means depends on links.
    Ok(path.components().collect())
}

fn read_reference(table: &DeTable<'_>, context: &Context<'_>) -> Result<Value, String> {
    let mut entries = table.iter();
    let (Some((way, target)), None) = (entries.next(), entries.next()) else {
        return Err(Kind::Secret.expectation());
    };
    let target = target.get_ref().as_str().ok_or_else(|| Kind::Secret.expectation())?;
    refer(way.get_ref(), target, context)
}

fn read_reference_text(text: &str, context: &Context<'_>) -> Result<Value, String> {
    let (way, target) = text.split_once(':').ok_or_else(|| Kind::Secret.expectation())?;
    refer(way, target, context)
}

/// Makes a reference. The file or credential is read when it is used, and not now: it may be there
/// only then.
fn refer(way: &str, target: &str, context: &Context<'_>) -> Result<Value, String> {
    let secret = match way {
        "file" => Secret::file(&resolve(target, context)?),
        "credential" if !target.is_empty() && !target.contains(['/', '\0']) && target != ".." => {
            Secret::credential(target, context.credentials)
        }
        "env" => match context.variables.get(target) {
            Some(value) => Secret::env(target, value),
            None => return Err(format!("the variable {target} is not set")),
        },
        _ => return Err(Kind::Secret.expectation()),
    };
    Ok(Value::Secret(secret))
}

impl fmt::Display for Value {
    /// Writes the value as TOML; a secret as its reference.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(value) => write!(out, "{value}"),
            Self::Count(value) => write!(out, "{value}"),
            Self::Text(text) => write!(out, "{}", quoted(text)),
            Self::Path(path) => write!(out, "{}", quoted(&path.to_string_lossy())),
            Self::Duration(value) => write!(out, "\"{}\"", HumanDuration(*value)),
            Self::Size(value) => write!(out, "\"{}\"", HumanSize(*value)),
            Self::Texts(items) => {
                let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
                write!(out, "[{}]", items.join(", "))
            }
            Self::Secret(secret) => {
                let (way, target) = secret.reference();
                write!(out, "{{ {way} = {} }}", quoted(&target))
            }
            Self::Namespace(namespace) => write!(out, "\"{namespace}\""),
        }
    }
}

/// A TOML string; also safe on a terminal, since TOML escapes control characters.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
