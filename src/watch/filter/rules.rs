//! Rule sets: the compiled lines of one source, each still knowing where it was written.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::pattern::{Line, translate};
use crate::model::path::{RepoPath, write_escaped};

/// More rules of one source are not in force: a repo must not make us compile without a bound.
const RULES_MAX: usize = 10_000;
/// How many rules are compiled into one automaton, whose size the crate bounds.
const CHUNK_RULES_MAX: usize = 500;
/// How many lines of one source are complained of.
const PROBLEMS_MAX: usize = 32;

/// Where rules are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Source {
    /// `exclude` of the user's config.
    #[default]
    UserExclude,
    /// `include` of the user's config.
    UserInclude,
    /// A `.gitignore` or `.stampdignore`.
    File(RepoPath),
    /// `.git/info/exclude`.
    InfoExclude,
    /// `exclude` of the trusted `.stampd.toml`.
    RepoExclude,
    /// `include` of `.stampd.toml`.
    RepoInclude,
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserExclude => out.write_str("exclude of your config"),
            Self::UserInclude => out.write_str("include of your config"),
            Self::File(path) => path.fmt(out),
            Self::InfoExclude => out.write_str(".git/info/exclude"),
            Self::RepoExclude => out.write_str("exclude of .stampd.toml"),
            Self::RepoInclude => out.write_str("include of .stampd.toml"),
        }
    }
}

/// The rules of one source.
#[derive(Debug, Default)]
pub struct RuleSet {
    source: Source,
    /// Each of a chunk of lines, the weakest first.
    matchers: Vec<Gitignore>,
    /// The lines in force, as they were written; the matchers' globs carry indexes into this.
    lines: Vec<(u32, Box<[u8]>)>,
    problems: Vec<Problem>,
}

/// One rule: cheap to clone, as it only points into its set.
#[derive(Clone)]
pub struct Rule {
    set: Arc<RuleSet>,
    index: usize,
}

/// A line that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is written.
    pub source: Source,
    /// Its number, from 1.
    pub line: u32,
    /// Why it is not in force.
    pub reason: String,
}

/// What a rule set says of a path.
pub(super) enum Word {
    /// Nothing.
    Silent,
    /// The rule matches.
    Matches(Rule),
    /// The rule matches and is negated.
    Negates(Rule),
}

impl Word {
    /// The rule that matches, if one does.
    pub(super) fn into_match(self) -> Option<Rule> {
        match self {
            Self::Matches(rule) => Some(rule),
            Self::Negates(_) | Self::Silent => None,
        }
    }
}

impl RuleSet {
    /// Compiles the text of a rule file.
    pub fn parse(source: Source, text: &[u8]) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        Self::from_lines(source, text.split(|&byte| byte == b'\n'))
    }

    /// Compiles patterns of a config; a pattern's number is its line.
    pub fn from_patterns(source: Source, patterns: &[impl AsRef<str>]) -> Self {
        Self::from_lines(source, patterns.iter().map(|pattern| pattern.as_ref().as_bytes()))
    }

    fn from_lines<'a>(source: Source, lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut set =
            Self { source, matchers: Vec::new(), lines: Vec::new(), problems: Vec::new() };
        let mut chunk = Chunk::new();
        for (line, text) in (1..).zip(lines) {
            match translate(text) {
                Line::Blank => {}
                Line::Refused(reason) => set.complain(line, reason),
                Line::Pattern(_) if set.lines.len() == RULES_MAX => {
                    set.complain(line, "this and what follows is beyond 10,000 rules");
                    break;
                }
                // The crate has no place for a line number; a glob's "file" carries our index.
                Line::Pattern(pattern) => match chunk.add(set.lines.len(), &pattern) {
                    Ok(()) => set.lines.push((line, Box::from(text))),
                    Err(error) => set.complain(line, &error.to_string()),
                },
            }
            if chunk.len == CHUNK_RULES_MAX {
                set.close(&std::mem::replace(&mut chunk, Chunk::new()));
            }
        }
        set.close(&chunk);
        set
    }

    /// Compiles a chunk; the next one is stronger.
    fn close(&mut self, chunk: &Chunk) {
        let first = self.lines.len() - chunk.len;
        let Some(&(line, _)) = self.lines.get(first) else { return };
        match chunk.builder.build() {
            Ok(matcher) => self.matchers.push(matcher),
            Err(error) => {
                self.lines.truncate(first);
                self.complain(line, &error.to_string());
            }
        }
    }

    fn complain(&mut self, line: u32, reason: &str) {
        if self.problems.len() < PROBLEMS_MAX {
            let reason = reason.to_owned();
            self.problems.push(Problem { source: self.source.clone(), line, reason });
        }
    }

    /// Whether there is no rule in it.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether there is neither a rule in it nor anything to complain of.
    pub(super) fn is_silent(&self) -> bool {
        self.is_empty() && self.problems.is_empty()
    }

    /// The lines that are not in force.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The patterns in force with their indexes.
    pub(super) fn patterns(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.lines.iter().map(|(_, text)| &**text).enumerate()
    }

    /// The rule at an index that [`patterns`](Self::patterns) gave.
    pub(super) fn rule(self: &Arc<Self>, index: usize) -> Rule {
        Rule { set: Arc::clone(self), index }
    }

    /// What the last matching line says of a path relative to the set's directory.
    pub(super) fn judge(self: &Arc<Self>, path: &[u8], is_dir: bool) -> Word {
        for matcher in self.matchers.iter().rev() {
            match matcher.matched(as_path(path), is_dir) {
                Match::None => {}
                Match::Ignore(glob) => return Word::Matches(self.rule(index_of(glob))),
                Match::Whitelist(glob) => return Word::Negates(self.rule(index_of(glob))),
            }
        }
        Word::Silent
    }
}

/// Rules that are being gathered for one matcher.
struct Chunk {
    builder: GitignoreBuilder,
    len: usize,
}

impl Chunk {
    fn new() -> Self {
        let mut builder = GitignoreBuilder::new("");
        builder.allow_unclosed_class(false);
        Self { builder, len: 0 }
    }

    fn add(&mut self, index: usize, pattern: &str) -> Result<(), ignore::Error> {
        self.builder.add_line(Some(PathBuf::from(index.to_string())), pattern)?;
        self.len += 1;
        Ok(())
    }
}

fn as_path(path: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(path))
}

fn index_of(glob: &ignore::gitignore::Glob) -> usize {
    let index = glob.from().and_then(Path::to_str).and_then(|text| text.parse().ok());
    index.expect("every glob was added with its index")
}

impl Rule {
    /// Where it is written.
    pub fn source(&self) -> &Source {
        &self.set.source
    }

    /// Its line there, from 1; in a config, its place in the list.
    pub fn line(&self) -> u32 {
        self.set.lines[self.index].0
    }

    /// The line as it was written.
    pub fn pattern(&self) -> &[u8] {
        let text = &self.set.lines[self.index].1;
        text.strip_suffix(b"\r").unwrap_or(text)
    }
}

impl PartialEq for Rule {
    /// Two rules are one when they stand in one place and say the same.
    fn eq(&self, other: &Self) -> bool {
        (self.source(), self.line(), self.pattern())
            == (other.source(), other.line(), other.pattern())
    }
}

impl Eq for Rule {}

impl fmt::Debug for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for Rule {
    /// Writes `target/ (.gitignore, line 3)`, escaped for a terminal.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(out, self.pattern())?;
        write!(out, " ({}, line {})", self.source(), self.line())
    }
}
