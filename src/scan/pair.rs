//! Pairing: which of the files that appeared is one of those that went, under another name.
//!
//! Pure. An inode number alone proves nothing (ext4 hands a freed one out at once), so a pair needs
//! the birth time as well, and then either the times and size or the digest. Where a file system
//! keeps no birth time, the digest decides, if it leaves exactly one candidate on each side.

use rustc_hash::FxHashMap;

use crate::model::digest::Digest;
use crate::model::path::RepoPath;

/// What tells one file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Inode number.
    pub ino: u64,
    /// Birth time in nanoseconds, where the file system keeps one.
    pub btime_ns: Option<i64>,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds.
    pub mtime_ns: i64,
    /// Digest, once it is known.
    pub digest: Option<Digest>,
}

/// A path on one side of a batch.
#[derive(Clone, Debug)]
pub struct Side {
    /// The path: the old one on the side that went, the new one on the side that appeared.
    pub path: RepoPath,
    /// What was there, or is there now.
    pub traits: Traits,
}

/// For every path in `appeared`, in order, the old path of the same file.
///
/// Each old path is given at most once. Cost: O(gone + appeared).
pub fn pair(gone: &[Side], appeared: &[Side]) -> Vec<Option<RepoPath>> {
    let mut free: Vec<bool> = vec![true; gone.len()];
    let mut found: Vec<Option<usize>> = by_birth(gone, appeared, &mut free);
    by_digest(gone, appeared, &mut free, &mut found);
    found.into_iter().map(|old| old.map(|index| gone[index].path.clone())).collect()
}

/// Same inode, same birth time, and the same times and size or the same bytes.
fn by_birth(gone: &[Side], appeared: &[Side], free: &mut [bool]) -> Vec<Option<usize>> {
    let births: FxHashMap<(u64, i64), usize> = gone
        .iter()
        .enumerate()
        .filter_map(|(index, old)| Some(((old.traits.ino, old.traits.btime_ns?), index)))
        .collect();
    let matching = |new: &Side| {
        let index = *births.get(&(new.traits.ino, new.traits.btime_ns?))?;
        let old = &gone[index].traits;
        let untouched = old.size == new.traits.size && old.mtime_ns == new.traits.mtime_ns;
        (untouched || same_bytes(old, &new.traits)).then_some(index)
    };
    appeared
        .iter()
        .map(|new| matching(new).filter(|&index| std::mem::take(&mut free[index])))
        .collect()
}

/// Without birth times: the same bytes, more than none, and no second candidate on either side.
fn by_digest(gone: &[Side], appeared: &[Side], free: &mut [bool], found: &mut [Option<usize>]) {
    let nameless = |side: &Side| side.traits.btime_ns.is_none() && side.traits.size > 0;
    let mut old_of: FxHashMap<Digest, Vec<usize>> = FxHashMap::default();
    for (index, old) in gone.iter().enumerate().filter(|&(index, old)| free[index] && nameless(old))
    {
        if let Some(digest) = old.traits.digest {
            old_of.entry(digest).or_default().push(index);
        }
    }
    let mut new_of: FxHashMap<Digest, Vec<usize>> = FxHashMap::default();
    for (index, new) in appeared.iter().enumerate() {
        if let Some(digest) = new.traits.digest
            && found[index].is_none()
            && nameless(new)
        {
            new_of.entry(digest).or_default().push(index);
        }
    }
    for (digest, new) in new_of {
        if let ([new], Some([old])) = (&new[..], old_of.get(&digest).map(Vec::as_slice)) {
            found[*new] = Some(*old);
            free[*old] = false;
        }
    }
}

fn same_bytes(old: &Traits, new: &Traits) -> bool {
    old.digest.is_some() && old.digest == new.digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(path: &str, ino: u64, btime_ns: Option<i64>, mtime_ns: i64, bytes: &str) -> Side {
        let traits = Traits {
            ino,
            btime_ns,
            size: bytes.len() as u64,
            mtime_ns,
            digest: Some(Digest::of(bytes.as_bytes())),
        };
        Side { path: RepoPath::new(path.as_bytes()).expect("a path"), traits }
    }

    fn check(gone: &[Side], appeared: &[Side], expected: &[Option<&str>]) {
        let found = pair(gone, appeared);
        let found: Vec<Option<String>> =
            found.iter().map(|old| old.as_ref().map(ToString::to_string)).collect();
        let found: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_moved_file_is_a_rename() {
        check(&[side("a", 7, Some(1), 5, "x")], &[side("b", 7, Some(1), 5, "x")], &[Some("a")]);
    }

    #[test]
    fn a_moved_file_that_was_written_before_it_was_hashed_is_not() {
        check(&[side("a", 7, Some(1), 5, "x")], &[side("b", 7, Some(1), 6, "yy")], &[None]);
    }

    #[test]
    fn a_moved_file_that_was_touched_is_a_rename_by_its_bytes() {
        check(&[side("a", 7, Some(1), 5, "x")], &[side("b", 7, Some(1), 6, "x")], &[Some("a")]);
    }

    #[test]
    fn an_inode_reused_is_not_a_rename() {
        // `rm a; echo x > b` got the same inode in 200 of 200 tries on ext4.
        check(&[side("a", 7, Some(1), 5, "x")], &[side("b", 7, Some(2), 6, "x")], &[None]);
    }

    #[test]
    fn without_birth_times_equal_bytes_decide_when_unambiguous() {
        check(&[side("a", 7, None, 5, "x")], &[side("b", 9, None, 6, "x")], &[Some("a")]);
        let twice = [side("b", 9, None, 6, "x"), side("c", 10, None, 6, "x")];
        check(&[side("a", 7, None, 5, "x")], &twice, &[None, None]);
        check(&[side("a", 7, None, 5, "")], &[side("b", 9, None, 6, "")], &[None]);
    }

    #[test]
    fn an_old_path_is_given_once() {
        // A hard link to the moved file appeared in the same batch.
        let appeared = [side("b", 7, Some(1), 5, "x"), side("c", 7, Some(1), 5, "x")];
        check(&[side("a", 7, Some(1), 5, "x")], &appeared, &[Some("a"), None]);
    }
}
