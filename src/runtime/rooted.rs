//! File access below a root, by descriptor, which cannot leave that root.
//!
//! A repo is untrusted: a directory may turn into a symbolic link between two system calls, a name
//! may be a FIFO that blocks whoever opens it, a tree may be deeper than the longest path. So a
//! [`Root`] is held by descriptor, every path is resolved from it without following links, and no
//! open here can block.
//!
//! Promises: nothing outside the root is opened, listed or read, whoever rearranges the tree
//! meanwhile; names and paths may have any bytes and any length. What to open, and what a failure
//! means for a stamp, is left to the callers. A path is bytes relative to the root, `/` between
//! names, empty for the root itself.

mod list;
mod resolve;
mod stat;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

pub use self::list::{DirEntry, Listing, list};
pub use self::stat::{FileKind, Stat, is_local, stat_at, stat_fd};

use self::resolve::{Way, check_name, check_path};

/// Opens for reading without following a last symbolic link, waiting for a FIFO's writer, taking a
/// terminal, or leaking into a child.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens a directory so that it can be listed.
const DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory held open, and the only way to what lies below it.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: OwnedFd,
    identity: Identity,
    way: Way,
}

/// What tells one directory from another across mounts and restarts.
///
/// `st_dev` is not part of it: it is given anew at every mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The file system's own id; 0 where it has none.
    pub fsid: u64,
    /// The inode number.
    pub ino: u64,
    /// Birth time in nanoseconds since the epoch; `None` where the file system keeps none.
    pub btime_ns: Option<i64>,
}

/// What stands now where a root was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The directory that is held.
    Same,
    /// Nothing; the directory that is held was removed.
    Missing,
    /// Nothing; the directory that is held lives on under another path.
    Moved,
    /// Another directory of the same file system.
    Replaced,
    /// A directory of another file system: mounted over, or the mount below us went away.
    OtherFilesystem,
    /// A symbolic link.
    Symlink,
    /// Something else that is not a directory.
    NotADirectory,
    /// Unknown: the path cannot be looked up (permission, input or output error).
    Unreachable,
}

impl fmt::Display for Presence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Same => "is there",
            Self::Missing => "was removed; it is watched for",
            Self::Moved => "was moved away; it is watched for",
            Self::Replaced => "was replaced by another directory",
            Self::OtherFilesystem => "is on another file system now",
            Self::Symlink => "was replaced by a symbolic link; name the directory that it leads to",
            Self::NotADirectory => "is no directory any more; name the directory of the repo",
            Self::Unreachable => "cannot be looked at; give the agent's user read access",
        })
    }
}

impl Root {
    /// Opens the directory at `path`. Links on the way there are the user's own and are followed;
    /// the last component must be the directory itself.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_by(path, Way::available())
    }

    fn open_by(path: &Path, way: Way) -> io::Result<Self> {
        let dir = retry_on_intr(|| rustix::fs::openat(CWD, path, DIR, Mode::empty()))?;
        let identity = Identity::of(dir.as_fd())?;
        Ok(Self { path: path.to_owned(), dir, identity, way })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which directory it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Looks up what stands now at [`path`](Self::path). Never follows a link there.
    pub fn presence(&self) -> Presence {
        let Ok(held) = stat_fd(self.dir.as_fd()) else { return Presence::Unreachable };
        let there = match stat::stat_path(CWD, self.path.as_path()) {
            Ok(there) => there,
            Err(error) if is_absent(&error) && held.nlink == 0 => return Presence::Missing,
            Err(error) if is_absent(&error) => return Presence::Moved,
            Err(_) => return Presence::Unreachable,
        };
        match there.kind {
            FileKind::Symlink => Presence::Symlink,
            FileKind::File | FileKind::Special => Presence::NotADirectory,
            // An inode that is held open is not given to another file, so these two suffice.
            FileKind::Dir if there.is_inode(&held) => Presence::Same,
            FileKind::Dir if there.dev == held.dev => Presence::Replaced,
            FileKind::Dir => Presence::OtherFilesystem,
        }
    }

    /// Opens a directory for listing; the empty path is the root.
    pub fn open_dir(&self, path: &[u8]) -> io::Result<OwnedFd> {
        check_path(path)?;
        resolve::open(self.way, self.dir.as_fd(), path, DIR)
    }

    /// Opens anything for reading, without blocking. What it is, is for the caller to ask: of
    /// special files better before the open, since that alone can disturb whoever is at the other
    /// end of a FIFO.
    pub fn open_file(&self, path: &[u8]) -> io::Result<OwnedFd> {
        check_path(path)?;
        quietly(|flags| resolve::open(self.way, self.dir.as_fd(), path, flags))
    }

    /// Opens the directory that holds `path` and gives the last name beside it, for the functions
    /// of this module that end in `_at`. The root is in no directory that we hold: an error.
    pub fn open_parent<'a>(&'a self, path: &'a [u8]) -> io::Result<(Parent<'a>, &'a [u8])> {
        check_path(path)?;
        match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => {
                let dir = resolve::open(self.way, self.dir.as_fd(), &path[..slash], resolve::VIA)?;
                Ok((Parent::Below(dir), &path[slash + 1..]))
            }
            None if path.is_empty() => Err(Errno::INVAL.into()),
            None => Ok((Parent::Root(self.dir.as_fd()), path)),
        }
    }

    /// Looks up what `path` is, following no link.
    pub fn stat(&self, path: &[u8]) -> io::Result<Stat> {
        if path.is_empty() {
            return stat_fd(self.dir.as_fd());
        }
        let (dir, name) = self.open_parent(path)?;
        stat_at(dir.as_fd(), name)
    }

    /// Reads the text of a symbolic link.
    pub fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let (dir, name) = self.open_parent(path)?;
        read_link_at(dir.as_fd(), name)
    }

    /// Reads a whole regular file of at most `bytes_max`: a rule file, a config file.
    ///
    /// # Errors
    /// `InvalidInput` when it is not a regular file, `FileTooLarge` when it has more bytes.
    pub fn read_small(&self, path: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
        let (dir, name) = self.open_parent(path)?;
        read_small_at(dir.as_fd(), name, bytes_max)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Identity {
    /// Which directory an open one is.
    pub fn of(dir: BorrowedFd<'_>) -> io::Result<Self> {
        let stat = stat_fd(dir)?;
        let fsid = rustix::fs::fstatvfs(dir)?.f_fsid;
        Ok(Self { fsid, ino: stat.ino, btime_ns: stat.btime_ns })
    }
}

/// The directory that holds a path: the root's own descriptor, or one opened below it.
#[derive(Debug)]
pub enum Parent<'a> {
    /// The root itself, for a path of one name.
    Root(BorrowedFd<'a>),
    /// A directory below it.
    Below(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(dir) => *dir,
            Self::Below(dir) => dir.as_fd(),
        }
    }
}

/// Opens the directory `name` in `dir` for listing.
pub fn open_dir_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    check_name(name)?;
    Ok(retry_on_intr(|| rustix::fs::openat(dir, name, DIR, Mode::empty()))?)
}

/// Opens `name` in `dir` for reading, as [`Root::open_file`] does.
pub fn open_file_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    check_name(name)?;
    quietly(|flags| Ok(retry_on_intr(|| rustix::fs::openat(dir, name, flags, Mode::empty()))?))
}

/// Opens a file so that reading it leaves no access time behind: the first read after every change
/// would otherwise write to the disk. Only its owner may ask for that; others open it plainly.
fn quietly(open: impl Fn(OFlags) -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    match open(FILE | OFlags::NOATIME) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => {}
        opened => return opened,
    }
    open(FILE)
}

/// Reads the text of the symbolic link `name` in `dir`.
pub fn read_link_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    check_name(name)?;
    Ok(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes())
}

/// Reads the whole regular file `name` in `dir`, as [`Root::read_small`] does.
pub fn read_small_at(dir: BorrowedFd<'_>, name: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
    // Looked up before it is opened, so that a FIFO's writer never notices; again after, since it
    // may have become one.
    let regular = |stat: Stat| match stat.kind {
        FileKind::File => Ok(stat.size),
        FileKind::Dir | FileKind::Symlink | FileKind::Special => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
        }
    };
    regular(stat_at(dir, name)?)?;
    let file = open_file_at(dir, name)?;
    let size = regular(stat_fd(file.as_fd())?)?;
    let mut bytes = Vec::with_capacity(size.min(bytes_max) as usize + 1);
    File::from(file).take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {bytes_max} bytes"),
        ));
    }
    Ok(bytes)
}

/// Whether an error says that a path leads to nothing now: no such name, or a component that is a
/// file or a link where a directory was. Anything else (permission, a failing disk) says nothing
/// about whether the file exists.
pub fn is_absent(error: &io::Error) -> bool {
    Errno::from_io_error(error)
        .is_some_and(|errno| matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Both ways must agree, and only one of them is what this machine would choose.
    fn both_ways(check: impl Fn(&Root, &Path)) {
        for way in [Way::available(), Way::Walk] {
            let scratch = tempfile::tempdir().expect("scratch directory");
            let root = Root::open_by(scratch.path(), way).expect("opens");
            check(&root, scratch.path());
        }
    }

    #[test]
    fn opens_lists_and_reads_below_the_root() {
        both_ways(|root, path| {
            std::fs::create_dir_all(path.join("a/b")).unwrap();
            std::fs::write(path.join("a/b/c"), "text").unwrap();
            symlink("b/c", path.join("a/link")).unwrap();
            assert_eq!(root.read_small(b"a/b/c", 4).unwrap(), b"text");
            assert_eq!(root.read_link(b"a/link").unwrap(), b"b/c");
            assert_eq!(root.stat(b"a/link").unwrap().kind, FileKind::Symlink);
            assert_eq!(root.stat(b"").unwrap().kind, FileKind::Dir);
            let names = |path: &[u8]| -> Vec<_> {
                let dir = root.open_dir(path).unwrap();
                let mut names: Vec<_> =
                    list(dir.as_fd()).unwrap().iter().map(|entry| entry.name.to_vec()).collect();
                names.sort();
                names
            };
            assert_eq!(names(b""), [b"a".to_vec()]);
            assert_eq!(names(b"a"), [b"b".to_vec(), b"link".to_vec()]);
        });
    }

    #[test]
    fn no_link_is_followed_wherever_it_stands() {
        let outside = tempfile::tempdir().expect("scratch directory");
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        both_ways(|root, path| {
            symlink(outside.path(), path.join("dir")).unwrap();
            symlink(outside.path().join("secret"), path.join("file")).unwrap();
            symlink(".", path.join("self")).unwrap();
            std::fs::write(path.join("own"), "own").unwrap();
            for out in ["dir/secret", "file", "self/own", "self/self/own"] {
                let error = root.open_file(out.as_bytes()).expect_err(out);
                assert!(is_absent(&error), "{out}: {error}");
                root.read_small(out.as_bytes(), 100).expect_err(out);
            }
            for out in ["dir", "self"] {
                assert!(is_absent(&root.open_dir(out.as_bytes()).expect_err(out)));
            }
            root.stat(b"dir/secret").expect_err("stat through a link");
            root.read_link(b"self/file").expect_err("readlink through a link");
        });
    }

    #[test]
    fn paths_that_are_no_paths_below_a_root_are_refused() {
        both_ways(|root, _| {
            for bad in ["/etc", "..", "a/../..", "a/./b", ".", "a//b", "a/", "a\0b"] {
                let error = root.open_file(bad.as_bytes()).expect_err(bad);
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
                let dir = root.as_fd();
                stat_at(dir, bad.as_bytes()).expect_err(bad);
                open_file_at(dir, bad.as_bytes()).expect_err(bad);
            }
        });
    }

    #[test]
    fn small_reads_are_bounded_and_regular_only() {
        both_ways(|root, path| {
            std::fs::write(path.join("five"), "12345").unwrap();
            let kind = |path: &str, bytes_max| {
                root.read_small(path.as_bytes(), bytes_max).expect_err(path).kind()
            };
            assert_eq!(kind("five", 4), io::ErrorKind::FileTooLarge);
            assert_eq!(root.read_small(b"five", 5).unwrap(), b"12345");
            std::fs::create_dir(path.join("dir")).unwrap();
            assert_eq!(kind("dir", 4), io::ErrorKind::InvalidInput);
            assert_eq!(kind("none", 4), io::ErrorKind::NotFound);
        });
    }
}
