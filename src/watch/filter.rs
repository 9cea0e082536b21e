//! The one matcher: decides whether a path is covered, and by which rule it is not.
//!
//! Holds git's ignore semantics (nested `.gitignore`, `.git/info/exclude`) and what stampd adds to
//! them: `.stampdignore`, the user's own `exclude` and `include`, the rules of a trusted repo.
//! Order of force: the user's `exclude`; then files that git tracks, which are covered whatever
//! the rules say; then `include`; then rules, where the deeper file wins and in it the later line.
//! `.git` itself is never covered.
//!
//! Promises: pure, so no file is opened here. Whoever walks lists directories and reads rule files
//! (`runtime::rooted`) and hands their bytes in; a walk carries a [`DirFilter`] down and asks it
//! about each entry by name. A line that cannot be understood hides nothing and is kept as a
//! [`Problem`]. Whether to enter a nested repository is the walker's decision.

mod include;
mod pattern;
mod rules;
mod tracked;
mod view;

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::path::RepoPath;

use include::Includes;
pub use rules::{Problem, Rule, RuleSet, Source};
pub use tracked::Tracked;
pub use view::DirFilter;

/// Rule files larger than this are not in force: no person wrote them, and compiling them costs
/// memory.
pub const RULE_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The names of rule files in a directory, the stronger last.
pub const RULE_FILE_NAMES: [&[u8]; 2] = [b".gitignore", b".stampdignore"];

/// Git's own entry: a directory, or a file that points to one.
pub const GIT_ENTRY: &[u8] = b".git";

/// What a filter is built from beside the rule files of directories; patterns are written as in a
/// `.gitignore` at the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The user's own `exclude`: the strongest word.
    pub exclude: Vec<String>,
    /// The user's own `include`.
    pub include: Vec<String>,
    /// `exclude` of the repo's own config, once a person has trusted it: weaker than rule files.
    pub repo_exclude: Vec<String>,
    /// `include` of the repo's own config.
    pub repo_include: Vec<String>,
    /// The text of `.git/info/exclude`.
    pub info_exclude: Vec<u8>,
}

/// All rules known for one repo: an immutable snapshot that is cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    base: Arc<Base>,
    /// Directories that have rule files of their own. Copied on write while a clone is alive.
    dirs: Arc<FxHashMap<RepoPath, DirRules>>,
}

/// What holds in every directory.
#[derive(Clone, Debug, Default)]
struct Base {
    exclude: Arc<RuleSet>,
    includes: Arc<Includes>,
    info_exclude: Arc<RuleSet>,
    /// Weaker still: the rules of the trusted repo.
    repo_exclude: Arc<RuleSet>,
    tracked: Arc<Tracked>,
}

/// The compiled rule files of one directory, in falling force; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DirRules(Arc<[Arc<RuleSet>]>);

/// A rule set and how much of a path lies above the directory it speaks for.
#[derive(Clone, Debug)]
struct Scoped {
    /// Bytes to strip from a path in the repo, the `/` included.
    above: usize,
    rules: Arc<RuleSet>,
}

/// What the filter says of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Covered. A directory is also visible when something below it may be.
    Visible(Ground),
    /// Kept out by this rule, or by it through a directory above.
    Ignored(Rule),
    /// `.git` or something in it.
    Git,
    /// In another repository, whose own agent or config covers it.
    Nested,
}

impl Verdict {
    /// Whether the path is covered.
    pub fn is_visible(&self) -> bool {
        matches!(self, Self::Visible(_))
    }
}

/// Why a path is visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// No rule speaks of it.
    NoRule,
    /// A rule with `!` re-includes it.
    Negated(Rule),
    /// Git tracks it or something below it, though a rule would ignore it.
    Tracked,
    /// An `include` un-ignores it or, of a directory, may match below it.
    Included(Rule),
}

impl Filter {
    /// Builds a filter that knows no rule file of any directory yet.
    pub fn new(config: &Config, tracked: impl Into<Arc<Tracked>>) -> Self {
        let base = Base {
            exclude: patterns(Source::UserExclude, &config.exclude),
            includes: Arc::new(Includes::new(&config.include, &config.repo_include)),
            info_exclude: Arc::new(RuleSet::parse(Source::InfoExclude, &config.info_exclude)),
            repo_exclude: patterns(Source::RepoExclude, &config.repo_exclude),
            tracked: tracked.into(),
        };
        Self { base: Arc::new(base), dirs: Arc::default() }
    }

    /// Puts another base under the directories' rule files, which stay: for an edited config,
    /// `.git/info/exclude` or git index.
    pub fn rebase(&mut self, config: &Config, tracked: impl Into<Arc<Tracked>>) {
        let dirs = Arc::clone(&self.dirs);
        *self = Self { dirs, ..Self::new(config, tracked) };
    }

    /// The same filter with other rules of the trusted repo.
    pub fn with_repo_exclude(&self, repo_exclude: &[String]) -> Self {
        let repo_exclude = patterns(Source::RepoExclude, repo_exclude);
        let base = Base { repo_exclude, ..(*self.base).clone() };
        Self { base: Arc::new(base), dirs: Arc::clone(&self.dirs) }
    }

    /// Adds, replaces or (when `rules` is empty) removes the rule files of one directory.
    pub fn set_dir(&mut self, dir: &RepoPath, rules: DirRules) {
        if rules.is_empty() {
            if self.dirs.contains_key(dir) {
                Arc::make_mut(&mut self.dirs).remove(dir);
            }
        } else {
            Arc::make_mut(&mut self.dirs).insert(dir.clone(), rules);
        }
    }

    /// Forgets the rule files of `dir` and of every directory below it, as when it was deleted.
    pub fn forget_within(&mut self, dir: &RepoPath) {
        if self.dirs.keys().any(|known| known.is_within(dir)) {
            Arc::make_mut(&mut self.dirs).retain(|known, _| !known.is_within(dir));
        }
    }

    /// Judges one path out of the blue; a walk asks [`DirFilter::check`] instead.
    pub fn ignored(&self, path: &RepoPath, is_dir: bool) -> Verdict {
        match path.parent() {
            None => Verdict::Visible(Ground::NoRule),
            Some(dir) => self.dir(&dir).check(path.name(), is_dir),
        }
    }

    /// The view at the root.
    pub fn root(&self) -> DirFilter {
        DirFilter::root(self)
    }

    /// The view at a directory, judged from the root down.
    pub fn dir(&self, dir: &RepoPath) -> DirFilter {
        let names = dir.as_bytes().split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        names.fold(self.root(), |view, name| view.enter(name))
    }

    /// What git tracks.
    pub fn tracked(&self) -> &Arc<Tracked> {
        &self.base.tracked
    }

    /// Every line in force nowhere because it could not be understood.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let base = &self.base;
        let dirs = self.dirs.values().flat_map(|rules| rules.0.iter());
        [&base.exclude, &base.info_exclude, &base.repo_exclude]
            .into_iter()
            .chain(dirs)
            .map(|rules| &**rules)
            .chain(base.includes.rule_sets())
            .flat_map(RuleSet::problems)
    }
}

impl DirRules {
    /// Compiles the rule files of `dir`: pairs of a name in [`RULE_FILE_NAMES`] and its bytes.
    pub fn parse(dir: &RepoPath, files: &[(&[u8], &[u8])]) -> Self {
        let by_force = RULE_FILE_NAMES.iter().rev();
        let found = by_force.filter_map(|name| files.iter().find(|(found, _)| found == name));
        let sets = found.map(|(name, text)| RuleSet::parse(Source::File(dir.join(name)), text));
        Self(sets.filter(|set| !set.is_silent()).map(Arc::new).collect())
    }

    /// Whether there is no rule in them.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn patterns(source: Source, patterns: &[String]) -> Arc<RuleSet> {
    Arc::new(RuleSet::from_patterns(source, patterns))
}

impl Base {
    /// What is weaker than every rule file, in falling force.
    fn weakest(&self) -> Arc<[Scoped]> {
        [&self.info_exclude, &self.repo_exclude]
            .into_iter()
            .filter(|rules| !rules.is_empty())
            .map(|rules| Scoped { above: 0, rules: Arc::clone(rules) })
            .collect()
    }
}

/// Whether the path is a file whose lines are rules here: an edit re-evaluates its directory.
pub fn is_rule_file(path: &RepoPath) -> bool {
    RULE_FILE_NAMES.contains(&path.name())
}

/// Whether a directory other than the root belongs to another repository, given the names in it.
pub fn is_nested<'a>(dir: &RepoPath, mut names: impl Iterator<Item = &'a [u8]>) -> bool {
    !dir.is_root() && names.any(|name| name == GIT_ENTRY)
}

/// The pattern that means the directory at this path below the root, and nothing else; none for the
/// root itself.
pub fn literal(directory: &str) -> Option<String> {
    let mut pattern = String::from("/");
    for letter in directory.chars() {
        // Blanks too, since they count at the end only when escaped.
        if matches!(letter, '\\' | '*' | '?' | '[' | ']' | ' ') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    (!directory.is_empty()).then(|| pattern + "/")
}

/// Says whether a pattern of `exclude` or `include` can be understood.
///
/// # Errors
/// The reason it cannot, which reads after "pattern …: ".
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let rules = RuleSet::from_patterns(Source::UserExclude, &[pattern]);
    match rules.problems().first() {
        Some(problem) => Err(problem.reason.clone()),
        None if rules.is_empty() => Err("it matches nothing: it is blank or a comment".to_owned()),
        None => Ok(()),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Visible(Ground::NoRule) => out.write_str("visible: no rule speaks of it"),
            Self::Visible(Ground::Negated(rule)) => write!(out, "visible: re-included by {rule}"),
            Self::Visible(Ground::Tracked) => out.write_str("visible: tracked by git"),
            Self::Visible(Ground::Included(rule)) => write!(out, "visible: included by {rule}"),
            Self::Ignored(rule) => write!(out, "ignored by {rule}"),
            Self::Git => out.write_str("never: git's own files"),
            Self::Nested => out.write_str("not covered here: in a nested repository"),
        }
    }
}

#[cfg(test)]
mod tests;
