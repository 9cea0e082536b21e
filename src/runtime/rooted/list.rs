//! What a directory holds, with the kinds the file system tells for free.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::FileType;

use super::stat::FileKind;

/// One name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'l> {
    /// The name: any bytes but NUL and `/`.
    pub name: &'l [u8],
    /// A hint: what it was when it was listed; `None` when the file system does not say.
    pub kind: Option<FileKind>,
}

/// What a directory held when it was listed, without `.` and `..`, in the file system's own order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// All names, one after the other: a directory costs two allocations, not one per entry.
    names: Vec<u8>,
    /// Where each name ends, and its kind.
    ends: Vec<(usize, Option<FileKind>)>,
}

impl Listing {
    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = DirEntry<'_>> {
        let mut from = 0;
        self.ends.iter().map(move |&(end, kind)| {
            let name = &self.names[from..end];
            from = end;
            DirEntry { name, kind }
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Takes what the kernel listed; `.` and `..` are no entries.
    fn push(&mut self, name: &CStr, kind: FileType) {
        let name = name.to_bytes();
        if !matches!(name, b"." | b"..") {
            self.names.extend_from_slice(name);
            self.ends.push((self.names.len(), FileKind::from_type(kind)));
        }
    }
}

/// Lists a directory from its beginning.
#[cfg(target_os = "linux")]
pub fn list(dir: BorrowedFd<'_>) -> io::Result<Listing> {
    use std::mem::MaybeUninit;

    use rustix::fs::{RawDir, SeekFrom, seek};

    /// Some 250 names of usual length in one call.
    const BUFFER_BYTES: usize = 16 * 1024;

    // A second listing through one descriptor would go on where the first one ended, and an empty
    // answer would look like a directory whose files are all gone.
    seek(dir, SeekFrom::Start(0))?;
    let mut buffer = [const { MaybeUninit::uninit() }; BUFFER_BYTES];
    let mut raw = RawDir::new(dir, &mut buffer);
    let mut listing = Listing::default();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        listing.push(entry.file_name(), entry.file_type());
    }
    Ok(listing)
}

/// Lists a directory from its beginning.
#[cfg(not(target_os = "linux"))]
pub fn list(dir: BorrowedFd<'_>) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        listing.push(entry.file_name(), entry.file_type());
    }
    Ok(listing)
}
