//! The set of paths that git tracks, small enough to hold for every repo.

use std::hash::Hasher as _;

use rustc_hash::{FxHashSet, FxHasher};

use crate::model::path::RepoPath;

/// The paths in a git index and the directories above them.
///
/// Holds hashes only, 8 bytes a path. Two paths of one hash could make an ignored file visible,
/// never a tracked one ignored; so a collision, even a crafted one, hides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    paths: FxHashSet<u64>,
    above: FxHashSet<u64>,
}

impl Tracked {
    /// Whether nothing is tracked.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// How many paths are tracked.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether git tracks this very path.
    pub fn contains(&self, path: &RepoPath) -> bool {
        self.has(path.as_bytes(), false)
    }

    /// Whether git tracks the path or, of a directory, something below it.
    pub(super) fn has(&self, path: &[u8], is_dir: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let key = key(path);
        self.paths.contains(&key) || (is_dir && self.above.contains(&key))
    }

    /// Adds all that another set holds.
    pub fn merge(&mut self, other: Self) {
        self.paths.extend(other.paths);
        self.above.extend(other.above);
    }

    /// Adds one path.
    pub fn insert(&mut self, path: &[u8]) {
        self.paths.insert(key(path));
        let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
        for (end, _) in slashes.rev() {
            // An index is sorted, so the directories above are nearly always there already.
            if !self.above.insert(key(&path[..end])) {
                break;
            }
        }
    }
}

impl<P: AsRef<[u8]>> FromIterator<P> for Tracked {
    fn from_iter<I: IntoIterator<Item = P>>(paths: I) -> Self {
        let mut tracked = Self::default();
        paths.into_iter().for_each(|path| tracked.insert(path.as_ref()));
        tracked
    }
}

fn key(path: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(path);
    hasher.finish()
}
