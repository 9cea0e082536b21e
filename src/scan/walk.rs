//! Walking: arm, list, compare; a step at a time, so that the caller can attend to events between.
//!
//! A directory is opened, armed through the open descriptor and only then listed: whatever is made
//! in it later raises an event, whatever was made before is in the list. Nothing is read by path,
//! so a directory that is swapped for a link meanwhile leads nowhere.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rayon::prelude::*;
use rustc_hash::FxHashSet;

use crate::model::path::RepoPath;
use crate::repo::policy::INCLUDE_DIRS_MAX;
use crate::runtime::rooted::{self, FileKind, Listing, Root, Stat};
use crate::spool::{self, Known};
use crate::watch::filter::{self, DirFilter, DirRules, Filter, RULE_FILE_BYTES_MAX, Verdict};

/// Directories that are looked at before their children come into the frontier. Few, so that the
/// walk keeps close to path order: the index is a tree in path order, and a page of it is then
/// changed once, not over and over (a first scan wrote four times as much with 256).
const DIRS_AT_ONCE: usize = 32;

/// As many while nothing differs: then order is nothing, and each few costs a wait for the last.
const DIRS_AT_ONCE_QUIET: usize = 512;

/// Directories that one thread holds open at a time, each a descriptor; mostly siblings, and what is
/// armed together shares the check of their parent.
const HANDFUL_MAX: usize = 16;

/// One step ends at so many directories or differences, whichever comes first.
const DIRS_PER_STEP: usize = 1_024;
const DIFFERENCES_PER_STEP: usize = 2_048;

/// What a walk compares with.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The repo's root.
    pub root: &'a Root,
    /// The index's keys.
    pub known: &'a Known,
    /// The device that the root is on now.
    pub dev: u64,
    /// Whether other file systems below the root are left out.
    pub one_filesystem: bool,
    /// Whether other git repositories below the root are covered too.
    pub nested: bool,
}

/// A walk in progress.
#[derive(Debug)]
pub struct Walk {
    starts: Vec<RepoPath>,
    /// Directories to come; the last is next, so that the walk goes down before it goes on and the
    /// frontier stays small.
    frontier: Vec<DirFilter>,
    /// Index keys of what was met, to tell in the end what was not.
    met: FxHashSet<u64>,
    totals: Totals,
    /// Directories that are visible only for the sake of the repo's own `include`.
    budgeted: usize,
    dirs_at_once: usize,
}

/// What a walk has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Directories listed.
    pub directories: u64,
    /// Entries that are no directories and not excluded.
    pub entries: u64,
    /// Entries that rules, nesting or another file system keep out.
    pub excluded: u64,
    /// Directories that could not be read.
    pub unreadable: u64,
}

/// A path whose stat is not the one the index has.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The path.
    pub path: RepoPath,
    /// What the disk says now.
    pub stat: Stat,
}

/// What one step found.
#[derive(Debug, Default)]
pub struct Step {
    /// Differences, those of one directory together.
    pub differences: Vec<Difference>,
    /// Directories that are there but could not be opened or listed.
    pub unreadable: Vec<RepoPath>,
    /// Directories that turned out to be other repositories: to be disarmed.
    pub nested: Vec<RepoPath>,
}

struct Listed<'a> {
    /// With the rule files of the directory as they were just read.
    view: DirFilter,
    fd: &'a OwnedFd,
    listing: Listing,
    rules: DirRules,
}

/// What a directory turned out to be.
enum Look {
    /// There, but not to be opened or listed; or gone.
    Unopened(io::Error),
    /// On a file system that is left out.
    Elsewhere,
    /// Another repository.
    Nested,
    /// One of ours, with its rules.
    Compared { rules: DirRules, compared: Compared },
}

/// What the comparison of one directory yields.
#[derive(Default)]
struct Compared {
    differences: Vec<Difference>,
    directories: Vec<DirFilter>,
    met: Vec<u64>,
    entries: u64,
    excluded: u64,
}

impl Walk {
    /// Begins a walk of `starts`, none of which lies in another, and everything below them.
    pub fn new(starts: Vec<RepoPath>, filter: &Filter) -> Self {
        Self {
            frontier: starts.iter().map(|start| filter.dir(start)).collect(),
            starts,
            met: FxHashSet::default(),
            totals: Totals::default(),
            budgeted: 0,
            dirs_at_once: DIRS_AT_ONCE,
        }
    }

    /// Where the walk began.
    pub fn starts(&self) -> &[RepoPath] {
        &self.starts
    }

    /// Whether the walk is of the whole repo.
    pub fn covers_everything(&self) -> bool {
        self.starts.iter().any(RepoPath::is_root)
    }

    /// Whether every directory has been compared.
    pub fn is_done(&self) -> bool {
        self.frontier.is_empty()
    }

    /// What was counted so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether the walk met the path with this index key.
    pub fn has_met(&self, key: u64) -> bool {
        self.met.contains(&key)
    }

    /// Compares up to `dirs_max` directories (at most 1,024). `arm` is called with each few that
    /// are open, before any of them is listed. Rule files met on the way go into `filter`.
    pub fn step(
        &mut self,
        ground: &Ground<'_>,
        filter: &mut Filter,
        dirs_max: usize,
        arm: impl Fn(&[(&RepoPath, &OwnedFd)]) + Sync,
    ) -> Step {
        if self.met.is_empty() && self.covers_everything() {
            self.met.reserve(ground.known.len());
        }
        let mut step = Step::default();
        let mut left = dirs_max.clamp(1, DIRS_PER_STEP);
        while left > 0 && !self.is_done() && step.differences.len() < DIFFERENCES_PER_STEP {
            let from = self.frontier.len().saturating_sub(left.min(self.dirs_at_once));
            let taken = self.frontier.split_off(from);
            left -= taken.len();
            self.compare_few(ground, filter, &taken, &arm, &mut step);
        }
        step
    }

    fn compare_few(
        &mut self,
        ground: &Ground<'_>,
        filter: &mut Filter,
        taken: &[DirFilter],
        arm: &(impl Fn(&[(&RepoPath, &OwnedFd)]) + Sync),
        step: &mut Step,
    ) {
        let hands = 4 * rayon::current_num_threads();
        let handful = taken.len().div_ceil(hands).min(HANDFUL_MAX);
        let looks: Vec<Vec<Look>> =
            taken.par_chunks(handful).map(|dirs| look_at(ground, dirs, arm)).collect();
        let from = step.differences.len();
        for (view, look) in taken.iter().zip(looks.into_iter().flatten()) {
            match look {
                Look::Elsewhere => self.totals.excluded += 1,
                Look::Nested => {
                    self.totals.excluded += 1;
                    step.nested.push(view.dir().clone());
                }
                Look::Compared { rules, compared } => {
                    filter.set_dir(view.dir(), rules);
                    self.take_in(compared, step);
                }
                Look::Unopened(error) => self.note_unopened(view.dir(), &error, step),
            }
        }
        let found = &mut step.differences[from..];
        found.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        self.dirs_at_once = if found.is_empty() { DIRS_AT_ONCE_QUIET } else { DIRS_AT_ONCE };
    }

    /// A directory that went, or was swapped for something else, is its parent's next event; one
    /// that is there and shut is a gap in what we see.
    fn note_unopened(&mut self, path: &RepoPath, error: &io::Error, step: &mut Step) {
        if !rooted::is_absent(error) {
            self.totals.unreadable += 1;
            step.unreadable.push(path.clone());
        }
    }

    fn take_in(&mut self, part: Compared, step: &mut Step) {
        self.totals.directories += 1;
        self.totals.entries += part.entries;
        self.totals.excluded += part.excluded;
        self.met.extend(part.met);
        step.differences.extend(part.differences);
        for dir in part.directories {
            if !dir.is_budgeted() {
                self.frontier.push(dir);
            } else if self.budgeted < INCLUDE_DIRS_MAX {
                self.budgeted += 1;
                self.frontier.push(dir);
            } else {
                self.totals.excluded += 1;
            }
        }
    }
}

/// Opens a few directories, has them armed and only then lists and compares each.
fn look_at(
    ground: &Ground<'_>,
    dirs: &[DirFilter],
    arm: &impl Fn(&[(&RepoPath, &OwnedFd)]),
) -> Vec<Look> {
    let opened: Vec<_> = dirs.iter().map(|view| open(ground, view.dir())).collect();
    let targets: Vec<_> = dirs
        .iter()
        .zip(&opened)
        .filter_map(|(view, fd)| Some((view.dir(), fd.as_ref().ok()?.as_ref()?)))
        .collect();
    arm(&targets);
    let looks = dirs.iter().zip(opened).map(|(view, opened)| match opened {
        Ok(Some(fd)) => look(ground, view, &fd).unwrap_or_else(Look::Unopened),
        Ok(None) => Look::Elsewhere,
        Err(error) => Look::Unopened(error),
    });
    looks.collect()
}

/// Opens a directory; none when it lies on a file system that is left out.
fn open(ground: &Ground<'_>, path: &RepoPath) -> io::Result<Option<OwnedFd>> {
    let fd = ground.root.open_dir(path.as_bytes())?;
    let elsewhere = ground.one_filesystem && rooted::stat_fd(fd.as_fd())?.dev != ground.dev;
    Ok((!elsewhere).then_some(fd))
}

fn look(ground: &Ground<'_>, view: &DirFilter, fd: &OwnedFd) -> io::Result<Look> {
    let listed = list_with_rules(view, fd)?;
    if !ground.nested && is_nested(&listed) {
        return Ok(Look::Nested);
    }
    let compared = compare(ground, &listed);
    Ok(Look::Compared { rules: listed.rules, compared })
}

fn list_with_rules<'a>(view: &DirFilter, fd: &'a OwnedFd) -> io::Result<Listed<'a>> {
    let listing = rooted::list(fd.as_fd())?;
    let mut files = Vec::new();
    if view.reads_rules() {
        for name in filter::RULE_FILE_NAMES {
            if listing.iter().any(|entry| entry.name == name) {
                // A rule file that cannot be read excludes nothing: what it would hide is stamped.
                let text = rooted::read_small_at(fd.as_fd(), name, RULE_FILE_BYTES_MAX);
                files.extend(text.ok().map(|text| (name, text)));
            }
        }
    }
    let files: Vec<(&[u8], &[u8])> = files.iter().map(|(name, text)| (*name, &text[..])).collect();
    let rules = DirRules::parse(view.dir(), &files);
    Ok(Listed { view: view.clone().with_rules(rules.clone()), fd, listing, rules })
}

fn is_nested(dir: &Listed<'_>) -> bool {
    filter::is_nested(dir.view.dir(), dir.listing.iter().map(|entry| entry.name))
}

/// Compares the entries of one directory with the index.
fn compare(ground: &Ground<'_>, dir: &Listed<'_>) -> Compared {
    let mut compared = Compared::default();
    let mut files = Vec::with_capacity(dir.listing.len());
    for entry in dir.listing.iter() {
        let name = entry.name;
        let stat = match entry.kind {
            Some(FileKind::Dir) => None,
            // An entry that went between the list and the stat has its event on the way.
            _ => match rooted::stat_at(dir.fd.as_fd(), name) {
                Ok(stat) => Some(stat),
                Err(_) => continue,
            },
        };
        let file = stat.filter(|stat| stat.kind != FileKind::Dir);
        match dir.view.check(name, file.is_none()) {
            Verdict::Visible(_) => {}
            // Git's own files are nobody's content: they do not count as left out.
            Verdict::Git => continue,
            Verdict::Ignored(_) | Verdict::Nested => {
                compared.excluded += 1;
                continue;
            }
        }
        match file {
            Some(stat) => files.push((name, stat)),
            None => compared.directories.push(dir.view.enter(name)),
        }
    }
    compare_files(ground.known, dir.view.dir(), &files, &mut compared);
    // The last is walked first.
    compared.directories.sort_unstable_by(|left, right| right.dir().cmp(left.dir()));
    compared
}

fn compare_files(known: &Known, dir: &RepoPath, files: &[(&[u8], Stat)], compared: &mut Compared) {
    compared.entries = files.len() as u64;
    compared.met.reserve(files.len());
    let glance = known.glance();
    let mut path = dir.below();
    for (name, stat) in files {
        let key = known.key_of(path.join(name));
        compared.met.push(key);
        match glance.check(key, stat) {
            spool::Look::Same => {}
            spool::Look::Differs | spool::Look::New => {
                compared.differences.push(Difference { path: dir.join(name), stat: *stat });
            }
        }
    }
}
