//! Digests of files, pipes and devices that a person names one by one.
//!
//! No promise of consistency is made here: what changes under the read has the digest of what was
//! read, as with any other program that sums files up. Memory is bounded as for the files of a repo.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;

use super::mapped::{self, Window};
use super::{Digest, Hasher, Shared};
use crate::runtime::rooted::is_local;

/// Read and hashed at a time: enough for all threads to have something to do.
const CHUNK_BYTES: usize = 4 << 20;

impl Hasher {
    /// Hashes an open file from where it stands to its end, on all threads, and tells of every piece
    /// how many bytes it had.
    pub fn digest_open(&self, file: &File, told: &(impl Fn(u64) + Sync)) -> io::Result<Digest> {
        // Inside of the pool, so that it is this hasher's threads that the work is split among.
        self.shared.pool.install(|| self.shared.digest_open(file, told))
    }
}

impl Shared {
    fn digest_open(&self, mut file: &File, told: &(impl Fn(u64) + Sync)) -> io::Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        let metadata = file.metadata()?;
        let size = if metadata.is_file() { metadata.len() } else { u64::MAX };
        let is_large = metadata.is_file() && size > self.config.mmap_threshold;
        if is_large && file.stream_position()? == 0 {
            let mapped = self.map_from_start(file, size, &mut hasher, told);
            // What lies beyond the size it had is read: whoever appends meanwhile appends to it.
            file.seek(SeekFrom::Start(mapped))?;
        }
        // A byte more than there should be, so that the end of a small file shows at once.
        let chunk_bytes = size.saturating_add(1).min(CHUNK_BYTES as u64) as usize;
        hash_rest(file, &mut hasher, chunk_bytes, told)?;
        Ok(hasher.finalize().into())
    }

    /// Hashes as much as can be mapped and says how much that was: everything, nothing, or, where
    /// another program truncates the file meanwhile, the windows before.
    fn map_from_start(
        &self,
        file: &File,
        size: u64,
        hasher: &mut blake3::Hasher,
        told: &impl Fn(u64),
    ) -> u64 {
        let Some(_lane) = self.lane.enter() else { return 0 };
        if !is_local(file.as_fd()).unwrap_or(false) {
            return 0;
        }
        let mut offset = 0;
        while offset < size {
            let length = self.config.window.min(size - offset);
            let before = hasher.clone();
            let hash = |bytes: &[u8]| {
                hasher.update_rayon(bytes);
            };
            let window = mapped::with_window(file.as_fd(), offset, length, hash);
            if !matches!(window, Ok(Window::Whole)) {
                *hasher = before;
                break;
            }
            told(length);
            offset += length;
        }
        offset
    }
}

/// Reads to the end, so many bytes at a time.
fn hash_rest(
    mut reader: impl Read,
    hasher: &mut blake3::Hasher,
    chunk_bytes: usize,
    told: &impl Fn(u64),
) -> io::Result<()> {
    let mut chunk = vec![0; chunk_bytes];
    loop {
        let filled = fill(&mut reader, &mut chunk)?;
        hasher.update_rayon(&chunk[..filled]);
        told(filled as u64);
        if filled < chunk.len() {
            return Ok(());
        }
    }
}

/// Reads until the chunk is full or the stream ends: a pipe gives little at a time.
fn fill(reader: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match reader.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::Config;
    use super::*;

    const WINDOW_BYTES: u64 = 1 << 20;

    fn hasher() -> Hasher {
        let config = Config { threads: 2, window: WINDOW_BYTES, ..Config::default() };
        Hasher::new(config).unwrap()
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index % 251) as u8).collect()
    }

    /// Gives one byte less than asked for, as a pipe may.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().div_ceil(2);
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn a_stream_has_the_digest_of_its_bytes_however_they_come() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES] {
            let bytes = bytes(length);
            let mut hasher = blake3::Hasher::new();
            hash_rest(Trickle(&bytes), &mut hasher, CHUNK_BYTES, &|_| {}).unwrap();
            assert_eq!(Digest::from(hasher.finalize()), Digest::of(&bytes), "{length}");
        }
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes_read_or_mapped_and_all_of_it_is_told() {
        let hasher = hasher();
        let window = WINDOW_BYTES as usize;
        for length in [0, 1, 2 * window, 2 * window + 1, 3 * window, 9 * window - 1] {
            let (mut file, bytes) = (tempfile::tempfile().unwrap(), bytes(length));
            file.write_all(&bytes).unwrap();
            file.rewind().unwrap();
            let told = AtomicU64::new(0);
            let count = |bytes| {
                told.fetch_add(bytes, Ordering::Relaxed);
            };
            assert_eq!(hasher.digest_open(&file, &count).unwrap(), Digest::of(&bytes), "{length}");
            assert_eq!(told.into_inner(), length as u64);
        }
    }

    /// What a shell's `{ read line; stampd hash; } <file` hands over.
    #[test]
    fn a_file_is_hashed_from_where_it_stands() {
        let (mut file, bytes) = (tempfile::tempfile().unwrap(), bytes(5 << 20));
        file.write_all(&bytes).unwrap();
        file.seek(SeekFrom::Start(7)).unwrap();
        assert_eq!(hasher().digest_open(&file, &|_| {}).unwrap(), Digest::of(&bytes[7..]));
    }

    /// The window that came to nothing is not in the digest.
    #[test]
    fn a_file_truncated_while_it_is_mapped_has_the_digest_of_what_was_left() {
        let (mut file, bytes) = (tempfile::tempfile().unwrap(), bytes(5 << 20));
        file.write_all(&bytes).unwrap();
        file.rewind().unwrap();
        let left = 3 * WINDOW_BYTES + 5;
        let cut = |_| file.set_len(left).unwrap();
        let digest = hasher().digest_open(&file, &cut).unwrap();
        assert_eq!(digest, Digest::of(&bytes[..left as usize]));
    }
}
