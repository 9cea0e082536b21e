//! Examining: turns paths that may have changed into observations the spool can append.
//!
//! A batch is examined as a whole, so that a file that went and a file that appeared can be
//! recognised as one that was renamed. Hashing runs on the pool of the caller; nothing here waits
//! for the spool.

use std::os::fd::AsFd as _;
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use super::pair::{Side, Traits, pair};
use crate::hash::{Hasher, Outcome};
use crate::model::change::{Observation, Row, What};
use crate::model::path::RepoPath;
use crate::runtime::rooted::{Root, Stat};
use crate::runtime::time::Timestamp;

/// Files of one directory that one task opens that directory for.
const FILES_PER_TASK: usize = 32;

/// A path that may have changed.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The path.
    pub path: RepoPath,
    /// When the first hint of the change came.
    pub seen: Timestamp,
    /// What the disk said when it was last looked at, where that was just now: the first side of
    /// the frame around the read.
    pub stat: Option<Stat>,
    /// Whether the index has this very inode under this path: then it is no other file's new name.
    pub held: bool,
}

impl Candidate {
    /// Size in bytes when it was last looked at; decides how it is read, never what is recorded.
    pub fn size(&self) -> u64 {
        self.stat.map_or(0, |stat| stat.size)
    }

    /// Of a file that may be another one's new name.
    fn birth(&self) -> Option<Birth> {
        self.stat.filter(|_| !self.held).map(|stat| (stat.ino, stat.btime_ns))
    }
}

/// A path that is gone from the disk and has a row in the index.
#[derive(Clone, Debug)]
pub struct Gone {
    /// The path.
    pub path: RepoPath,
    /// What the index knows of it.
    pub row: Row,
    /// When the first hint of it came.
    pub seen: Timestamp,
}

impl Gone {
    /// Whether a file that appeared may be the one that was here: only reading it can tell.
    pub fn may_be(&self, appeared: &Candidate) -> bool {
        self.birth().is_some() && self.birth() == appeared.birth()
    }

    fn birth(&self) -> Option<Birth> {
        self.row.mark.map(|mark| (mark.ino, mark.btime_ns))
    }
}

/// Inode number and birth time, where the file system keeps one: what a file keeps when it is moved.
type Birth = (u64, Option<i64>);

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Examined {
    /// What the spool is to append.
    pub observations: Vec<Observation>,
    /// Paths whose change is younger than the clock can tell: to be examined again soon.
    pub again: Vec<Candidate>,
    /// Paths to be examined again with backoff: they kept changing, and are observed as such, or the
    /// machine stood in the way.
    pub later: Vec<Candidate>,
    /// Paths that turned out to be directories: to be walked.
    pub directories: Vec<RepoPath>,
}

/// What a batch is read with.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The repo's root.
    pub root: &'a Root,
    /// What reads files, on its own threads.
    pub hasher: &'a Hasher,
    /// Set when there is no time left: what was not read yet is left out. The index still holds its
    /// old state, so the next start finds it.
    pub stop: &'a AtomicBool,
}

impl Reading<'_> {
    /// Reads and hashes every candidate, recognises the renamed among them, and says of the rest of
    /// `gone` that it is deleted.
    pub fn examine(&self, gone: Vec<Gone>, candidates: Vec<Candidate>) -> Examined {
        let outcomes: Vec<Outcome> = self.hasher.pool().install(|| {
            candidates
                .par_chunk_by(|left, right| directory(&left.path) == directory(&right.path))
                .flat_map(|of_one_directory| of_one_directory.par_chunks(FILES_PER_TASK))
                .flat_map_iter(|chunk| self.hash_in_directory(chunk))
                .collect()
        });
        sum_up(gone, candidates, outcomes)
    }

    /// Hashes files that lie in one directory, which is opened once for them.
    fn hash_in_directory(&self, chunk: &[Candidate]) -> Vec<Outcome> {
        let parent = chunk.first().and_then(|first| first.path.parent());
        let parent = parent.unwrap_or_else(RepoPath::root);
        match self.root.open_dir(parent.as_bytes()) {
            Ok(dir) => chunk
                .iter()
                .map(|candidate| {
                    let (dir, name) = (dir.as_fd(), candidate.path.name());
                    match &candidate.stat {
                        Some(seen) => self.hasher.digest_seen(dir, name, seen, self.stop),
                        None => self.hasher.digest_at(dir, name, self.stop),
                    }
                })
                .collect(),
            // Each path's own lookup says why: only the hasher knows which errors are the machine's.
            Err(_) => chunk
                .iter()
                .map(|candidate| self.hasher.digest(self.root, &candidate.path, self.stop))
                .collect(),
        }
    }
}

/// Sorts out what became of the candidates, and finds the renamed among them.
fn sum_up(mut gone: Vec<Gone>, candidates: Vec<Candidate>, outcomes: Vec<Outcome>) -> Examined {
    let mut examined = Examined::default();
    let mut appeared = Vec::new();
    for (candidate, outcome) in candidates.into_iter().zip(outcomes) {
        sort_out(candidate, outcome, &mut examined, &mut appeared);
    }
    wait_together(&mut gone, &mut examined.again);
    settle_names(gone, appeared, &mut examined);
    examined
}

/// What a single file that was read elsewhere amounts to, given the path that it may have left.
pub fn judge(gone: Option<Gone>, candidate: Candidate, outcome: Outcome) -> Examined {
    sum_up(gone.into_iter().collect(), vec![candidate], vec![outcome])
}

/// A path that went waits for the file that may have been moved from it: said to be deleted now, it
/// could not be found to be renamed later.
fn wait_together(gone: &mut Vec<Gone>, again: &mut Vec<Candidate>) {
    let moving: rustc_hash::FxHashSet<_> = again.iter().filter_map(Candidate::birth).collect();
    if moving.is_empty() {
        return;
    }
    gone.retain(|old| {
        let waits = old.birth().is_some_and(|birth| moving.contains(&birth));
        if waits {
            let (path, seen) = (old.path.clone(), old.seen);
            again.push(Candidate { path, seen, stat: None, held: true });
        }
        !waits
    });
}

/// The bytes of the path before its last name.
fn directory(path: &RepoPath) -> &[u8] {
    let bytes = path.as_bytes();
    &bytes[..bytes.len() - path.name().len()]
}

fn sort_out(
    candidate: Candidate,
    outcome: Outcome,
    examined: &mut Examined,
    appeared: &mut Vec<Observation>,
) {
    let (path, seen) = (candidate.path.clone(), candidate.seen);
    let what = match outcome {
        Outcome::Digest { stat, digest, racy } => {
            let what = What::File { stat, digest, racy, from: None };
            let observation = Observation { path, seen, what };
            let files = if candidate.held { &mut examined.observations } else { appeared };
            return files.push(observation);
        }
        Outcome::TooFresh => return examined.again.push(candidate),
        Outcome::Directory(_) => return examined.directories.push(path),
        Outcome::Stopped => return,
        Outcome::Failed(error) => {
            tracing::warn!(%path, %error, "not read for now, trying again later");
            return examined.later.push(candidate);
        }
        Outcome::Unstable { stat } => {
            examined.later.push(candidate);
            What::Unstable { stat }
        }
        Outcome::Symlink { stat, target } => What::Symlink { stat, target },
        Outcome::Skipped { stat, reason } => What::Skipped { stat, reason },
        Outcome::Gone => What::Gone,
    };
    examined.observations.push(Observation { path, seen, what });
}

/// Gives renamed files their old names and reports the paths that are left as gone.
///
/// Deletes come last in the batch: the receiver of a rename sees the old name taken over before
/// anything says it is gone.
fn settle_names(gone: Vec<Gone>, mut appeared: Vec<Observation>, examined: &mut Examined) {
    if !gone.is_empty() {
        let old: Vec<Side> = gone.iter().filter_map(old_side).collect();
        let new: Vec<Side> = appeared.iter().filter_map(new_side).collect();
        for (observation, found) in appeared.iter_mut().zip(pair(&old, &new)) {
            if let What::File { from, .. } = &mut observation.what {
                *from = found;
            }
        }
    }
    let taken_over: rustc_hash::FxHashSet<RepoPath> = appeared
        .iter()
        .filter_map(|observation| match &observation.what {
            What::File { from, .. } => from.clone(),
            _ => None,
        })
        .collect();
    examined.observations.extend(appeared);
    let deleted = gone.into_iter().filter(|old| !taken_over.contains(&old.path));
    examined.observations.extend(deleted.map(|old| Observation {
        path: old.path,
        seen: old.seen,
        what: What::Gone,
    }));
}

fn old_side(gone: &Gone) -> Option<Side> {
    let (mark, digest) = (gone.row.mark?, gone.row.content()?);
    Some(Side {
        path: gone.path.clone(),
        traits: Traits {
            ino: mark.ino,
            btime_ns: mark.btime_ns,
            size: mark.size,
            mtime_ns: mark.mtime_ns,
            digest: Some(digest),
        },
    })
}

fn new_side(observation: &Observation) -> Option<Side> {
    let What::File { stat, digest, .. } = &observation.what else { return None };
    Some(Side {
        path: observation.path.clone(),
        traits: Traits {
            ino: stat.ino,
            btime_ns: stat.btime_ns,
            size: stat.size,
            mtime_ns: stat.mtime_ns,
            digest: Some(*digest),
        },
    })
}
