//! The frame around a read: one version of the file, or none.
//!
//! A lookup by name comes first, then the open, the read, and a lookup by descriptor. When both
//! lookups name the same inode with the same size, mtime and ctime, and the clock that stamps
//! ctimes had moved past that ctime before the read began, then nothing wrote to the file while it
//! was read: such a write would have moved the ctime. Writes through a shared mapping move none
//! until they reach the disk; the scrub finds those.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{ClockId, clock_getres, clock_gettime};

use super::content::Content;
use super::{Config, Outcome, Shared};
use crate::model::stamp::SkipReason;
use crate::runtime::rooted::{
    FileKind, Stat, is_absent, open_file_at, read_link_at, stat_at, stat_fd,
};
use crate::runtime::time::Timestamp;

/// The clock that the kernel takes ctimes from: it moves once per tick.
#[cfg(target_os = "linux")]
const STAMPING_CLOCK: ClockId = ClockId::RealtimeCoarse;
#[cfg(not(target_os = "linux"))]
const STAMPING_CLOCK: ClockId = ClockId::Realtime;

/// The least we take one tick to be, whatever the clock says of itself.
const GRANULE_MIN: Duration = Duration::from_millis(1);

/// Of file systems that count in seconds, or pairs of them (FAT).
const WHOLE_SECONDS_GRANULE: Duration = Duration::from_secs(2);

/// A ctime so far ahead was stamped by another clock: waiting for ours to pass it may take years.
const FUTURE: Duration = Duration::from_secs(1);

/// Before the second attempt; doubled before each further one. Longer than a tick, so that a file
/// which changed once is no longer too fresh.
const BACKOFF: Duration = Duration::from_millis(12);

/// Holes in smaller files cost less to read than to talk about, and small files may live inside
/// their inode.
const SPARSE_BYTES_MIN: u64 = 1 << 20;

/// How a ctime stands to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// A change from now on moves it.
    Settled,
    /// A change in this very tick would not move it.
    Fresh,
    /// It tells nothing.
    Future,
}

/// What came of one attempt.
enum Attempt {
    Done(Outcome),
    TooFresh,
    Changed(Stat),
}

impl Shared {
    /// Attempts until the frame holds, the file is found not to be for hashing, or it changed too
    /// often.
    pub(super) fn digest(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        seen: &Stat,
        max_file_size: u64,
        stop: &AtomicBool,
    ) -> Outcome {
        let mut seen = *seen;
        for attempt in 1..=self.config.attempts.max(1) {
            if attempt > 1 {
                std::thread::sleep(BACKOFF * (1 << (attempt - 2).min(8)));
                seen = match stat_at(dir, name) {
                    Ok(seen) => seen,
                    Err(error) => return refused(None, error),
                };
            }
            if stop.load(Ordering::Relaxed) {
                return Outcome::Stopped;
            }
            if let Some(reason) = unwanted(&self.config, max_file_size, &seen) {
                return skipped(&seen, reason);
            }
            match self.attempt(dir, name, &seen, stop) {
                Attempt::Done(outcome) => return outcome,
                Attempt::TooFresh if attempt == 1 => return Outcome::TooFresh,
                Attempt::TooFresh => {}
                Attempt::Changed(now) => seen = now,
            }
        }
        Outcome::Unstable { stat: seen }
    }

    fn attempt(&self, dir: BorrowedFd<'_>, name: &[u8], seen: &Stat, stop: &AtomicBool) -> Attempt {
        match seen.kind {
            FileKind::File => {}
            FileKind::Dir => return Attempt::Done(Outcome::Directory(*seen)),
            FileKind::Symlink => return link(dir, name, seen),
            FileKind::Special => return Attempt::Done(skipped(seen, SkipReason::Special)),
        }
        // Asked before the open: from here on a write moves the ctime, unless it lies ahead of us.
        let racy = match age(seen.ctime_ns) {
            Age::Settled => false,
            Age::Fresh => return Attempt::TooFresh,
            Age::Future => true,
        };
        let file = match open_file_at(dir, name) {
            Ok(file) => file,
            // It became a link since it was looked up.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
                return Attempt::Changed(*seen);
            }
            Err(error) => return Attempt::Done(refused(Some(*seen), error)),
        };
        let content = self.content(file.as_fd(), seen, stop);
        let stat = match stat_fd(file.as_fd()) {
            Ok(stat) => stat,
            Err(error) => return Attempt::Done(refused(Some(*seen), error)),
        };
        match content {
            Content::Stopped => Attempt::Done(Outcome::Stopped),
            Content::Changed => Attempt::Changed(stat),
            _ if !seen.is_unchanged(&stat) => Attempt::Changed(stat),
            Content::Whole(digest) => Attempt::Done(Outcome::Digest { stat, digest, racy }),
            Content::Failed(error) => Attempt::Done(refused(Some(stat), error)),
        }
    }
}

/// Links are replaced, never rewritten: the same inode has the same text.
fn link(dir: BorrowedFd<'_>, name: &[u8], seen: &Stat) -> Attempt {
    let target = match read_link_at(dir, name) {
        Ok(target) => target,
        // It became something else since it was looked up.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            return Attempt::Changed(*seen);
        }
        Err(error) => return Attempt::Done(refused(Some(*seen), error)),
    };
    match stat_at(dir, name) {
        Ok(stat) if seen.is_unchanged(&stat) => Attempt::Done(Outcome::Symlink { stat, target }),
        Ok(stat) => Attempt::Changed(stat),
        Err(error) => Attempt::Done(refused(None, error)),
    }
}

/// Why a regular file is not worth reading.
fn unwanted(config: &Config, max_file_size: u64, seen: &Stat) -> Option<SkipReason> {
    if seen.kind != FileKind::File {
        return None;
    }
    let on_disk = seen.blocks.saturating_mul(512);
    let sparse = config.sparse_ratio > 0
        && seen.size >= SPARSE_BYTES_MIN
        && on_disk.saturating_mul(config.sparse_ratio) < seen.size;
    // Sparse first: of a file that is both, this is what explains its size.
    if sparse {
        Some(SkipReason::Sparse)
    } else if seen.size > max_file_size {
        Some(SkipReason::TooLarge)
    } else {
        None
    }
}

fn skipped(seen: &Stat, reason: SkipReason) -> Outcome {
    Outcome::Skipped { stat: Some(*seen), reason }
}

/// What a system call's refusal says of the file.
pub(super) fn refused(stat: Option<Stat>, error: io::Error) -> Outcome {
    if is_absent(&error) {
        return Outcome::Gone;
    }
    match Errno::from_io_error(&error) {
        // Sockets cannot be opened, and some devices have nobody behind them.
        Some(Errno::NXIO | Errno::NODEV | Errno::OPNOTSUPP) => {
            Outcome::Skipped { stat, reason: SkipReason::Special }
        }
        Some(
            Errno::MFILE
            | Errno::NFILE
            | Errno::NOMEM
            | Errno::AGAIN
            | Errno::STALE
            | Errno::TXTBSY,
        ) => Outcome::Failed(error),
        // Permission denied, a failing disk, a broken file system, a missing key.
        _ => Outcome::Skipped { stat, reason: SkipReason::Unreadable },
    }
}

/// How far apart two changes must be to have different ctimes for certain.
pub fn granule() -> Duration {
    static GRANULE: OnceLock<Duration> = OnceLock::new();
    *GRANULE.get_or_init(|| {
        let tick = clock_getres(STAMPING_CLOCK);
        Duration::try_from(tick).unwrap_or(GRANULE_MIN).max(GRANULE_MIN)
    })
}

fn age(ctime_ns: i64) -> Age {
    let now = clock_gettime(STAMPING_CLOCK);
    age_at(ctime_ns, Timestamp::from_stat(now.tv_sec, now.tv_nsec as u32), granule())
}

/// `now` is the clock that ctimes are taken from.
fn age_at(ctime_ns: i64, now: Timestamp, granule: Duration) -> Age {
    let ctime = Timestamp::from_nanos(ctime_ns);
    let granule = if ctime_ns % 1_000_000_000 == 0 { WHOLE_SECONDS_GRANULE } else { granule };
    if now.since(ctime) > granule {
        Age::Settled
    } else if ctime.since(now) > FUTURE {
        Age::Future
    } else {
        Age::Fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_told_by_the_clock_that_stamps() {
        const MS: i64 = 1_000_000;
        let check = |ctime_ms: i64, expected| {
            let now = Timestamp::from_nanos(1_000_000 * MS + 1);
            let granule = Duration::from_millis(4);
            assert_eq!(age_at(ctime_ms * MS + 1, now, granule), expected, "{ctime_ms} ms");
        };
        check(0, Age::Settled);
        check(999_995, Age::Settled);
        check(999_996, Age::Fresh);
        check(1_000_000, Age::Fresh);
        check(1_001_000, Age::Fresh);
        check(1_001_001, Age::Future);
    }

    #[test]
    fn a_file_system_that_counts_in_seconds_is_given_two() {
        const S: i64 = 1_000_000_000;
        let now = Timestamp::from_nanos(100 * S + 1);
        assert_eq!(age_at(98 * S, now, Duration::from_millis(4)), Age::Settled);
        assert_eq!(age_at(99 * S, now, Duration::from_millis(4)), Age::Fresh);
        assert_eq!(age_at(99 * S + 1, now, Duration::from_millis(4)), Age::Settled);
    }

    #[test]
    fn the_reason_for_not_reading_is_the_one_that_explains_most() {
        let check = |size: u64, blocks: u64, expected| {
            let seen = Stat {
                dev: 1,
                ino: 1,
                kind: FileKind::File,
                size,
                blocks,
                mode: 0o644,
                nlink: 1,
                mtime_ns: 0,
                ctime_ns: 0,
                btime_ns: None,
            };
            let found = unwanted(&Config::default(), 4 << 30, &seen);
            assert_eq!(found, expected, "{size} in {blocks}");
        };
        check(4 << 30, (4 << 30) / 512, None);
        check((4 << 30) + 1, (4 << 30) / 512, Some(SkipReason::TooLarge));
        check(1 << 40, 8, Some(SkipReason::Sparse));
        check(64 << 20, (1 << 20) / 512, None);
        check(64 << 20, (1 << 20) / 512 - 1, Some(SkipReason::Sparse));
        check(1 << 20, 0, Some(SkipReason::Sparse));
        check((1 << 20) - 1, 0, None);
    }

    #[test]
    fn only_what_says_so_is_gone() {
        let check = |errno: Errno| refused(None, errno.into());
        for errno in [Errno::NOENT, Errno::NOTDIR, Errno::LOOP] {
            assert!(matches!(check(errno), Outcome::Gone), "{errno}");
        }
        for errno in [Errno::ACCESS, Errno::PERM, Errno::IO] {
            let reason = SkipReason::Unreadable;
            assert!(matches!(check(errno), Outcome::Skipped { reason: r, .. } if r == reason));
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            assert!(matches!(check(errno), Outcome::Failed(_)), "{errno}");
        }
    }
}
