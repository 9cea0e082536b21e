//! Git's own files, read by hand: where its directory is, where HEAD stands, what it tracks.
//!
//! Git is never run: its config can name programs. Promises: what is read is bounded in size, read
//! without following links, and validated before anyone sees it; a repo can lead us out of its
//! root only to a directory that itself points back to it, as that of a linked worktree does.
//! What cannot be read for certain (reftable, a broken HEAD) is unknown and no error.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::index;
use crate::model::path::RepoPath;
use crate::model::stamp::Git;
use crate::runtime::rooted::{FileKind, Root, Stat};
use crate::watch::filter::{RULE_FILE_BYTES_MAX, Tracked};

/// Files of one line: `.git`, `HEAD`, `commondir`, a loose ref.
const LINE_BYTES_MAX: u64 = 4096;
const PACKED_REFS_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How many symbolic refs in a row are followed.
const REF_HOPS_MAX: usize = 5;

/// The git directory of a repo. Holds where it is; every look reads anew.
#[derive(Debug)]
pub struct GitDir {
    /// What belongs to this worktree: HEAD, the index.
    own: Place,
    /// What its worktrees share: refs, `info/exclude`.
    common: Place,
    common_path: PathBuf,
}

/// A directory within the repo, or one of its own.
#[derive(Debug)]
enum Place {
    Within(RepoPath),
    Outside(Root),
}

/// What tells one version of the index from another: git replaces the file at each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexLook {
    ino: u64,
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
}

impl GitDir {
    /// Finds the git directory of the repo at `root`, if it has one that may be followed.
    pub fn find(root: &Root) -> Option<Self> {
        match root.stat(b".git").ok()?.kind {
            FileKind::Dir => Self::within(root, RepoPath::root().join(b".git")),
            FileKind::File => {
                let text = root.read_small(b".git", LINE_BYTES_MAX).ok()?;
                let target = root.path().join(path_in(text.strip_prefix(b"gitdir:")?)?);
                match within(root, &target) {
                    Some(path) => Self::within(root, path),
                    None => Self::outside(root, &target),
                }
            }
            FileKind::Symlink | FileKind::Special => None,
        }
    }

    fn within(root: &Root, own: RepoPath) -> Option<Self> {
        let place = Place::Within(own.clone());
        let common = match place.line(root, b"commondir") {
            Some(text) => within(root, &absolute(root, &own).join(path_in(&text)?))?,
            None => own,
        };
        let common_path = std::fs::canonicalize(absolute(root, &common)).ok()?;
        Some(Self { own: place, common: Place::Within(common), common_path })
    }

    /// A linked worktree: git keeps `<common>/worktrees/<name>` for it, with a `gitdir` file that
    /// names the worktree's `.git`. A repo could write neither, so it cannot send us elsewhere.
    fn outside(root: &Root, target: &Path) -> Option<Self> {
        let own_path = std::fs::canonicalize(target).ok()?;
        let own = Place::Outside(Root::open(&own_path).ok()?);
        let back = own_path.join(path_in(&own.line(root, b"gitdir")?)?);
        let back_to = Root::open(back.parent()?).ok()?;
        if back.file_name()? != ".git" || back_to.identity() != root.identity() {
            return None;
        }
        let common_path = own_path.join(path_in(&own.line(root, b"commondir")?)?);
        let common_path = std::fs::canonicalize(common_path).ok()?;
        if own_path.parent() != Some(&common_path.join("worktrees")) {
            return None;
        }
        let common = Place::Outside(Root::open(&common_path).ok()?);
        Some(Self { own, common, common_path })
    }

    /// The directory that all worktrees of the repository share.
    pub fn common_path(&self) -> &Path {
        &self.common_path
    }

    /// Where HEAD stands; `None` when that is unknown.
    pub fn standing(&self, root: &Root) -> Option<Git> {
        let head = self.own.line(root, b"HEAD")?;
        let Some(name) = head.strip_prefix(b"ref:").map(<[u8]>::trim_ascii) else {
            return Some(Git { head: Some(object_id(&head)?), branch: None });
        };
        // With reftable, refs are in tables and HEAD holds this name so that old readers fail.
        if name == b"refs/heads/.invalid" || !is_ref_name(name) {
            return None;
        }
        let branch = String::from_utf8(name.strip_prefix(b"refs/heads/")?.to_vec()).ok()?;
        Some(Git { head: self.resolve(root, name), branch: Some(branch) })
    }

    /// What git tracks.
    ///
    /// # Errors
    /// When there is an index that cannot be read or understood. Nothing then says what is tracked,
    /// so whoever has an earlier answer should keep it.
    pub fn tracked(&self, root: &Root) -> io::Result<Tracked> {
        let read = |name: &[u8]| {
            let bytes = self.own.read(root, name, index::INDEX_BYTES_MAX)?;
            index::parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        };
        let own = match read(b"index") {
            Ok(own) => own,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tracked::default()),
            Err(error) => return Err(error),
        };
        let mut tracked = own.tracked;
        if let Some(hash) = own.shared {
            tracked.merge(read(format!("sharedindex.{hash}").as_bytes())?.tracked);
        }
        Ok(tracked)
    }

    /// What the index looks like from outside; `None` when there is none. Another look means that
    /// [`tracked`](Self::tracked) has to be asked again.
    pub fn index_look(&self, root: &Root) -> Option<IndexLook> {
        let stat = match &self.own {
            Place::Within(dir) => root.stat(dir.join(b"index").as_bytes()),
            Place::Outside(dir) => dir.stat(b"index"),
        };
        let Stat { ino, size, mtime_ns, ctime_ns, .. } = stat.ok()?;
        Some(IndexLook { ino, size, mtime_ns, ctime_ns })
    }

    /// The text of `info/exclude`; empty when there is none that can be read.
    pub fn info_exclude(&self, root: &Root) -> Vec<u8> {
        self.common.read(root, b"info/exclude", RULE_FILE_BYTES_MAX).unwrap_or_default()
    }

    /// The commit that a ref leads to: through loose refs, then `packed-refs`.
    fn resolve(&self, root: &Root, name: &[u8]) -> Option<String> {
        let mut name = name.to_vec();
        for _ in 0..REF_HOPS_MAX {
            let Some(text) = self.place_of(&name).line(root, &name) else {
                return self.packed(root, &name);
            };
            let Some(next) = text.strip_prefix(b"ref:").map(<[u8]>::trim_ascii) else {
                return object_id(&text);
            };
            if !is_ref_name(next) {
                return None;
            }
            name = next.to_vec();
        }
        None
    }

    /// Some refs belong to one worktree, all others to the repository.
    fn place_of(&self, name: &[u8]) -> &Place {
        let of_worktree: [&[u8]; 3] = [b"refs/bisect/", b"refs/worktree/", b"refs/rewritten/"];
        if of_worktree.iter().any(|prefix| name.starts_with(prefix)) {
            &self.own
        } else {
            &self.common
        }
    }

    fn packed(&self, root: &Root, name: &[u8]) -> Option<String> {
        let packed = self.common.read(root, b"packed-refs", PACKED_REFS_BYTES_MAX).ok()?;
        packed.split(|&byte| byte == b'\n').find_map(|line| {
            let id = line.strip_suffix(name)?.strip_suffix(b" ")?;
            object_id(id)
        })
    }
}

impl Place {
    fn read(&self, root: &Root, name: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::Within(dir) => {
                let path = [dir.as_bytes(), b"/", name].concat();
                root.read_small(&path, bytes_max)
            }
            Self::Outside(dir) => dir.read_small(name, bytes_max),
        }
    }

    /// Reads a file of one line, without the white space around it.
    fn line(&self, root: &Root, name: &[u8]) -> Option<Vec<u8>> {
        let text = self.read(root, name, LINE_BYTES_MAX).ok()?;
        Some(text.trim_ascii().to_vec())
    }
}

/// The path in a file of git's that holds one.
fn path_in(text: &[u8]) -> Option<PathBuf> {
    let text = text.trim_ascii();
    (!text.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(text)))
}

fn absolute(root: &Root, path: &RepoPath) -> PathBuf {
    root.path().join(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

/// The path in the repo that `path` names, by its text alone; opening it follows no link, so the
/// text cannot lie.
fn within(root: &Root, path: &Path) -> Option<RepoPath> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                plain.push(component);
            }
        }
    }
    let below = plain.strip_prefix(root.path()).ok()?.as_os_str().as_bytes();
    RepoPath::new(below).filter(|path| !path.is_root())
}

/// A commit's id in lower-case hexadecimal, SHA-1 or SHA-256.
fn object_id(text: &[u8]) -> Option<String> {
    let digits = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let text = std::str::from_utf8(text).ok()?;
    (digits && matches!(text.len(), 40 | 64)).then(|| text.to_owned())
}

/// Whether the name of a ref can be looked up and shown: what git allows, as far as it matters.
fn is_ref_name(name: &[u8]) -> bool {
    name.starts_with(b"refs/")
        && RepoPath::new(name).is_some()
        && !name.iter().any(|&byte| byte.is_ascii_control() || b" ~^:?*[\\".contains(&byte))
}
