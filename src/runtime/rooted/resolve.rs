//! From a directory and a path to a descriptor, following no link and leaving no root.
//!
//! Two ways with one meaning: `openat2`, where the kernel resolves and refuses, and a walk that
//! opens one component after the other. Which of them a machine has is asked once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

/// How a path is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In one system call, by the kernel.
    #[cfg(target_os = "linux")]
    Openat2,
    /// Component by component.
    Walk,
}

/// A directory that is only passed through, so search permission is enough.
#[cfg(target_os = "linux")]
pub(super) const VIA: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
pub(super) const VIA: OFlags = super::DIR;

/// The kernel takes less than 4,096 bytes in one call; longer paths are resolved in chunks.
#[cfg(target_os = "linux")]
const CHUNK_BYTES_MAX: usize = 4_000;

#[cfg(target_os = "linux")]
impl Way {
    /// `openat2` where the kernel has it and no sandbox forbids it (old container runtimes answer
    /// EPERM to system calls they do not know).
    pub(super) fn available() -> Self {
        static AVAILABLE: std::sync::OnceLock<Way> = std::sync::OnceLock::new();
        *AVAILABLE.get_or_init(|| match open_chunk(rustix::fs::CWD, b".", VIA) {
            Err(Errno::NOSYS | Errno::PERM) => Self::Walk,
            Ok(_) | Err(_) => Self::Openat2,
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl Way {
    pub(super) fn available() -> Self {
        Self::Walk
    }
}

/// Opens a checked path below `base`; the empty path is `base` itself.
pub(super) fn open(
    way: Way,
    base: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> io::Result<OwnedFd> {
    if path.is_empty() {
        return Ok(retry_on_intr(|| rustix::fs::openat(base, c".", flags, Mode::empty()))?);
    }
    match way {
        #[cfg(target_os = "linux")]
        Way::Openat2 => open_in_chunks(base, path, flags),
        Way::Walk => walk(base, path, flags),
    }
}

#[cfg(target_os = "linux")]
fn open_in_chunks(base: BorrowedFd<'_>, mut path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let mut via: Option<OwnedFd> = None;
    loop {
        let at = via.as_ref().map_or(base, AsFd::as_fd);
        if path.len() <= CHUNK_BYTES_MAX {
            return Ok(open_chunk(at, path, flags)?);
        }
        let slash = path[..CHUNK_BYTES_MAX].iter().rposition(|&byte| byte == b'/');
        let (chunk, rest) = path.split_at(slash.ok_or(Errno::NAMETOOLONG)?);
        via = Some(open_chunk(at, chunk, VIA)?);
        path = &rest[1..];
    }
}

#[cfg(target_os = "linux")]
fn open_chunk(at: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let refuse = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    retry_on_intr(|| rustix::fs::openat2(at, path, flags, Mode::empty(), refuse))
}

/// Every component is opened by name in the directory that is held, with `NOFOLLOW`: there is no
/// moment at which a swapped link could lead elsewhere.
fn walk(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let mut via: Option<OwnedFd> = None;
    let mut names = path.split(|&byte| byte == b'/').peekable();
    while let Some(name) = names.next() {
        let at = via.as_ref().map_or(base, AsFd::as_fd);
        let flags = if names.peek().is_some() { VIA } else { flags };
        via = Some(retry_on_intr(|| rustix::fs::openat(at, name, flags, Mode::empty()))?);
    }
    Ok(via.expect("splitting gives at least one name"))
}

/// Refuses what could mean something outside the root, or nothing.
pub(super) fn check_path(path: &[u8]) -> io::Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    path.split(|&byte| byte == b'/').try_for_each(check_name)
}

/// Refuses what is not one name in a directory.
pub(super) fn check_name(name: &[u8]) -> io::Result<()> {
    let bad =
        matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, 0 | b'/'));
    if bad { Err(Errno::INVAL.into()) } else { Ok(()) }
}
