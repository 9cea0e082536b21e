//! What trusting a version would change: the keys, and the files it would newly hide.

use super::{Effective, Key, RepoFile, User};
use crate::model::path::RepoPath;
use crate::runtime::units::HumanSize;
use crate::watch::filter::Filter;

/// One key that trusting would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// What is trusted now, as it would be written; none when nothing is.
    pub before: Option<String>,
    /// What would be.
    pub after: Option<String>,
}

/// The keys in which `after` differs from what is trusted.
pub fn changes(before: &RepoFile, after: &RepoFile) -> Vec<Change> {
    let differs = |key: &Key| !key.agrees(before, after);
    let change =
        |key: Key| Change { key, before: written(key, before), after: written(key, after) };
    Key::ALL.into_iter().filter(differs).map(change).collect()
}

/// A key's value as TOML.
fn written(key: Key, file: &RepoFile) -> Option<String> {
    match key {
        Key::Name => file.name.as_ref().map(|name| format!("{name:?}")),
        Key::Exclude if file.exclude.is_empty() => None,
        Key::Exclude => Some(format!("{:?}", file.exclude)),
        Key::MaxFileSize => file.max_file_size.map(|size| format!("\"{}\"", HumanSize(size))),
    }
}

/// Which of `files` (each with its size in bytes) are covered now and would no longer be read:
/// excluded, or larger than the limit. `filter` is the filter in force, with every rule file.
pub fn newly_hidden(
    user: &User,
    filter: &Filter,
    before: &RepoFile,
    after: &RepoFile,
    files: impl Iterator<Item = (RepoPath, u64)>,
) -> Vec<RepoPath> {
    let with = |file: &RepoFile| {
        let mut effective = Effective::of_user(user);
        effective.take_trusted(file);
        effective
    };
    let (before, after) = (with(before), with(after));
    let then = filter.with_repo_exclude(&after.filter.repo_exclude);
    let visible = |filter: &Filter, path: &RepoPath| filter.ignored(path, false).is_visible();
    let mut hidden: Vec<RepoPath> = files
        .filter(|(path, size)| {
            let was = *size <= before.max_file_size && visible(filter, path);
            was && !(*size <= after.max_file_size && visible(&then, path))
        })
        .map(|(path, _)| path)
        .collect();
    hidden.sort_unstable();
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::policy::parse;
    use crate::settle;
    use crate::watch::filter::{Config, Tracked};

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text.as_bytes()).expect("a test path is well-formed")
    }

    #[test]
    fn names_the_keys_that_change_and_the_files_that_would_vanish() {
        let user = User {
            name: "app".to_owned(),
            settle: settle::Config::default(),
            exclude: vec!["mine/".to_owned()],
            include: Vec::new(),
            max_file_size: 1 << 30,
        };
        let before = parse(b"exclude = ['old/']").unwrap();
        let after = parse(b"exclude = ['old/', '*.key']\nmax_file_size = '1KiB'").unwrap();
        let told = changes(&before, &after);
        assert_eq!(
            told.iter().map(|change| change.key).collect::<Vec<_>>(),
            [Key::Exclude, Key::MaxFileSize]
        );
        assert_eq!(told[0].before.as_deref(), Some("[\"old/\"]"));
        assert_eq!((told[1].before.as_deref(), told[1].after.as_deref()), (None, Some("\"1KiB\"")));

        let config = Config {
            exclude: user.exclude.clone(),
            repo_exclude: before.exclude.clone(),
            ..Config::default()
        };
        let tracked: Tracked = ["kept.key"].iter().collect();
        let filter = Filter::new(&config, tracked);
        let sizes = [("a.key", 1), ("kept.key", 1), ("big", 2048), ("old/a.key", 1), ("mine/b", 1)];
        let files = sizes.into_iter().map(|(text, size)| (path(text), size));
        let hidden = newly_hidden(&user, &filter, &before, &after, files);
        assert_eq!(hidden, [path("a.key"), path("big")]);
    }
}
