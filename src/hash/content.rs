//! The bytes of an open file, once, from its beginning: read, or mapped window by window.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::retry_on_intr;

use super::mapped::{self, Window};
use super::{Digest, Shared, Stat};
use crate::runtime::rooted::{is_local, stat_fd};

/// How much is read at a time: what stays in the processor's cache between the copy and the hash.
const CHUNK_BYTES: usize = 256 * 1024;

thread_local! {
    /// Grows to what this thread's files needed, at most a chunk.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What came of reading.
pub(super) enum Content {
    /// As many bytes as were expected; whether they were one version is for the frame to say.
    Whole(Digest),
    /// Fewer or more bytes than expected, or a change seen on the way.
    Changed,
    /// `stop` was set.
    Stopped,
    /// A system call said no.
    Failed(io::Error),
}

/// Why a read ends early, told between two windows.
enum Break {
    Changed,
    Stopped,
}

impl From<Break> for Content {
    fn from(reason: Break) -> Self {
        match reason {
            Break::Changed => Self::Changed,
            Break::Stopped => Self::Stopped,
        }
    }
}

/// Lets one file at a time be mapped: two windows at once would break the bound on memory, and one
/// mapped file keeps every thread busy. Who finds it taken reads instead of waiting.
#[derive(Debug, Default)]
pub(super) struct Lane(AtomicBool);

impl Lane {
    pub(super) fn enter(&self) -> Option<InLane<'_>> {
        (!self.0.swap(true, Ordering::Acquire)).then_some(InLane(self))
    }
}

pub(super) struct InLane<'a>(&'a Lane);

impl Drop for InLane<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

impl Shared {
    /// Hashes the `seen.size` bytes of a file that was just opened.
    pub(super) fn content(&self, file: BorrowedFd<'_>, seen: &Stat, stop: &AtomicBool) -> Content {
        // A file that is to be read slowly gains nothing from all threads at once.
        if seen.size > self.config.mmap_threshold
            && self.budget.is_none()
            && let Some(_lane) = self.lane.enter()
            && is_local(file).unwrap_or(false)
            && let Some(content) = self.map(file, seen, stop)
        {
            return content;
        }
        BUFFER.with_borrow_mut(|buffer| self.read(file, seen, stop, buffer))
    }

    fn read(
        &self,
        file: BorrowedFd<'_>,
        seen: &Stat,
        stop: &AtomicBool,
        buffer: &mut Vec<u8>,
    ) -> Content {
        // One byte more than expected, so that growth shows without another read.
        let room = seen.size.saturating_add(1).min(CHUNK_BYTES as u64) as usize;
        if buffer.len() < room {
            buffer.resize(room.next_power_of_two().min(CHUNK_BYTES), 0);
        }
        let mut hasher = blake3::Hasher::new();
        let mut left = seen.size;
        loop {
            let want = left.saturating_add(1).min(buffer.len() as u64);
            if self.budget.as_ref().is_some_and(|budget| !budget.wait(want, stop)) {
                return Content::Stopped;
            }
            let got = match retry_on_intr(|| rustix::io::read(file, &mut buffer[..want as usize])) {
                Ok(got) => got as u64,
                Err(error) => return Content::Failed(error.into()),
            };
            if got > left || (got == 0 && left > 0) {
                return Content::Changed;
            }
            hasher.update(&buffer[..got as usize]);
            left -= got;
            if left == 0 {
                return Content::Whole(hasher.finalize().into());
            }
            if let Err(reason) = go_on(file, seen, stop) {
                return reason.into();
            }
        }
    }

    /// `None` when this file cannot be mapped, or not to its end: then it is read.
    fn map(&self, file: BorrowedFd<'_>, seen: &Stat, stop: &AtomicBool) -> Option<Content> {
        let mut hasher = blake3::Hasher::new();
        let mut offset = 0;
        while offset < seen.size {
            if offset > 0
                && let Err(reason) = go_on(file, seen, stop)
            {
                return Some(reason.into());
            }
            let length = self.config.window.max(1 << 20).min(seen.size - offset);
            let hash = |bytes: &[u8]| {
                self.pool.install(|| hasher.update_rayon(bytes));
            };
            match mapped::with_window(file, offset, length, hash) {
                Ok(Window::Whole) => offset += length,
                // Read instead: a truncation shows at once, and a failing disk gives its reason.
                Ok(Window::Faulted) => return None,
                Err(_) if offset == 0 => return None,
                Err(error) => return Some(Content::Failed(error)),
            }
        }
        Some(Content::Whole(hasher.finalize().into()))
    }
}

/// Looks up between two pieces of a large file whether it is worth going on.
fn go_on(file: BorrowedFd<'_>, seen: &Stat, stop: &AtomicBool) -> Result<(), Break> {
    if stop.load(Ordering::Relaxed) {
        return Err(Break::Stopped);
    }
    match stat_fd(file.as_fd()) {
        Ok(now) if seen.is_unchanged(&now) => Ok(()),
        // What cannot be looked up any more is for the frame to find out.
        Ok(_) | Err(_) => Err(Break::Changed),
    }
}
