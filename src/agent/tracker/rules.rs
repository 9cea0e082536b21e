//! Rules: what the repo says of itself, and what follows when it says something else.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Tracker;
use crate::model::change::{Observation, What};
use crate::model::path::RepoPath;
use crate::model::stamp::SkipReason;
use crate::repo::policy::FILE_NAME;
use crate::repo::{self, Reading};
use crate::runtime::rooted;
use crate::spool::SpoolError;
use crate::watch::filter::{self, DirRules, RULE_FILE_BYTES_MAX, RULE_FILE_NAMES};

impl Tracker {
    /// Reads all that the repo says of itself and puts in force what counts of it. Other rules than
    /// before act on what is there already.
    pub(super) fn reread_repo(&mut self) -> Result<(), SpoolError> {
        if self.read_repo() { self.re_evaluate(&RepoPath::root()) } else { Ok(()) }
    }

    /// Reads and puts in force, and tells whether the rules are others than before: whoever does not
    /// compare everything next must let them act.
    pub(super) fn read_repo(&mut self) -> bool {
        let Some(sight) = &self.sight else { return false };
        let parts = &self.parts;
        let reading = repo::read(&sight.root, &parts.user, &parts.trust, Some(&self.git.tracked));
        self.git.index = reading.git.as_ref().and_then(|git| git.index_look(&sight.root));
        self.apply(reading)
    }

    fn apply(&mut self, reading: Reading) -> bool {
        let Some(sight) = &mut self.sight else { return false };
        reading.rebase(&mut sight.filter);
        self.git.context = reading.git.as_ref().and_then(|git| git.standing(&sight.root));
        self.git.dir = reading.git;
        self.git.tracked = Arc::clone(&reading.tracked);
        let effective = reading.decision.effective;
        self.repo_file_reason = reading.decision.reason;
        self.settle.set_settle(effective.settle.settle);
        self.parts.hasher = self.parts.hasher.limited_to(effective.max_file_size);
        let other_rules = effective.filter != self.effective.filter;
        self.effective = effective;
        self.set_context();
        other_rules
    }

    /// Stamps from here on carry the name, the labels and git's standing as they are now.
    fn set_context(&mut self) {
        let (name, labels) = (self.effective.name.clone(), self.effective.labels.clone());
        // The receipt only says that the writer lives, and the next append says that too.
        drop(self.parts.repo.set_context(name, labels, self.git.context.clone()));
    }

    /// Looks where git stands, so that the stamps to come say so.
    pub(super) fn follow_git(&mut self) -> Result<(), SpoolError> {
        let (Some(sight), Some(git)) = (&self.sight, &self.git.dir) else { return Ok(()) };
        if git.index_look(&sight.root) != self.git.index {
            return self.reread_repo();
        }
        let context = git.standing(&sight.root);
        if context != self.git.context {
            self.git.context = context;
            self.set_context();
        }
        Ok(())
    }

    /// Puts edited rule files in force.
    pub(super) fn apply_rule_files(&mut self, edited: Vec<RepoPath>) -> Result<(), SpoolError> {
        let mut directories = BTreeSet::new();
        for path in edited {
            if path.as_bytes() == FILE_NAME.as_bytes() {
                self.reread_repo()?;
            }
            directories.extend(path.parent().filter(|_| filter::is_rule_file(&path)));
        }
        for directory in directories {
            self.read_rule_files(&directory);
            self.re_evaluate(&directory)?;
        }
        Ok(())
    }

    fn read_rule_files(&mut self, directory: &RepoPath) {
        let Some(sight) = &mut self.sight else { return };
        let read = |name: &'static [u8]| {
            let path = directory.join(name);
            let text = sight.root.read_small(path.as_bytes(), RULE_FILE_BYTES_MAX).ok()?;
            Some((name, text))
        };
        let files: Vec<_> = RULE_FILE_NAMES.into_iter().filter_map(read).collect();
        let files: Vec<(&[u8], &[u8])> =
            files.iter().map(|(name, text)| (*name, text.as_slice())).collect();
        let rules = DirRules::parse(directory, &files);
        sight.filter.set_dir(directory, rules);
    }

    /// Applies changed rules below a directory: what they hide is skipped, not deleted, and no longer
    /// watched; what they show is found by a walk.
    fn re_evaluate(&mut self, directory: &RepoPath) -> Result<(), SpoolError> {
        self.await_durable()?;
        let rows = self.parts.reader.rows_within(self.parts.repo.id(), directory)?;
        let Some(sight) = &self.sight else { return Ok(()) };
        let seen = self.parts.clock.now();
        let mut observations = Vec::new();
        for (path, _) in rows {
            if sight.filter.ignored(&path, false).is_visible() {
                continue;
            }
            // One that is gone as well has its event on the way.
            let stat = match sight.root.stat(path.as_bytes()) {
                Err(error) if rooted::is_absent(&error) => continue,
                stat => stat.ok(),
            };
            sight.disarm_ignored_above(&path);
            let what = What::Skipped { stat, reason: SkipReason::Ignored };
            observations.push(Observation { path, seen, what });
        }
        self.append(observations);
        self.walks.add_subtrees([directory.clone()]);
        Ok(())
    }
}

impl super::root::Sight {
    /// Watches are never spent on ignored directories.
    fn disarm_ignored_above(&self, path: &RepoPath) {
        let ignored = path
            .ancestors()
            .take_while(|up| !up.is_root() && !self.filter.ignored(up, true).is_visible())
            .last();
        if let Some(directory) = ignored.filter(|directory| self.watch.holds(directory)) {
            self.watch.disarm(&directory);
        }
    }
}
