//! Secrets by reference: where a password or a token is, never what it is.
//!
//! A [`Secret`] is read anew at each use, so a rotated credential acts at the next connection and
//! no copy outlives its need. Neither [`Secret`] nor its errors ever show a value.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// A secret longer than this is a wrong file, not a password.
const BYTES_MAX: u64 = 64 * 1024;

/// A reference to a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    /// A systemd credential: a file below the directory the service manager gave us.
    Credential {
        name: String,
        dir: Option<PathBuf>,
    },
    File(PathBuf),
    /// The value was taken along when the environment was read, once, at start.
    Env {
        name: String,
        value: String,
    },
}

impl Secret {
    /// Refers to the credential `name` below `dir` (`CREDENTIALS_DIRECTORY`). Without a directory it
    /// can be referred to, as a tool outside of the service must, but not fetched.
    pub fn credential(name: &str, dir: Option<&Path>) -> Self {
        Self(Source::Credential { name: name.to_owned(), dir: dir.map(Path::to_owned) })
    }

    /// Refers to a file that holds the secret and nothing else but perhaps a line end.
    pub fn file(path: &Path) -> Self {
        Self(Source::File(path.to_owned()))
    }

    /// Takes the value of the environment variable `name`, as it was at start.
    pub fn env(name: &str, value: &str) -> Self {
        Self(Source::Env { name: name.to_owned(), value: value.to_owned() })
    }

    /// How the reference is written in a config: the way and what it leads to.
    pub fn reference(&self) -> (&'static str, String) {
        match &self.0 {
            Source::Credential { name, .. } => ("credential", name.clone()),
            Source::File(path) => ("file", path.to_string_lossy().into_owned()),
            Source::Env { name, .. } => ("env", name.clone()),
        }
    }

    /// Fetches the value, without the line end that editors and `echo` leave.
    pub fn fetch(&self) -> Result<String, SecretError> {
        let value = match &self.0 {
            Source::Env { value, .. } => Ok(value.clone()),
            Source::Credential { name, dir: Some(dir) } => read_small(&dir.join(name)),
            Source::Credential { dir: None, .. } => {
                return Err(SecretError::NoCredentials(self.to_string()));
            }
            Source::File(path) => read_small(path),
        };
        let mut value =
            value.map_err(|source| SecretError::Unreadable(self.to_string(), source))?;
        while value.ends_with(['\n', '\r']) {
            value.pop();
        }
        if value.is_empty() {
            return Err(SecretError::Empty(self.to_string()));
        }
        Ok(value)
    }
}

fn read_small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than 64 KiB"));
    }
    Ok(text)
}

impl fmt::Display for Secret {
    /// Writes where the secret is: `credential pg.password`, `file /etc/…`, `variable PGPASSWORD`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Credential { name, .. } => write!(out, "credential {name}"),
            Source::File(path) => write!(out, "file {}", path.display()),
            Source::Env { name, .. } => write!(out, "variable {name}"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Secret({self})")
    }
}

/// Why a secret could not be fetched. All are for a person to mend.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The reference leads nowhere that can be read.
    #[error("read the secret from {0}: make it readable for the user stampd runs as")]
    Unreadable(String, #[source] io::Error),
    /// Only a service manager hands credentials out, and none did.
    #[error(
        "find {0}: CREDENTIALS_DIRECTORY is not set; start stampd as a service with LoadCredential"
    )]
    NoCredentials(String),
    /// The reference leads to nothing.
    #[error("use the secret from {0}: it is empty")]
    Empty(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_anew_each_time_and_loses_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::credential("pg.password", Some(dir.path()));
        assert!(matches!(secret.fetch(), Err(SecretError::Unreadable(..))));
        std::fs::write(dir.path().join("pg.password"), "old\r\n").unwrap();
        assert_eq!(secret.fetch().unwrap(), "old");
        std::fs::write(dir.path().join("pg.password"), "new").unwrap();
        assert_eq!(secret.fetch().unwrap(), "new");
        std::fs::write(dir.path().join("pg.password"), "\n").unwrap();
        assert!(matches!(secret.fetch(), Err(SecretError::Empty(_))));
        std::fs::write(dir.path().join("pg.password"), "x".repeat(70_000)).unwrap();
        assert!(matches!(secret.fetch(), Err(SecretError::Unreadable(..))));
        let nowhere = Secret::credential("pg.password", None);
        assert!(matches!(nowhere.fetch(), Err(SecretError::NoCredentials(_))));
    }

    #[test]
    fn a_value_is_never_shown() {
        let secret = Secret::env("PGPASSWORD", "hunter2");
        assert_eq!(
            format!("{secret:?} {secret}"),
            "Secret(variable PGPASSWORD) variable PGPASSWORD"
        );
        assert_eq!(secret.fetch().unwrap(), "hunter2");
    }
}
