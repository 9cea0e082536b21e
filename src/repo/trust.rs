//! Trust: the versions of `.stampd.toml` that a person pinned, and the last good ones.
//!
//! One small file per subject under `trust` in the state directory, 0600 in a 0700 directory. A pin
//! holds the very bytes that were trusted, so nothing the repo does later can change what is in
//! force. A subject is a git repository (by its common directory, so that one decision counts for
//! all its worktrees) or, without git, a root. The last good version belongs to one root.
//!
//! Promises: a write is whole or did not happen (`runtime::whole`); a file that is damaged or speaks of
//! another subject is an error, never trust.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::git::GitDir;
use super::policy::FILE_BYTES_MAX;
use crate::model::digest::Digest;
use crate::runtime::rooted::Root;
use crate::runtime::whole;

/// The first line of a file of ours, before the subject's path, a NUL and a line feed.
const HEADER: &[u8] = b"stampd trust v1 ";
const HEADER_BYTES_MAX: u64 = 8 * 1024;

/// What a pin is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(PathBuf);

/// The pins under one state directory.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// What is kept for a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Pin,
    Good,
}

/// Trust could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file system refuses.
    #[error("keep trust in {}; make the directory writable for you alone", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is not one of ours.
    #[error("read {}: it is damaged; run `stampd trust` again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl Subject {
    /// The subject of a root: its git repository, or else the root itself.
    pub fn of(root: &Root, git: Option<&GitDir>) -> Self {
        git.map_or_else(|| Self::root(root), |git| Self(git.common_path().to_owned()))
    }

    /// The root itself.
    pub fn root(root: &Root) -> Self {
        let path = root.path();
        Self(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    }

    /// The path by which it is known.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Store {
    /// The pins under a state directory. Nothing is touched yet.
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("trust") }
    }

    /// The bytes that a person trusted.
    ///
    /// # Errors
    /// When there is a pin that cannot be read: nothing of it is in force then.
    pub fn load(&self, subject: &Subject) -> Result<Option<Vec<u8>>, TrustError> {
        self.read(subject, Part::Pin)
    }

    /// Trusts exactly these bytes from now on.
    pub fn pin(&self, subject: &Subject, bytes: &[u8]) -> Result<(), TrustError> {
        self.write(subject, Part::Pin, bytes)
    }

    /// Takes trust back; returns whether there was any.
    pub fn revoke(&self, subject: &Subject) -> Result<bool, TrustError> {
        self.remove(subject, Part::Pin)
    }

    /// The last bytes of a root's file that were valid.
    pub fn last_good(&self, root: &Subject) -> Result<Option<Vec<u8>>, TrustError> {
        self.read(root, Part::Good)
    }

    /// Keeps the bytes of a valid file, or that there is none. Written only when it differs.
    pub fn keep_good(&self, root: &Subject, bytes: Option<&[u8]>) -> Result<(), TrustError> {
        match (self.last_good(root), bytes) {
            (Ok(None), None) => Ok(()),
            (Ok(Some(kept)), Some(bytes)) if kept == bytes => Ok(()),
            (_, Some(bytes)) => self.write(root, Part::Good, bytes),
            (_, None) => self.remove(root, Part::Good).map(|_| ()),
        }
    }

    fn path(&self, subject: &Subject, part: Part) -> PathBuf {
        let name = Digest::of(subject.0.as_os_str().as_bytes()).to_string();
        self.dir.join(match part {
            Part::Pin => format!("{name}.pin"),
            Part::Good => format!("{name}.good"),
        })
    }

    fn read(&self, subject: &Subject, part: Part) -> Result<Option<Vec<u8>>, TrustError> {
        let path = self.path(subject, part);
        let name = path.file_name().expect("a path made of a directory and a name");
        let read = Root::open(&self.dir)
            .and_then(|dir| dir.read_small(name.as_bytes(), FILE_BYTES_MAX + HEADER_BYTES_MAX));
        let content = match read {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(TrustError::Io { path, source }),
        };
        let bytes = content.strip_prefix(&*header(subject));
        bytes.map(|bytes| Some(bytes.to_vec())).ok_or(TrustError::Damaged { path })
    }

    fn write(&self, subject: &Subject, part: Part, bytes: &[u8]) -> Result<(), TrustError> {
        let path = self.path(subject, part);
        let write = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
            whole::write(&path, &[&header(subject), bytes].concat(), 0o600)
        };
        write().map_err(|source| TrustError::Io { path: path.clone(), source })
    }

    fn remove(&self, subject: &Subject, part: Part) -> Result<bool, TrustError> {
        let path = self.path(subject, part);
        match fs::remove_file(&path).and_then(|()| self.sync()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(TrustError::Io { path, source }),
        }
    }

    /// Makes a removal durable.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

fn header(subject: &Subject) -> Vec<u8> {
    [HEADER, subject.0.as_os_str().as_bytes(), b"\0\n"].concat()
}
