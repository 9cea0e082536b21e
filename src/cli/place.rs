//! From a path as a person types it to a repo and a path inside it.
//!
//! The file itself need not be there any more. Links on the way are followed, a link at its end is
//! what is meant.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::exit::{Exit, failed};
use super::shell::Shell;
use crate::config::Config;
use crate::model::path::{RepoPath, write_escaped};
use crate::spool::{Reader, RepoInfo, open_read_only};

/// The spool as a command reads it: with or without an agent at work on it.
pub(super) struct Record {
    pub(super) reader: Reader,
    pub(super) repos: Vec<RepoInfo>,
}

impl Record {
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let reader = open_read_only(&config.spool.state_dir)?;
        let repos = reader.repos()?;
        Ok(Self { reader, repos })
    }

    /// The repo that holds `path`, and the path inside it.
    pub(super) fn locate(
        &self,
        shell: &Shell,
        path: &Path,
    ) -> anyhow::Result<(&RepoInfo, RepoPath)> {
        let repos = self.repos.iter().map(|repo| (repo, repo.root.as_path()));
        locate(shell, repos, path).ok_or_else(|| failed(Exit::NotFound, self.not_covered(path)))
    }

    /// The repos that a command without a path is about: the one by that name, or else all.
    pub(super) fn named(&self, name: Option<&str>) -> anyhow::Result<Vec<&RepoInfo>> {
        let Some(name) = name else { return Ok(self.repos.iter().collect()) };
        let repos: Vec<_> = self.repos.iter().filter(|repo| repo.name == name).collect();
        if repos.is_empty() {
            let text = format!("find the repo {name:?}: {}", self.there_are());
            return Err(failed(Exit::NotFound, text));
        }
        Ok(repos)
    }

    fn not_covered(&self, path: &Path) -> String {
        format!("find {} in a repo: {}", escaped(path.as_os_str()), self.there_are())
    }

    fn there_are(&self) -> String {
        if self.repos.is_empty() {
            return "the spool knows none yet; start `stampd run`".to_owned();
        }
        let list: Vec<_> = self
            .repos
            .iter()
            .map(|repo| format!("{} ({})", repo.name, escaped(repo.root.as_os_str())))
            .collect();
        format!("there are {}", list.join(", "))
    }
}

/// The repo, of those given with their roots, that holds `path` as typed, and the path inside it.
pub(super) fn locate<'r, R: Copy>(
    shell: &Shell,
    repos: impl Iterator<Item = (R, &'r Path)> + Clone,
    path: &Path,
) -> Option<(R, RepoPath)> {
    let absolute = clean(&shell.environment.directory().join(path));
    innermost(repos.clone(), &absolute).or_else(|| innermost(repos, &real(&absolute)))
}

/// The repo with the longest root that leads to `path`.
fn innermost<'r, R: Copy>(
    repos: impl Iterator<Item = (R, &'r Path)>,
    path: &Path,
) -> Option<(R, RepoPath)> {
    repos
        .flat_map(|(repo, root)| [(repo, root.to_owned()), (repo, real(root))])
        .filter_map(|(repo, root)| {
            let inside = path.strip_prefix(&root).ok()?;
            let inside = RepoPath::new(inside.as_os_str().as_bytes())?;
            Some((root.as_os_str().len(), repo, inside))
        })
        .max_by_key(|(length, ..)| *length)
        .map(|(_, repo, inside)| (repo, inside))
}

/// Without `.` and `..`, by spelling alone.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

/// With links on the way followed, as far as the way is there; never at its end.
fn real(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_owned();
    };
    let parent = std::fs::canonicalize(parent).unwrap_or_else(|_| real(parent));
    parent.join(name)
}

/// A name for a terminal.
pub(super) fn escaped(name: &OsStr) -> String {
    let mut text = String::new();
    write_escaped(&mut text, name.as_bytes()).expect("writing into a String cannot fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_go_and_links_on_the_way_are_followed_but_not_the_last() {
        assert_eq!(clean(Path::new("/a/./b/../c//d/")), Path::new("/a/c/d"));
        assert_eq!(clean(Path::new("/../..")), Path::new("/"));
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("real")).unwrap();
        std::os::unix::fs::symlink("real", base.join("link")).unwrap();
        std::os::unix::fs::symlink("gone", base.join("real/last")).unwrap();
        assert_eq!(real(&base.join("link/last")), base.join("real/last"));
        assert_eq!(real(&base.join("link/gone/x")), base.join("real/gone/x"));
    }
}
