//! The view a walk carries: what applies in one directory, so that each entry costs one look.

use std::sync::Arc;

use super::rules::{Rule, Source, Word};
use super::{DirRules, Filter, GIT_ENTRY, Ground, Scoped, Verdict};
use crate::model::path::RepoPath;

/// The filter as it applies to the entries of one directory.
#[derive(Clone, Debug)]
pub struct DirFilter {
    filter: Filter,
    dir: RepoPath,
    cover: Cover,
    /// The rule files of this directory.
    own: DirRules,
    /// Those of the directories above and what is weaker still, in falling force.
    inherited: Arc<[Scoped]>,
}

/// How a directory itself was judged, which its entries inherit.
#[derive(Clone, Debug)]
enum Cover {
    /// Visible: its entries are judged by the rules.
    Open,
    /// An `include` matched it: all of it is visible, though a rule may have ignored it.
    Included { include: Rule, spared_from: Option<Rule> },
    /// Ignored: only tracked and included entries are visible. Git does not read the rule files
    /// in an ignored directory, and neither do we.
    Ignored(Rule),
    /// Excluded by the user: nothing below is visible.
    Excluded(Rule),
    /// `.git`.
    Git,
}

impl DirFilter {
    pub(super) fn root(filter: &Filter) -> Self {
        let dir = RepoPath::root();
        Self {
            own: filter.dirs.get(&dir).cloned().unwrap_or_default(),
            dir,
            cover: Cover::Open,
            inherited: filter.base.weakest(),
            filter: filter.clone(),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &RepoPath {
        &self.dir
    }

    /// The view in the directory `name`, with the rule files the filter knows of it.
    pub fn enter(&self, name: &[u8]) -> Self {
        let dir = self.dir.join(name);
        Self {
            own: self.filter.dirs.get(&dir).cloned().unwrap_or_default(),
            cover: self.cover_of(name, &dir),
            inherited: self.inherited_below(),
            filter: self.filter.clone(),
            dir,
        }
    }

    /// The same view with this directory's rule files as they were just read.
    pub fn with_rules(self, own: DirRules) -> Self {
        Self { own, ..self }
    }

    /// Whether rule files in this directory are to be read at all.
    pub fn reads_rules(&self) -> bool {
        matches!(self.cover, Cover::Open)
    }

    /// Whether the directory is only visible for the sake of the repo's own `include`, so that its
    /// watch counts against the budget of what an untrusted file may ask for.
    pub fn is_budgeted(&self) -> bool {
        let base = &self.filter.base;
        let path = self.dir.as_bytes();
        let include = match &self.cover {
            Cover::Included { include, spared_from: Some(_) } => Some(include.clone()),
            Cover::Ignored(_) => base.includes.leading_below(path),
            Cover::Included { spared_from: None, .. }
            | Cover::Open
            | Cover::Excluded(_)
            | Cover::Git => None,
        };
        include.is_some_and(|include| *include.source() == Source::RepoInclude)
            && !base.tracked.has(path, true)
    }

    /// Judges the entry `name` of this directory. Allocates only where some rule applies.
    pub fn check(&self, name: &[u8], is_dir: bool) -> Verdict {
        if name == GIT_ENTRY {
            return Verdict::Git;
        }
        match &self.cover {
            Cover::Git => return Verdict::Git,
            Cover::Excluded(rule) => return Verdict::Ignored(rule.clone()),
            Cover::Open if self.is_silent() => return Verdict::Visible(Ground::NoRule),
            Cover::Open | Cover::Included { .. } | Cover::Ignored(_) => {}
        }
        let path = self.path_of(name);
        if let Word::Matches(rule) = self.filter.base.exclude.judge(&path, is_dir) {
            return Verdict::Ignored(rule);
        }
        match &self.cover {
            Cover::Included { include, .. } => Verdict::Visible(Ground::Included(include.clone())),
            Cover::Ignored(rule) => self.unless_spared(&path, is_dir, rule.clone()),
            Cover::Open | Cover::Excluded(_) | Cover::Git => match self.rules_say(&path, is_dir) {
                Word::Silent => Verdict::Visible(Ground::NoRule),
                Word::Negates(rule) => Verdict::Visible(Ground::Negated(rule)),
                Word::Matches(rule) => self.unless_spared(&path, is_dir, rule),
            },
        }
    }

    /// Ignored by `rule`, unless git tracks it or an `include` wants it, itself or below it.
    fn unless_spared(&self, path: &[u8], is_dir: bool, rule: Rule) -> Verdict {
        let base = &self.filter.base;
        if base.tracked.has(path, is_dir) {
            return Verdict::Visible(Ground::Tracked);
        }
        let below = || is_dir.then(|| base.includes.leading_below(path)).flatten();
        match base.includes.matching(path, is_dir).or_else(below) {
            Some(include) => Verdict::Visible(Ground::Included(include)),
            None => Verdict::Ignored(rule),
        }
    }

    /// How the entries of the directory `name` fare, given that the directory is entered at all.
    fn cover_of(&self, name: &[u8], path: &RepoPath) -> Cover {
        if name == GIT_ENTRY {
            return Cover::Git;
        }
        let path = path.as_bytes();
        let base = &self.filter.base;
        let (include, ignored) = match &self.cover {
            Cover::Git | Cover::Excluded(_) => return self.cover.clone(),
            Cover::Open => (None, None),
            Cover::Included { include, spared_from } => {
                (Some(include.clone()), spared_from.clone())
            }
            Cover::Ignored(rule) => (None, Some(rule.clone())),
        };
        if let Word::Matches(rule) = base.exclude.judge(path, true) {
            return Cover::Excluded(rule);
        }
        let include = include.or_else(|| base.includes.matching(path, true));
        let ignored = ignored.or_else(|| self.rules_say(path, true).into_match());
        match (include, ignored) {
            (Some(include), spared_from) => Cover::Included { include, spared_from },
            (None, Some(rule)) => Cover::Ignored(rule),
            (None, None) => Cover::Open,
        }
    }

    /// What the strongest rule that speaks of the path says.
    fn rules_say(&self, path: &[u8], is_dir: bool) -> Word {
        let above = self.above();
        let own = self.own.0.iter().map(|rules| (above, rules));
        let inherited = self.inherited.iter().map(|scoped| (scoped.above, &scoped.rules));
        own.chain(inherited)
            .map(|(above, rules)| rules.judge(&path[above..], is_dir))
            .find(|word| !matches!(word, Word::Silent))
            .unwrap_or(Word::Silent)
    }

    fn inherited_below(&self) -> Arc<[Scoped]> {
        if self.own.is_empty() {
            return Arc::clone(&self.inherited);
        }
        let above = self.above();
        let own = self.own.0.iter().map(|rules| Scoped { above, rules: Arc::clone(rules) });
        own.chain(self.inherited.iter().cloned()).collect()
    }

    /// Whether no rule could speak of any entry here.
    fn is_silent(&self) -> bool {
        self.own.is_empty() && self.inherited.is_empty() && self.filter.base.exclude.is_empty()
    }

    /// How many bytes of an entry's path lie before its name.
    fn above(&self) -> usize {
        self.dir.as_bytes().len() + usize::from(!self.dir.is_root())
    }

    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.above() + name.len());
        path.extend_from_slice(self.dir.as_bytes());
        if !self.dir.is_root() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }
}
