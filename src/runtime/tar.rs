//! An archive of a few small files, in the format that every `tar` reads (POSIX ustar).
//!
//! Only what a report needs: plain files with short names, all from memory.

const BLOCK: usize = 512;

/// The archive of these files, by name.
pub fn archive<'f>(files: impl IntoIterator<Item = (&'f str, &'f [u8])>, mtime_s: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        out.extend(header(name, content.len() as u64, mtime_s));
        out.extend(content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks are the end.
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

fn header(name: &str, size: u64, mtime_s: u64) -> [u8; BLOCK] {
    debug_assert!(name.len() <= 100, "{name}");
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, format!("{mtime_s:011o}\0").as_bytes());
    // The sum is taken with blanks in its own place.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_reads_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar");
        let long = vec![b'x'; 1_025];
        let files: [(&str, &[u8]); 3] = [("a/one", b"1"), ("a/none", b""), ("a/long", &long)];
        std::fs::write(&file, archive(files, 1_700_000_000)).unwrap();
        let done = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(dir.path()).output();
        assert!(done.unwrap().status.success());
        for (name, content) in files {
            assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), content, "{name}");
        }
    }
}
