//! What a directory holds, with the kinds the file system tells for free.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::FileType;

use super::stat::FileKind;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name: any bytes but NUL and `/`.
    pub name: Box<[u8]>,
    /// A hint: what it was when it was listed; `None` when the file system does not say.
    pub kind: Option<FileKind>,
}

impl DirEntry {
    /// Takes what the kernel listed; `.` and `..` are no entries.
    fn new(name: &CStr, kind: FileType) -> Option<Self> {
        let name = name.to_bytes();
        let kind = FileKind::from_type(kind);
        (!matches!(name, b"." | b"..")).then(|| Self { name: name.into(), kind })
    }
}

/// Lists a directory from its beginning, without `.` and `..`, in the file system's own order.
#[cfg(target_os = "linux")]
pub fn list(dir: BorrowedFd<'_>) -> io::Result<Vec<DirEntry>> {
    use rustix::fs::{RawDir, SeekFrom, seek};

    /// Some 500 names of usual length in one call.
    const BUFFER_BYTES: usize = 32 * 1024;

    // A second listing through one descriptor would go on where the first one ended, and an empty
    // answer would look like a directory whose files are all gone.
    seek(dir, SeekFrom::Start(0))?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut raw = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut entries = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        entries.extend(DirEntry::new(entry.file_name(), entry.file_type()));
    }
    Ok(entries)
}

/// Lists a directory from its beginning, without `.` and `..`, in the file system's own order.
#[cfg(not(target_os = "linux"))]
pub fn list(dir: BorrowedFd<'_>) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        entries.extend(DirEntry::new(entry.file_name(), entry.file_type()));
    }
    Ok(entries)
}
