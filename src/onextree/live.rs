//! The catalogs, kept in step with the spool: before a question is answered, what became durable
//! since the last one is taken over.
//!
//! So there is no timer, no work while nobody asks, and no answer that lags. Questions are worked on
//! beside the requests' threads, a few at a time.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::Semaphore;

use super::catalog::{Catalog, File};
use super::counts::Counts;
use super::{Repo, Repos};
use crate::api::{Code, Problem};
use crate::model::change::State;
use crate::model::path::RepoPath;
use crate::runtime::chain::chain;
use crate::spool::{Listed, Reached, Reader, SpoolError};

/// Stamps that are followed one by one; behind more, the whole index is read anew.
const STAMPS_MAX: u64 = 10_000;

/// Questions that are worked on at a time.
const SEATS: usize = 4;

/// The catalogs of all repos.
pub(super) struct Live {
    repos: Repos,
    /// As many as there were repos at the last question; written by whoever asks.
    shelves: Mutex<Vec<Shelf>>,
    reader: Mutex<Reader>,
    seats: Arc<Semaphore>,
    counts: Counts,
}

/// A repo with its catalog; clones share the catalog.
#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) repo: Repo,
    /// Written by whoever finds it behind; read by every question.
    kept: Arc<RwLock<Kept>>,
}

#[derive(Default)]
struct Kept {
    catalog: Catalog,
    /// How far it follows the log; none before it was first read.
    reached: Option<Reached>,
}

/// A catalog, held still.
pub(super) struct Held<'a>(RwLockReadGuard<'a, Kept>);

impl std::ops::Deref for Held<'_> {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.0.catalog
    }
}

impl Live {
    pub(super) fn new(repos: Repos, reader: Reader, counts: &Counts) -> Self {
        Self {
            repos,
            shelves: Mutex::default(),
            reader: Mutex::new(reader),
            seats: Arc::new(Semaphore::new(SEATS)),
            counts: counts.clone(),
        }
    }

    /// Answers from what is durable now.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        answer: impl FnOnce(&[Shelf]) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let seat = Arc::clone(&self.seats).acquire_owned().await;
        let seat = seat.expect("the seats are never closed");
        let live = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || {
            // Held to the end of the work, also when the client has left.
            let _seat = seat;
            let shelves = live.arrange();
            live.follow(&shelves).map_err(|error| unreadable(&error))?;
            answer(&shelves)
        });
        match asked.await {
            Ok(answer) => answer,
            // It is never aborted, so it panicked: as it would have done here.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The repos that there are now, with the catalogs of those that were there before.
    fn arrange(&self) -> Vec<Shelf> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = |repo: Repo| {
            let before = shelves.iter().find(|shelf| shelf.repo.id == repo.id);
            let kept = before.map(|shelf| Arc::clone(&shelf.kept)).unwrap_or_default();
            Shelf { repo, kept }
        };
        let now: Vec<Shelf> = (self.repos)().into_iter().map(shelf).collect();
        shelves.clone_from(&now);
        now
    }

    fn follow(&self, shelves: &[Shelf]) -> Result<(), SpoolError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        for shelf in shelves {
            let reached = shelf.read().reached;
            let news = match reached {
                Some(reached) => reader.list_since(shelf.repo.id, reached, STAMPS_MAX)?,
                None => None,
            };
            match news {
                Some((now, _)) if Some(now) == reached => continue,
                Some((now, changes)) => shelf.change(now, changes),
                None => {
                    shelf.load(&reader)?;
                    self.counts.loads.inc();
                }
            }
            self.counts.files.of([&shelf.repo.name]).set(shelf.files());
        }
        Ok(())
    }
}

impl Shelf {
    /// Its catalog.
    pub(super) fn held(&self) -> Held<'_> {
        Held(self.read())
    }

    /// Whether it is this repo that a caller names, by its root or its name.
    pub(super) fn is(&self, project: &str) -> bool {
        // Compared as written: to resolve a caller's path would tell what is there.
        self.repo.name == project || self.repo.root == Path::new(project)
    }

    /// How many files it has, as a gauge holds it.
    fn files(&self) -> f64 {
        f64::from(u32::try_from(self.held().len()).unwrap_or(u32::MAX))
    }

    fn load(&self, reader: &Reader) -> Result<(), SpoolError> {
        let mut catalog = Catalog::default();
        let reached =
            reader.list(self.repo.id, |path, listed| catalog.push(path, file_of(listed)))?;
        *self.write() = Kept { catalog, reached: Some(reached) };
        Ok(())
    }

    fn change(&self, reached: Reached, changes: Vec<(RepoPath, Option<Listed>)>) {
        let mut kept = self.write();
        for (path, listed) in changes {
            kept.catalog.set(path, listed.map(file_of));
        }
        kept.reached = Some(reached);
    }

    fn read(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Kept> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_of(listed: Listed) -> File {
    File { size: listed.size, is_link: listed.state == State::Symlink }
}

fn unreadable(error: &SpoolError) -> Problem {
    tracing::warn!(error = %chain(error), "failed to answer a question from the index");
    Problem::new(Code::DatabaseUnavailable, "the index cannot be read just now: ask again later")
}
