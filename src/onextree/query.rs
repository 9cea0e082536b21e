//! Queries: what a caller looks for among paths, understood once and then held against each.
//!
//! Letters match in either case, as far as ASCII goes. Promises: a query takes time linear in what it
//! is held against, whatever its text; one that leads out of a repo is an error.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use memchr::memmem;

/// Bytes of a query.
pub const QUERY_BYTES_MAX: usize = 1_024;

/// What a query is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What follows the last dot of a name.
    Extension,
    /// The whole path.
    Path,
    /// The last component.
    Name,
}

/// Why a text is no query.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It says nothing.
    #[error("must not be empty")]
    Empty,
    /// It is longer than any path that one looks for.
    #[error("must be at most {QUERY_BYTES_MAX} bytes")]
    TooLong,
    /// It begins at the root of the machine.
    #[error("must be relative to the root of a repo")]
    Absolute,
    /// It climbs.
    #[error("must not hold \"..\"")]
    Climbs,
    /// It holds a separator where there can be none.
    #[error("must not hold \"/\": ask with query_type \"path\"")]
    Separator,
    /// Its wildcards are not well formed.
    #[error("is no pattern: {0}; * ? [] and {{}} are wildcards, \\ takes their meaning away")]
    Glob(globset::ErrorKind),
}

/// A query.
#[derive(Clone, Debug)]
pub struct Query {
    kind: Kind,
    /// What stands in every path that matches, in lower case, to look for first.
    needle: Vec<u8>,
    test: Test,
}

/// What a path that holds the needle has yet to pass.
#[derive(Clone, Debug)]
enum Test {
    /// The needle is all of it.
    Part,
    Glob(GlobMatcher),
    Extension,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Extension, Self::Path, Self::Name];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Extension => "extension",
            Self::Path => "path",
            Self::Name => "name",
        }
    }

    /// What a text looks like: `.rs` and `*.rs` are extensions, what has a separator is a path.
    pub fn of(text: &str) -> Self {
        let is_word = |ending: &str| {
            !ending.is_empty() && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let ending = text.strip_prefix('*').unwrap_or(text).strip_prefix('.');
        match ending {
            Some(ending) if is_word(ending) => Self::Extension,
            _ if text.contains('/') => Self::Path,
            _ => Self::Name,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Query {
    /// Understands a text.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, QueryError> {
        check(text)?;
        if kind != Kind::Path && text.contains('/') {
            return Err(QueryError::Separator);
        }
        if kind == Kind::Extension {
            let ending = text.trim_start_matches('*').trim_start_matches('.');
            if ending.is_empty() {
                return Err(QueryError::Empty);
            }
            return Ok(Self::of_extension(ending));
        }
        let folded = text.to_ascii_lowercase();
        if !folded.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            return Ok(Self { kind, needle: folded.into_bytes(), test: Test::Part });
        }
        let glob = GlobBuilder::new(&folded).literal_separator(true).build();
        let glob = glob.map_err(|error| QueryError::Glob(error.kind().clone()))?;
        let needle = literal(&folded).to_owned().into_bytes();
        Ok(Self { kind, needle, test: Test::Glob(glob.compile_matcher()) })
    }

    fn of_extension(ending: &str) -> Self {
        let needle = format!(".{}\0", ending.to_ascii_lowercase()).into_bytes();
        Self { kind: Kind::Extension, needle, test: Test::Extension }
    }

    /// What it is held against.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Stands in every path that matches, in lower case; a NUL in it is the end of the path.
    pub(super) fn needle(&self) -> &[u8] {
        &self.needle
    }

    /// Whether a path matches, given in lower case.
    pub(super) fn matches(&self, folded: &[u8]) -> bool {
        let part = match self.kind {
            Kind::Path => folded,
            Kind::Name | Kind::Extension => name_of(folded),
        };
        match &self.test {
            Test::Part => memmem::find(part, &self.needle).is_some(),
            Test::Glob(glob) => glob.is_match(as_path(part)),
            Test::Extension => extension_of(part)
                .is_some_and(|ending| ending == &self.needle[1..self.needle.len() - 1]),
        }
    }
}

/// Checks that a text names nothing outside of a repo.
pub(super) fn check(text: &str) -> Result<(), QueryError> {
    match text {
        "" => Err(QueryError::Empty),
        _ if text.len() > QUERY_BYTES_MAX => Err(QueryError::TooLong),
        _ if text.starts_with('/') => Err(QueryError::Absolute),
        _ if text.split(['/', '\\']).any(|name| name == "..") => Err(QueryError::Climbs),
        _ => Ok(()),
    }
}

/// The last component of a path.
pub(super) fn name_of(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(path, |slash| &path[slash + 1..])
}

/// What follows the last dot of a name; a name that only begins with a dot has none.
pub(super) fn extension_of(name: &[u8]) -> Option<&[u8]> {
    let dot = memchr::memrchr(b'.', name).filter(|&dot| dot > 0)?;
    Some(&name[dot + 1..]).filter(|ending| !ending.is_empty())
}

/// A name without its extension.
pub(super) fn stem_of(name: &[u8]) -> &[u8] {
    extension_of(name).map_or(name, |ending| &name[..name.len() - ending.len() - 1])
}

/// The longest run of a pattern that stands in it as it is, before and after everything that stands
/// for one of several.
fn literal(pattern: &str) -> &str {
    let choices = ['[', ']', '{', '}', '\\'];
    let before = pattern.split(choices).next().unwrap_or_default();
    let after = pattern.rsplit(choices).next().unwrap_or_default();
    let runs = [before, after].into_iter().flat_map(|part| part.split(['*', '?']));
    // A separator beside ** may be missing in what matches.
    runs.map(|run| run.trim_matches('/')).max_by_key(|run| run.len()).unwrap_or_default()
}

fn as_path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt as _;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_told_by_its_form() {
        for (text, kind) in [
            (".rs", Kind::Extension),
            ("*.rs", Kind::Extension),
            (".GITIGNORE", Kind::Extension),
            ("src/main.rs", Kind::Path),
            ("*.tar.gz", Kind::Name),
            ("main", Kind::Name),
            (".", Kind::Name),
            ("*.*", Kind::Name),
        ] {
            assert_eq!(Kind::of(text), kind, "{text}");
        }
    }

    #[test]
    fn what_a_query_finds_and_what_not() {
        for (text, kind, path, found) in [
            ("main", Kind::Name, "src/main.rs", true),
            ("MAIN", Kind::Name, "src/main.rs", true),
            ("src", Kind::Name, "src/main.rs", false),
            ("src/ma", Kind::Path, "src/main.rs", true),
            (".rs", Kind::Extension, "src/main.rs", true),
            ("RS", Kind::Extension, "src/main.rs", true),
            ("*.rs", Kind::Extension, "src/main.rs", true),
            ("s", Kind::Extension, "src/main.rs", false),
            ("gitignore", Kind::Extension, ".gitignore", false),
            ("gz", Kind::Extension, "a.tar.gz", true),
            ("ma*.r?", Kind::Name, "src/main.rs", true),
            ("*.rs", Kind::Path, "main.rs", true),
            ("*.rs", Kind::Path, "src/main.rs", false),
            ("**/*.rs", Kind::Path, "src/a/main.rs", true),
            ("{lib,main}.rs", Kind::Name, "src/main.rs", true),
            ("[l-n]ain.rs", Kind::Name, "src/main.rs", true),
            ("[!m]ain.rs", Kind::Name, "src/main.rs", false),
            ("a\\*b", Kind::Name, "a*b", true),
            ("a\\*b", Kind::Name, "axb", false),
        ] {
            let query = Query::parse(text, kind).expect("a query");
            let ended = format!("{path}\0");
            let held = memmem::find(ended.as_bytes(), query.needle()).is_some();
            assert_eq!(held && query.matches(path.as_bytes()), found, "{text} {kind} {path}");
        }
    }

    #[test]
    fn what_leads_out_of_a_repo_or_says_nothing_is_refused() {
        let long = "a".repeat(QUERY_BYTES_MAX + 1);
        for (text, kind, word) in [
            ("", Kind::Name, "empty"),
            ("*.", Kind::Extension, "empty"),
            (long.as_str(), Kind::Name, "1024"),
            ("/etc/passwd", Kind::Path, "relative"),
            ("../x", Kind::Path, ".."),
            ("a/../../x", Kind::Path, ".."),
            ("a\\..\\x", Kind::Path, ".."),
            ("..", Kind::Name, ".."),
            ("a/b", Kind::Name, "query_type"),
            ("a[b", Kind::Name, "pattern"),
            ("{a", Kind::Path, "pattern"),
            ("a}", Kind::Path, "pattern"),
            ("a\\", Kind::Path, "pattern"),
            ("[z-a]", Kind::Path, "pattern"),
        ] {
            let error = Query::parse(text, kind).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_path_that_a_pattern_matches_is_passed_over_for_its_needle(
            pattern in r"[a-c*?\[\]{},!\\./-]{1,12}",
            path in "[a-c./]{0,12}",
        ) {
            if let Ok(query) = Query::parse(&pattern, Kind::Path)
                && query.matches(path.as_bytes())
            {
                prop_assert!(memmem::find(path.as_bytes(), query.needle()).is_some());
            }
        }
    }
}
