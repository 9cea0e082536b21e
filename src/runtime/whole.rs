//! Files that are written whole: whoever looks meanwhile, or after a power loss, sees the old one or
//! the new one and never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A new file beside its place, gone again unless it is moved there.
#[derive(Debug)]
pub struct Fresh {
    path: PathBuf,
    /// Open for writing.
    pub file: File,
}

impl Fresh {
    /// Makes an empty file, readable by its owner alone, in the directory of `place`.
    pub fn create(place: &Path) -> io::Result<Self> {
        let path = place.with_file_name(format!(".stampd-{}", Uuid::new_v4()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }

    /// Moves it to its place, over what is there.
    pub fn move_to(self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)?;
        sync_parent(place)
    }

    /// Moves it to its place unless something is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] then, and what is there is left as it is.
    pub fn move_to_new(self, place: &Path) -> io::Result<()> {
        // A link refuses what a rename would replace; the other name goes with this value.
        fs::hard_link(&self.path, place)?;
        sync_parent(place)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Once moved there is nothing here; when it cannot be removed, nobody can be helped.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes a file over what is there; `mode` is that of the new one.
pub fn write(place: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    filled(place, bytes, mode)?.move_to(place)
}

/// Writes a file where there is none.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when there is one, which is left as it is.
pub fn write_new(place: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    filled(place, bytes, mode)?.move_to_new(place)
}

fn filled(place: &Path, bytes: &[u8], mode: u32) -> io::Result<Fresh> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut fresh = Fresh::create(place)?;
    fresh.file.write_all(bytes)?;
    fresh.file.set_permissions(fs::Permissions::from_mode(mode))?;
    fresh.file.sync_all()?;
    Ok(fresh)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_replaced_or_kept_as_asked_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a");
        write_new(&place, b"first", 0o600).unwrap();
        let refused = write_new(&place, b"second", 0o600).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&place).unwrap(), b"first");
        write(&place, b"second", 0o600).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
