//! Reads a repo's own `.stampd.toml` as the untrusted file it is.
//!
//! Only from the root, only a regular file, only so many bytes, and following no link. What it
//! means is for `repo::policy` to decide.

use std::io;

use super::policy::{Current, FILE_BYTES_MAX, FILE_NAME, FileError};
use crate::runtime::rooted::Root;

/// Reads the file as it is now.
pub fn read(root: &Root) -> Current {
    match root.read_small(FILE_NAME.as_bytes(), FILE_BYTES_MAX) {
        Ok(bytes) => Current::Bytes(bytes),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Current::Absent,
            io::ErrorKind::InvalidInput => Current::Unreadable(FileError::NotRegular),
            io::ErrorKind::FileTooLarge => Current::Unreadable(FileError::TooLarge),
            kind => Current::Unreadable(FileError::Unreadable(kind)),
        },
    }
}
