//! What files have to do with each other, as far as their paths tell: what lies together, and what
//! tests or documents what.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::query::{extension_of, name_of, stem_of};
use super::words::Ranked;

/// Patterns of one answer.
const PATTERNS_MAX: usize = 10;

/// Relationships of one answer.
const RELATIONSHIPS_MAX: usize = 20;

/// Extensions of what people read.
const PROSE: [&[u8]; 4] = [b"md", b"rst", b"txt", b"adoc"];

/// Two files that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Relationship<'a> {
    /// The one that is about the other.
    pub source: Ranked<'a>,
    /// The other.
    pub target: Ranked<'a>,
    /// How.
    pub kind: &'static str,
}

/// Where several of the files lie together, the most frequent first: `src/api/*.rs (12 files)`.
pub fn patterns(files: &[Ranked<'_>]) -> Vec<String> {
    let mut groups: BTreeMap<(usize, &[u8], &[u8]), usize> = BTreeMap::new();
    for file in files {
        let name = name_of(file.path);
        let directory = &file.path[..file.path.len() - name.len()];
        let extension = extension_of(name).unwrap_or_default();
        *groups.entry((file.repo, directory, extension)).or_default() += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().filter(|&(_, files)| files > 1).collect();
    groups.sort_by_key(|&(_, files)| Reverse(files));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let pattern = |((_, directory, extension), files): (_, usize)| {
        let ending = if <[u8]>::is_empty(extension) {
            String::new()
        } else {
            format!(".{}", text(extension))
        };
        format!("{}*{ending} ({files} files)", text(directory))
    };
    groups.into_iter().take(PATTERNS_MAX).map(pattern).collect()
}

/// The pairs among the files that share a name, but for what says that one is a test.
pub fn relationships<'a>(files: &[Ranked<'a>]) -> Vec<Relationship<'a>> {
    let mut groups: BTreeMap<(usize, Vec<u8>), Vec<Ranked<'a>>> = BTreeMap::new();
    for file in files {
        let (stem, _) = subject(file.path);
        groups.entry((file.repo, stem.to_ascii_lowercase())).or_default().push(*file);
    }
    let mut relationships = Vec::new();
    for group in groups.into_values().filter(|group| group.len() > 1) {
        let is_code = |file: &&Ranked<'_>| !subject(file.path).1 && !is_prose(file.path);
        let target = *group.iter().find(is_code).unwrap_or(&group[0]);
        let others = group.into_iter().filter(|file| file.path != target.path);
        relationships.extend(others.map(|source| {
            let kind = match subject(source.path) {
                (_, true) => "tests",
                _ if is_prose(source.path) => "documents",
                _ => "shares_name",
            };
            Relationship { source, target, kind }
        }));
    }
    relationships.truncate(RELATIONSHIPS_MAX);
    relationships
}

/// What a file is about by its name, and whether it is a test of that.
fn subject(path: &[u8]) -> (&[u8], bool) {
    let stem = stem_of(name_of(path));
    let endings: [&[u8]; 5] = [b"_test", b"_tests", b".test", b".spec", b"_spec"];
    let tested = stem
        .strip_prefix(b"test_")
        .or_else(|| endings.iter().find_map(|ending| stem.strip_suffix(*ending)));
    tested.map_or((stem, false), |stem| (stem, true))
}

fn is_prose(path: &[u8]) -> bool {
    extension_of(name_of(path)).is_some_and(|extension| PROSE.contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onextree::catalog::File;

    fn ranked(paths: &[&'static str]) -> Vec<Ranked<'static>> {
        let file = File { size: 1, is_link: false };
        let ranked =
            |path: &&'static str| Ranked { repo: 0, path: path.as_bytes(), file, score: 1.0 };
        paths.iter().map(ranked).collect()
    }

    #[test]
    fn what_lies_together_is_a_pattern() {
        let files = ranked(&["a/x.rs", "a/y.rs", "a/z.md", "b.rs", "Makefile", "LICENSE"]);
        assert_eq!(patterns(&files), ["* (2 files)", "a/*.rs (2 files)"]);
    }

    #[test]
    fn tests_and_prose_are_about_what_has_their_name() {
        let files =
            ranked(&["docs/auth.md", "src/auth.rs", "tests/test_auth.py", "auth.spec.ts", "b"]);
        let told: Vec<_> = relationships(&files)
            .into_iter()
            .map(|one| {
                let text = |path| String::from_utf8_lossy(path).into_owned();
                format!("{} {} {}", text(one.source.path), one.kind, text(one.target.path))
            })
            .collect();
        assert_eq!(
            told,
            [
                "docs/auth.md documents src/auth.rs",
                "tests/test_auth.py tests src/auth.rs",
                "auth.spec.ts tests src/auth.rs"
            ]
        );
    }
}
