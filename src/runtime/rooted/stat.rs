//! What a name or a descriptor is: one lookup, no link followed, birth time where there is one.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType};
#[cfg(target_os = "linux")]
use rustix::io::Errno;
use rustix::path::Arg;

use super::resolve::check_name;
use crate::runtime::time::Timestamp;

/// The kinds of things that behave differently for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device: never opened.
    Special,
}

impl FileKind {
    /// `None` when the file system does not tell kinds in its listings.
    pub(super) fn from_type(kind: FileType) -> Option<Self> {
        match kind {
            FileType::RegularFile => Some(Self::File),
            FileType::Directory => Some(Self::Dir),
            FileType::Symlink => Some(Self::Symlink),
            FileType::Unknown => None,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => Some(Self::Special),
        }
    }
}

/// What a file is, as the kernel tells it. Times are nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stat {
    /// The device of this mount; not stable across mounts.
    pub dev: u64,
    /// The inode number.
    pub ino: u64,
    /// The kind of file.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// Space taken on disk, in units of 512 bytes.
    pub blocks: u64,
    /// Permission bits, 07777.
    pub mode: u32,
    /// How many names it has.
    pub nlink: u32,
    /// When its content changed last; anyone may set it.
    pub mtime_ns: i64,
    /// When its content or attributes changed last; only the kernel sets it.
    pub ctime_ns: i64,
    /// When it was made; `None` where the file system keeps none.
    pub btime_ns: Option<i64>,
}

impl Stat {
    /// Whether both are the same file, as long as one of them is held open or was just looked up.
    pub fn is_inode(&self, other: &Self) -> bool {
        self.ino == other.ino && self.dev == other.dev
    }

    /// Whether nothing has changed a regular file between two lookups, as far as its ctime tells.
    pub fn is_unchanged(&self, later: &Self) -> bool {
        self.is_inode(later)
            && self.kind == later.kind
            && self.size == later.size
            && self.mtime_ns == later.mtime_ns
            && self.ctime_ns == later.ctime_ns
    }
}

/// Looks up `name` in `dir`.
pub fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Stat> {
    check_name(name)?;
    stat_path(dir, name)
}

/// Looks up what is open.
pub fn stat_fd(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    #[cfg(target_os = "linux")]
    match statx(fd, c"", AtFlags::EMPTY_PATH) {
        Err(Errno::NOSYS) => {}
        found => return Ok(found?),
    }
    Ok(from_stat(&rustix::fs::fstat(fd)?))
}

/// Looks up any path from `dir`; the last component is not followed, the others are.
pub(super) fn stat_path<P: Arg + Copy>(dir: BorrowedFd<'_>, path: P) -> io::Result<Stat> {
    #[cfg(target_os = "linux")]
    match statx(dir, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
        Err(Errno::NOSYS) => {}
        found => return Ok(found?),
    }
    Ok(from_stat(&rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW)?))
}

#[cfg(target_os = "linux")]
fn statx<P: Arg>(dir: BorrowedFd<'_>, path: P, flags: AtFlags) -> rustix::io::Result<Stat> {
    use rustix::fs::{StatxFlags, StatxTimestamp};
    let nanos = |at: StatxTimestamp| Timestamp::from_stat(at.tv_sec, at.tv_nsec).as_nanos();
    let found = rustix::fs::statx(dir, path, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
    let mode = u32::from(found.stx_mode);
    Ok(Stat {
        dev: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
        ino: found.stx_ino,
        kind: kind_of(mode),
        size: found.stx_size,
        blocks: found.stx_blocks,
        mode: mode & 0o7777,
        nlink: found.stx_nlink,
        mtime_ns: nanos(found.stx_mtime),
        ctime_ns: nanos(found.stx_ctime),
        btime_ns: StatxFlags::from_bits_retain(found.stx_mask)
            .contains(StatxFlags::BTIME)
            .then(|| nanos(found.stx_btime)),
    })
}

/// For macOS, and for sandboxes in which `statx` is unknown.
#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    clippy::cast_lossless,
    reason = "the widths of these fields differ between platforms"
)]
fn from_stat(found: &rustix::fs::Stat) -> Stat {
    let nanos = |seconds: i64, nanos| Timestamp::from_stat(seconds, nanos).as_nanos();
    let mode = found.st_mode as u32;
    Stat {
        dev: found.st_dev as u64,
        ino: found.st_ino as u64,
        kind: kind_of(mode),
        size: found.st_size as u64,
        blocks: found.st_blocks as u64,
        mode: mode & 0o7777,
        nlink: found.st_nlink as u32,
        mtime_ns: nanos(found.st_mtime as i64, found.st_mtime_nsec as u32),
        ctime_ns: nanos(found.st_ctime as i64, found.st_ctime_nsec as u32),
        #[cfg(target_os = "macos")]
        btime_ns: Some(nanos(found.st_birthtime as i64, found.st_birthtime_nsec as u32)),
        #[cfg(not(target_os = "macos"))]
        btime_ns: None,
    }
}

fn kind_of(mode: u32) -> FileKind {
    FileKind::from_type(FileType::from_raw_mode(mode as rustix::fs::RawMode))
        .unwrap_or(FileKind::Special)
}

/// Whether an open file lies on a disk of this machine, in ordinary pages. Others may change a
/// remote one without our kernel knowing, or take as long as they like for a page: such files are
/// read, never mapped.
#[cfg(target_os = "linux")]
pub fn is_local(fd: BorrowedFd<'_>) -> io::Result<bool> {
    const OTHERS: [u32; 13] = [
        0x0000_6969, // NFS
        0x0000_517B, // SMB
        0xFF53_4D42, // CIFS
        0xFE53_4D42, // SMB2
        0x0102_1997, // 9p
        0x6573_5546, // FUSE
        0x00C3_6400, // Ceph
        0x5346_414F, // AFS
        0x6B41_4653, // kAFS
        0x7375_7245, // Coda
        0x7461_636F, // OCFS2
        0x0116_1970, // GFS2
        0x9584_58F6, // hugetlbfs: local, but its pages are not ours to replace
    ];
    Ok(!OTHERS.contains(&(rustix::fs::fstatfs(fd)?.f_type as u32)))
}

/// Whether an open file lies on a disk of this machine; see the Linux form.
#[cfg(not(target_os = "linux"))]
pub fn is_local(fd: BorrowedFd<'_>) -> io::Result<bool> {
    /// From `sys/mount.h`; the C library's names stay in the one module that needs it.
    const MNT_LOCAL: u32 = 0x1000;
    Ok(rustix::fs::fstatfs(fd)?.f_flags & MNT_LOCAL != 0)
}
