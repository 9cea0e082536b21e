//! Digests of streams: what comes through a pipe, and files named one by one by a person.
//!
//! No promise of consistency is made here: a stream has no stat to be framed by.

use std::io::{self, ErrorKind, Read};

use crate::model::digest::Digest;

/// Read and hashed at a time: enough for all threads to have something to do.
const CHUNK_BYTES: usize = 4 << 20;

/// Hashes what `reader` gives, to its end.
pub fn hash_stream(mut reader: impl Read) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let filled = fill(&mut reader, &mut chunk)?;
        hasher.update_rayon(&chunk[..filled]);
        if filled < CHUNK_BYTES {
            return Ok(hasher.finalize().into());
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
    use super::*;

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
            let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            assert_eq!(hash_stream(Trickle(&bytes)).unwrap(), Digest::of(&bytes), "{length}");
        }
    }
}
