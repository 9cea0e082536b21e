//! The text of a `.stampd.toml`: every key checked, every error with its line.
//!
//! The text comes from a stranger and so do the errors that quote it: what they quote is escaped,
//! so that it can be printed as it is.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::model::path::write_escaped;
use crate::runtime::units::{HumanDuration, HumanSize};
use crate::watch::filter;

/// The file's name; it counts at the root only.
pub const FILE_NAME: &str = ".stampd.toml";

/// A larger file is not in force.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;

const KEYS: [&str; 6] = ["name", "labels", "settle", "include", "exclude", "max_file_size"];
const LABELS_MAX: usize = 16;
const LABEL_KEY_BYTES_MAX: usize = 63;
const LABEL_VALUE_BYTES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 255;
const PATTERNS_MAX: usize = 256;

/// What a `.stampd.toml` says; every value is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepoFile {
    /// The repo's name.
    pub name: Option<String>,
    /// Labels of its stamps.
    pub labels: BTreeMap<String, String>,
    /// How long a path has to be quiet.
    pub settle: Option<Duration>,
    /// Patterns that un-ignore.
    pub include: Vec<String>,
    /// Patterns that ignore.
    pub exclude: Vec<String>,
    /// The largest file that is read, in bytes.
    pub max_file_size: Option<u64>,
}

/// Why a `.stampd.toml` is not in force. The text reads after the file's name and a colon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// A directory, a link, a FIFO.
    #[error("it is not a regular file; replace it with one")]
    NotRegular,
    /// More bytes than a config needs.
    #[error("it is larger than 64 KiB; make it smaller")]
    TooLarge,
    /// The system does not let us read it.
    #[error("it cannot be read ({0}); make it readable for the agent")]
    Unreadable(std::io::ErrorKind),
    /// Not text.
    #[error("it is not UTF-8; save it as such")]
    NotUtf8,
    /// Not TOML, or not the TOML we want.
    #[error("line {line}: {text}")]
    Invalid {
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to write instead.
        text: String,
    },
}

/// Reads the text of a `.stampd.toml`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<RepoFile, FileError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FileError::NotUtf8)?;
    let reader = Reader { text };
    let table = DeTable::parse(text).map_err(|error| {
        reader.error(&error.span().unwrap_or_default(), format_args!("{}", error.message()))
    })?;
    let mut file = RepoFile::default();
    for (key, value) in table.get_ref() {
        let span = value.span();
        let value = value.get_ref();
        match key.get_ref().as_ref() {
            "name" => file.name = Some(reader.name(value, &span)?),
            "labels" => file.labels = reader.labels(value, &span)?,
            "settle" => {
                let HumanDuration(settle) = reader.text(value, &span)?;
                file.settle = Some(settle);
            }
            "include" => file.include = reader.patterns(value, &span)?,
            "exclude" => file.exclude = reader.patterns(value, &span)?,
            "max_file_size" => {
                let HumanSize(size) = reader.text(value, &span)?;
                file.max_file_size = Some(size);
            }
            unknown => return Err(reader.unknown(unknown, &key.span())),
        }
    }
    Ok(file)
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn name(&self, value: &DeValue<'_>, span: &Range<usize>) -> Result<String, FileError> {
        let name: String = self.text(value, span)?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            return self.refuse(span, "write a name of 1 to 255 bytes without control characters");
        }
        Ok(name)
    }

    fn labels(
        &self,
        value: &DeValue<'_>,
        span: &Range<usize>,
    ) -> Result<BTreeMap<String, String>, FileError> {
        let DeValue::Table(table) = value else {
            return self.refuse(span, "labels is a table such as { team = \"blue\" }");
        };
        if table.len() > LABELS_MAX {
            return self.refuse(span, "write at most 16 labels");
        }
        let mut labels = BTreeMap::new();
        for (key, value) in table {
            if !is_label_key(key.get_ref()) {
                let text = "a label's key is a-z, then up to 62 of a-z, 0-9, _, . and -";
                return self.refuse(&key.span(), text);
            }
            let label: String = self.text(value.get_ref(), &value.span())?;
            if label.len() > LABEL_VALUE_BYTES_MAX || label.contains('\0') {
                let text = "a label's value is at most 256 bytes, without NUL";
                return self.refuse(&value.span(), text);
            }
            labels.insert(key.get_ref().clone().into_owned(), label);
        }
        Ok(labels)
    }

    fn patterns(&self, value: &DeValue<'_>, span: &Range<usize>) -> Result<Vec<String>, FileError> {
        let DeValue::Array(items) = value else {
            return self.refuse(span, "write a list of patterns such as [\"target/\"]");
        };
        if items.len() > PATTERNS_MAX {
            return self.refuse(span, "write at most 256 patterns");
        }
        let pattern = |item: &toml::Spanned<DeValue<'_>>| {
            let pattern: String = self.text(item.get_ref(), &item.span())?;
            match filter::check_pattern(&pattern) {
                Ok(()) => Ok(pattern),
                Err(why) => {
                    Err(self.error(&item.span(), format_args!("pattern {pattern:?}: {why}")))
                }
            }
        };
        items.iter().map(pattern).collect()
    }

    /// Reads a value that is written as a string.
    fn text<T>(&self, value: &DeValue<'_>, span: &Range<usize>) -> Result<T, FileError>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        let DeValue::String(text) = value else {
            return self.refuse(span, "write a string in quotation marks");
        };
        text.parse().map_err(|error| self.error(span, format_args!("{error}")))
    }

    fn unknown(&self, key: &str, span: &Range<usize>) -> FileError {
        let distance = |known: &&str| strsim::damerau_levenshtein(key, known);
        let nearest = KEYS.into_iter().min_by_key(distance).filter(|known| distance(known) <= 2);
        let hint = match nearest {
            Some(known) => format!("did you mean {known}?"),
            None => format!("there are {}", KEYS.join(", ")),
        };
        self.error(span, format_args!("unknown key {key:?}: {hint}"))
    }

    fn refuse<T>(&self, span: &Range<usize>, text: &str) -> Result<T, FileError> {
        Err(self.error(span, format_args!("{text}")))
    }

    fn error(&self, span: &Range<usize>, text: fmt::Arguments<'_>) -> FileError {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = 1 + before.bytes().filter(|&byte| byte == b'\n').count();
        let mut escaped = String::new();
        write_escaped(&mut escaped, text.to_string().as_bytes())
            .expect("writing into a String cannot fail");
        FileError::Invalid { line, text: escaped }
    }
}

/// `[a-z][a-z0-9_.-]{0,62}`: keys of a body, so that their order is the same everywhere.
fn is_label_key(key: &str) -> bool {
    key.len() <= LABEL_KEY_BYTES_MAX
        && key.starts_with(|first: char| first.is_ascii_lowercase())
        && key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn reads_every_key() {
        let file = parse(
            b"name = 'core'\nsettle = '1s'\ninclude = ['a']\nexclude = ['b/', '!c']\n\
              max_file_size = '1MiB'\nlabels = { team = 'blue', 'cost-center.x_1' = '' }\n",
        )
        .unwrap();
        assert_eq!(file.name.as_deref(), Some("core"));
        assert_eq!(file.settle, Some(Duration::from_secs(1)));
        assert_eq!((file.include, file.exclude.len()), (vec!["a".to_owned()], 2));
        assert_eq!((file.max_file_size, file.labels.len()), (Some(1 << 20), 2));
        assert_eq!(parse(b"").unwrap(), RepoFile::default());
    }

    #[test]
    fn the_example_is_valid_and_shows_every_key() {
        let example = include_bytes!("../../../config/repo.example.toml");
        let file = parse(example).unwrap();
        assert!(file.name.is_some() && file.settle.is_some() && file.max_file_size.is_some());
        assert!(!file.include.is_empty() && !file.exclude.is_empty() && !file.labels.is_empty());
        let text = std::str::from_utf8(example).unwrap();
        assert!(KEYS.iter().all(|key| text.contains(key)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_what_to_write() {
        for (text, told) in [
            ("a = 1", "line 1: unknown key \"a\": there are name, labels, settle"),
            ("\nexclud = []", "line 2: unknown key \"exclud\": did you mean exclude?"),
            ("[postgres]\nurl = 'x'", "line 1: unknown key \"postgres\": there are"),
            ("name = ''", "line 1: write a name"),
            ("name = 3", "line 1: write a string"),
            ("settle = '5'", "line 1: \"5\" is not a duration"),
            ("max_file_size = '5 apples'", "line 1: \"5 apples\" is not a size"),
            ("include = 'a'", "line 1: write a list of patterns"),
            ("include = [\n'a',\n'[x']", "line 3: pattern \"[x\": its [ is never closed"),
            ("[labels]\nTeam = 'x'", "line 2: a label's key"),
            ("[labels]\nteam = \"a\\u0000b\"", "line 2: a label's value"),
            ("labels = []", "line 1: labels is a table"),
            ("name = 'a'\nname = 'b'", "line 2: "),
            ("x", "line 1: "),
        ] {
            let error = refused(text);
            assert!(error.starts_with(told), "{text:?}: {error}");
        }
        assert_eq!(parse(b"\xff"), Err(FileError::NotUtf8));
    }

    #[test]
    fn every_list_has_a_limit() {
        let labels: Vec<String> = (0..17).map(|label| format!("l{label} = ''")).collect();
        assert!(refused(&format!("[labels]\n{}", labels.join("\n"))).contains("at most 16"));
        assert!(refused(&format!("[labels]\n{} = ''", "k".repeat(64))).contains("key"));
        assert!(refused(&format!("[labels]\na = '{}'", "v".repeat(257))).contains("256 bytes"));
        let patterns = "'a',".repeat(257);
        assert!(refused(&format!("exclude = [{patterns}]")).contains("at most 256"));
        let deep = format!("labels = {}{}", "[".repeat(30_000), "]".repeat(30_000));
        refused(&deep);
    }

    #[test]
    fn an_error_that_quotes_the_file_cannot_steer_a_terminal() {
        let error = refused("\"\\u001b[2J\" = 1");
        assert!(!error.contains('\u{1b}'), "{error:?}");
        let error = refused("settle = \"\\u202e1s\"");
        assert!(!error.contains('\u{202e}'), "{error:?}");
    }
}
