//! Taking out of a text what is nobody else's business.
//!
//! Three sieves, each coarser than the one before. What is known to be private goes by its value: the
//! secrets of the config, whole paths, names of repos, user and machine. What is private by its key
//! goes with whatever stands there: `path=…`, `"root": …`, `password = …`. What looks like a path, a
//! file's name or an address goes by its looks. A thing that occurs again gets the same number, so
//! that the text can still be followed.
//!
//! Coarse on purpose: a name that is taken for a file costs a reader a word, the other way round it
//! costs a stranger's secret.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::config::{Config, Environment};

/// A secret shorter than this would take half of the text along.
const SECRET_BYTES_MIN: usize = 4;

/// Keys whose values are paths or names of files.
const PATH_KEYS: [&str; 13] = [
    "at",
    "ca_file",
    "config",
    "dir",
    "directory",
    "file",
    "from",
    "path",
    "root",
    "state_dir",
    "runtime_dir",
    "log_dir",
    "to",
];
/// Keys whose values are secret, whatever they hold.
const SECRET_KEYS: [&str; 7] =
    ["authorization", "bearer", "credential", "passwd", "password", "secret", "token"];
/// Lists of patterns, which name files.
const PATTERN_KEYS: [&str; 2] = ["exclude", "include"];

/// What is known, and what was seen so far.
pub(super) struct Redactor {
    /// Longest first, so that no part is left of one that holds another.
    known: Vec<(String, &'static str)>,
    /// By kind and text, its number.
    seen: BTreeMap<(&'static str, String), usize>,
}

impl Redactor {
    /// Knows what environment and config say.
    pub(super) fn new(environment: &Environment, config: Option<&Config>) -> Self {
        let mut known = Vec::new();
        for (name, kind) in [("HOME", "path"), ("USER", "user"), ("LOGNAME", "user")] {
            known.extend(environment.get(name).map(|value| (value.to_owned(), kind)));
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        known.push((host, "host"));
        if let Some(config) = config {
            let secrets =
                config.secrets().into_iter().filter_map(|(_, secret)| secret.fetch().ok());
            known.extend(secrets.map(|secret| (secret, "secret")));
            let own = config.agent.own_dirs.iter().chain(&config.file);
            let roots = config.agent.repos.iter().map(|repo| &repo.path);
            let paths = own.chain(roots).map(|path| path.display().to_string());
            known.extend(paths.map(|path| (path, "path")));
            let names = config.agent.repos.iter().map(|repo| repo.name.clone());
            known.extend(names.map(|name| (name, "repo")));
        }
        Self::of(known)
    }

    fn of(mut known: Vec<(String, &'static str)>) -> Self {
        known.retain(|(text, kind)| {
            text.len() >= if *kind == "secret" { SECRET_BYTES_MIN } else { 2 }
        });
        known.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Self { known, seen: BTreeMap::new() }
    }

    /// The text without what is private.
    pub(super) fn text(&mut self, text: &str) -> String {
        text.split_inclusive('\n').map(|line| self.line(line)).collect()
    }

    fn line(&mut self, line: &str) -> String {
        let (line, ending) = match line.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        let line = self.by_value(line);
        let line = self.by_key(&line);
        self.by_looks(&line) + ending
    }

    /// The first sieve. Names only where they are words of their own: a repo may be called `a`.
    fn by_value(&mut self, line: &str) -> String {
        let known = self.known.clone();
        known.iter().fold(line.to_owned(), |line, (text, kind)| self.without(&line, text, kind))
    }

    fn without(&mut self, line: &str, text: &str, kind: &'static str) -> String {
        let mut out = String::new();
        let mut rest = line;
        while let Some(at) = rest.find(text) {
            let (before, after) = (&rest[..at], &rest[at + text.len()..]);
            let is_word = !before.ends_with(is_wordy) && !after.starts_with(is_wordy);
            out.push_str(before);
            let goes = matches!(kind, "secret" | "path") || is_word;
            out.push_str(if goes { self.number(kind, text) } else { text.to_owned() }.as_str());
            rest = after;
        }
        out + rest
    }

    /// The second sieve.
    fn by_key(&mut self, line: &str) -> String {
        let mut out = String::new();
        let mut rest = line;
        while let Some(at) = rest.find(['=', ':']) {
            let (before, after) = rest.split_at(at + 1);
            out.push_str(before);
            rest = after;
            let key = before[..at].trim_end().trim_end_matches('"');
            let key = key.rsplit(|letter: char| !is_wordy(letter)).next().unwrap_or_default();
            let key = key.to_ascii_lowercase();
            let kind = if SECRET_KEYS.contains(&key.as_str()) {
                "secret"
            } else if PATH_KEYS.contains(&key.as_str()) || PATTERN_KEYS.contains(&key.as_str()) {
                "path"
            } else {
                continue;
            };
            let (gap, value, left) =
                value(after, kind == "secret" || PATTERN_KEYS.contains(&&*key));
            out.push_str(gap);
            if !value.is_empty() {
                out.push_str(&self.number(kind, value));
            }
            rest = left;
        }
        out + rest
    }

    /// The third sieve.
    fn by_looks(&mut self, line: &str) -> String {
        let mut out = String::new();
        let mut rest = line;
        while let Some(start) = rest.find(|letter| !is_gap(letter)) {
            let (gap, from) = rest.split_at(start);
            let end = from.find(is_gap).unwrap_or(from.len());
            let (word, left) = from.split_at(end);
            out.push_str(gap);
            match looks(word) {
                Some(kind) => out.push_str(&self.number(kind, word)),
                None => out.push_str(word),
            }
            rest = left;
        }
        out + rest
    }

    fn number(&mut self, kind: &'static str, text: &str) -> String {
        // Numbers of its own making pass through later sieves unchanged.
        if text.starts_with('<') && text.ends_with('>') {
            return text.to_owned();
        }
        let next = self.seen.len() + 1;
        let number = *self.seen.entry((kind, text.to_owned())).or_insert(next);
        let mut shown = String::new();
        write!(shown, "<{kind} {number}>").expect("writing into a String cannot fail");
        shown
    }
}

/// The gap before a value, the value, and what follows it. One in quotes goes up to the last quote
/// that is not escaped; `whole` takes the rest of the line, whatever stands there.
fn value(text: &str, whole: bool) -> (&str, &str, &str) {
    let start = text.len() - text.trim_start().len();
    let (gap, text) = text.split_at(start);
    if whole {
        let end = text.trim_end_matches([',', '}']).len();
        let (value, left) = text.split_at(end);
        return (gap, value, left);
    }
    let end = match text.strip_prefix('"') {
        Some(inner) => closing(inner).map_or(text.len(), |at| at + 2),
        None => before_next_key(text),
    };
    let (value, left) = text.split_at(end);
    (gap, value, left)
}

/// Where a value without quotes ends: it may hold blanks, and ends before the next `key=`.
fn before_next_key(text: &str) -> usize {
    let is_next = |(at, _): &(usize, &str)| {
        let word = text[at + 1..].split(' ').next().unwrap_or_default();
        word.split_once('=').is_some_and(|(key, _)| !key.is_empty() && key.chars().all(is_wordy))
    };
    text.match_indices(' ').find(is_next).map_or(text.len(), |(at, _)| at)
}

/// Where the quote is that ends a text.
fn closing(inner: &str) -> Option<usize> {
    let mut escaped = false;
    inner.char_indices().find_map(|(at, letter)| {
        let ends = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends.then_some(at)
    })
}

fn is_wordy(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.')
}

/// What stands between words. A colon does not: it is part of addresses and of module paths.
fn is_gap(letter: char) -> bool {
    letter.is_whitespace() || "\"'`()[]{}<>,;=|→".contains(letter)
}

/// What a word looks like, if it is something that is not told.
fn looks(word: &str) -> Option<&'static str> {
    let bare = word.trim_end_matches([':', '.', '?', '!']);
    if bare.contains("://") || bare.contains('@') {
        return Some("address");
    }
    if bare.contains('/') || bare.contains('\\') || bare.starts_with('~') {
        return (!is_schema(bare)).then_some("path");
    }
    let is_number =
        bare.chars().all(|letter| letter.is_ascii_digit() || ".:-+TZ%".contains(letter));
    if is_number || bare.contains("::") {
        // A version, a time, a figure or a module. An address of numbers has three dots.
        let is_address =
            bare.split('.').count() == 4 && bare.starts_with(|d: char| d.is_ascii_digit());
        return is_address.then_some("address");
    }
    // `notes.txt`, `.env`, `db.example:5432`
    let has_dot = bare.contains('.') && bare.chars().any(char::is_alphabetic);
    has_dot.then_some("name")
}

/// The names of our own documents are told.
fn is_schema(word: &str) -> bool {
    word.strip_prefix("stampd.").is_some_and(|rest| rest.ends_with("/v1"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(known: &[(&str, &'static str)], text: &str) -> String {
        let known = known.iter().map(|(text, kind)| ((*text).to_owned(), *kind)).collect();
        Redactor::of(known).text(text)
    }

    #[test]
    fn the_same_thing_keeps_its_number_and_words_are_left_alone() {
        let text = "2026-01-02T03:04:05Z WARN stampd::sync: road closed sink=\"kafka\" took_ms=12 \
                    error=connect to k.example:9092: refused (os error 111)\n\
                    cannot read /src/app/a b.txt, again /src/app/a\n";
        assert_eq!(
            redacted(&[("/src/app", "path"), ("app", "repo")], text),
            "2026-01-02T03:04:05Z WARN stampd::sync: road closed sink=\"kafka\" took_ms=12 \
             error=connect to <name 1> refused (os error 111)\n\
             cannot read <path 2><path 3> <name 4>, again <path 2><path 3>\n"
        );
    }

    #[test]
    fn a_config_and_a_status_keep_their_shape() {
        let text = "[[repo]]\npath = \"/src/app\"  # /home/ada/stampd.toml:3\n\
                    password = { file = \"/run/p w\" }\nurl = \"postgres://ada@db/x\"\n\
                    \"state\": \"healthy\",\n\"at\": \"notes\",\nexclude = [\"my plans\"]\n\
                    retention = \"90d\"\n";
        assert_eq!(
            redacted(&[], text),
            "[[repo]]\npath = <path 1>  # <path 2>\n\
             password = <secret 3>}\nurl = \"<address 4>\"\n\
             \"state\": \"healthy\",\n\"at\": <path 5>,\nexclude = <path 6>\n\
             retention = \"90d\"\n"
        );
    }

    fn planted() -> impl Strategy<Value = (String, String)> {
        ("[A-Za-z0-9+_$!-]{6,24}", "(/zq[a-z0-9_.]{3,9}){2,4}")
    }

    proptest! {
        #[test]
        fn nothing_that_was_planted_is_left(
            (secret, path) in planted(),
            host in "zq[a-z]{4,9}\\.example",
        ) {
            let file = path.rsplit('/').next().unwrap();
            let lines = [
                format!("WARN stampd::hash: failed to read {path}: permission denied\n"),
                format!("path={file} zqplain error=\"open {path}: gone\"\n"),
                format!("  \"reason\": \"{path}: no such directory; it is watched for\",\n"),
                format!("  \"path\": \"{path} and {file}\",\n"),
                format!("url = \"postgres://ada:{secret}@{host}:5432/x\"\n"),
                format!("password={secret} token: {secret}\n"),
                format!("Authorization: Bearer {secret}\n"),
                format!("the server said {secret} to us, at {host}:9092\n"),
                format!("exclude = [\"{file}\", \"*.{file}\"]\n"),
            ];
            let out = redacted(&[(&secret, "secret")], &lines.concat());
            for private in [secret.as_str(), &path, file, &host, "zqplain"] {
                prop_assert!(!out.contains(private), "{} in\n{}", private, out);
            }
            prop_assert_eq!(out.lines().count(), lines.len());
        }
    }
}
