//! A text file as a command reads it, and its replacement in one step.
//!
//! Whoever reads the file meanwhile sees the old text or the new one, never a part; so does a
//! machine that loses power. Mode, owner and group stay. What is no plain file with one name, or
//! changed since it was read, is left as it is.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use super::exit::{Exit, failed};
use super::place::escaped;
use crate::runtime::whole::Fresh;

/// As much as the stamping API takes.
const TEXT_BYTES_MAX: u64 = 100 << 20;

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub(super) enum TextError {
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("it is not UTF-8 text, and in-file stamps live in nothing else")]
    NotText,
    #[error("it is larger than 100 MiB, the most that is taken as text")]
    TooLarge,
}

impl TextError {
    /// How a command ends that needed the text.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => Exit::NotFound,
            Self::Unreadable(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Exit::Denied
            }
            Self::Unreadable(_) => Exit::Unexpected,
            Self::NotText | Self::TooLarge => Exit::Usage,
        }
    }
}

/// Reads a file, or standard input for `-`.
pub(super) fn read_text(path: &Path) -> Result<String, TextError> {
    if path == Path::new("-") { text_of(io::stdin().lock()) } else { text_of(File::open(path)?) }
}

fn text_of(source: impl Read) -> Result<String, TextError> {
    let mut bytes = Vec::new();
    source.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(TextError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| TextError::NotText)
}

/// A file that may be replaced.
#[derive(Debug)]
pub(super) struct Original {
    /// Without symbolic links, so that the file itself is replaced and links to it stay.
    path: PathBuf,
    /// Before the text was read.
    stat: Metadata,
}

impl Original {
    /// Opens a file and reads its text.
    pub(super) fn read(path: &Path) -> anyhow::Result<(Self, String)> {
        let open = || -> Result<_, TextError> {
            let path = path.canonicalize()?;
            let stat = fs::metadata(&path)?;
            Ok(Self { path, stat })
        };
        let shown = escaped(path.as_os_str());
        let unread = |error: TextError| failed(error.exit(), format!("read {shown}: {error}"));
        let original = open().map_err(unread)?;
        if !original.stat.is_file() || original.stat.nlink() > 1 {
            let text = format!(
                "replace {shown}: it is no plain file with a single name; `stampd stamp` without \
                 --in-place prints instead"
            );
            return Err(failed(Exit::Usage, text));
        }
        let text = read_text(&original.path).map_err(unread)?;
        Ok((original, text))
    }

    /// Puts `text` in its place.
    pub(super) fn replace(self, text: &str) -> anyhow::Result<()> {
        let shown = escaped(self.path.as_os_str());
        let replaced = self.write(text);
        replaced.map_err(|error| {
            let exit = match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Exit::Denied,
                io::ErrorKind::ResourceBusy | io::ErrorKind::StorageFull => Exit::Temporary,
                _ => Exit::Unexpected,
            };
            failed(exit, format!("replace {shown}: {error}"))
        })
    }

    fn write(self, text: &str) -> io::Result<()> {
        let fresh = Fresh::create(&self.path)?;
        let mut file = &fresh.file;
        file.write_all(text.as_bytes())?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (self.stat.uid(), self.stat.gid()) {
            fchown(file, Some(self.stat.uid()), Some(self.stat.gid()))?;
        }
        // After the owner: giving a file away takes its set-id bits.
        file.set_permissions(self.stat.permissions())?;
        file.sync_all()?;
        if identity(&fs::symlink_metadata(&self.path)?) != identity(&self.stat) {
            let text = "it changed meanwhile and was left as it is; try again";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        fresh.move_to(&self.path)
    }
}

/// What is another after any change.
fn identity(stat: &Metadata) -> (u64, u64, u64, i64, i64) {
    (stat.dev(), stat.ino(), stat.size(), stat.ctime(), stat.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use super::super::exit::report;
    use super::*;

    #[test]
    fn a_file_that_changed_since_it_was_read_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "read").unwrap();
        let (original, text) = Original::read(&path).unwrap();
        assert_eq!(text, "read");
        fs::write(&path, "written meanwhile").unwrap();
        assert_eq!(report(&original.replace("stamped").unwrap_err()), Exit::Temporary);
        assert_eq!(fs::read_to_string(&path).unwrap(), "written meanwhile");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
