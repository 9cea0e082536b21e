//! `include`: un-ignores what it matches and everything below, within ignored directories too.
//!
//! So a walk has to enter an ignored directory exactly when an `include` may match below it; this
//! module can tell, from the literal part of each pattern.

use std::sync::Arc;

use super::pattern::trimmed;
use super::rules::{Rule, RuleSet, Source};

/// The user's `include` and that of the repo's own config.
#[derive(Debug, Default)]
pub(super) struct Includes {
    /// The user's first.
    sets: Vec<(Arc<RuleSet>, Vec<Reach>)>,
}

/// Which directories a pattern may match below.
#[derive(Debug)]
struct Reach {
    index: usize,
    /// Leading components without a wildcard, the last component apart; none when unanchored.
    literal: Vec<Box<[u8]>>,
    /// The deepest directory, in components, that can hold a match; none with `**` or unanchored.
    depth_max: Option<usize>,
}

impl Includes {
    pub(super) fn new(user: &[String], repo: &[String]) -> Self {
        let user = RuleSet::from_patterns(Source::UserInclude, user);
        let repo = RuleSet::from_patterns(Source::RepoInclude, repo);
        let sets = [user, repo].into_iter().filter(|set| !set.is_silent());
        let with_reach = |set: RuleSet| {
            let reach = set.patterns().filter_map(|(index, text)| Reach::of(index, text)).collect();
            (Arc::new(set), reach)
        };
        Self { sets: sets.map(with_reach).collect() }
    }

    pub(super) fn rule_sets(&self) -> impl Iterator<Item = &RuleSet> {
        self.sets.iter().map(|(set, _)| &**set)
    }

    /// The include that matches the path itself.
    pub(super) fn matching(&self, path: &[u8], is_dir: bool) -> Option<Rule> {
        self.sets.iter().find_map(|(set, _)| set.judge(path, is_dir).into_match())
    }

    /// An include that may match below the directory.
    pub(super) fn leading_below(&self, dir: &[u8]) -> Option<Rule> {
        self.sets.iter().find_map(|(set, reaches)| {
            let reach = reaches.iter().find(|reach| reach.leads_below(dir))?;
            Some(set.rule(reach.index))
        })
    }
}

impl Reach {
    /// The reach of a pattern as it was written; `None` for a negated one, which includes nothing.
    fn of(index: usize, pattern: &[u8]) -> Option<Self> {
        let pattern = trimmed(pattern);
        if pattern.starts_with(b"!") {
            return None;
        }
        let body = pattern.strip_suffix(b"/").unwrap_or(pattern);
        if !body.contains(&b'/') {
            return Some(Self { index, literal: Vec::new(), depth_max: None });
        }
        let body = body.strip_prefix(b"/").unwrap_or(body);
        let components: Vec<&[u8]> = body.split(|&byte| byte == b'/').collect();
        let (_, above) = components.split_last().expect("split yields at least one component");
        let is_literal = |name: &&&[u8]| !name.iter().any(|byte| b"*?[\\".contains(byte));
        let literal = above.iter().take_while(is_literal).map(|&name| Box::from(name)).collect();
        let any_depth = components.iter().any(|name| name.starts_with(b"**"));
        Some(Self { index, literal, depth_max: (!any_depth).then_some(above.len()) })
    }

    fn leads_below(&self, dir: &[u8]) -> bool {
        let names = || dir.split(|&byte| byte == b'/');
        self.depth_max.is_none_or(|deepest| names().count() <= deepest)
            && names().zip(&self.literal).all(|(name, literal)| *name == **literal)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn pattern() -> impl Strategy<Value = String> {
        let names =
            ["a", "b", "ab", "*", "**", "a*", "a**", "?", "[ab]", "[!a]", "\\a", "\\*", "a\\"];
        let ends = ["", "/", " ", "/ ", "\\ ", "\r"];
        (select(&["", "/"][..]), vec(select(names.to_vec()), 1..4), select(ends.to_vec()))
            .prop_map(|(begin, names, end)| [begin, &names.join("/"), end].concat())
    }

    proptest! {
        // A directory above a match that nothing leads into is never walked, and the match is
        // missed. `a/ ` had no reach below other directories, though the blank does not count.
        #[test]
        fn an_include_leads_into_every_directory_above_what_it_matches(
            pattern in pattern(),
            names in vec(select(vec!["a", "b", "ab", "*", "a "]), 1..5),
            is_dir in any::<bool>(),
        ) {
            let includes = Includes::new(std::slice::from_ref(&pattern), &[]);
            let path = names.join("/");
            if includes.matching(path.as_bytes(), is_dir).is_some() {
                for (end, _) in path.match_indices('/') {
                    let dir = &path[..end];
                    prop_assert!(includes.leading_below(dir.as_bytes()).is_some(), "{dir:?}");
                }
            }
        }
    }
}
