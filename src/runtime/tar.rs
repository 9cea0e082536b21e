//! An archive of a few small files, all from memory, in the format that every `tar` reads.
//!
//! Holds what it is given and nothing else: no owner, no name of a user or a machine.

use tar::{Builder, Header};

/// The archive of these files, by name.
pub fn archive<'f>(files: impl IntoIterator<Item = (&'f str, &'f [u8])>, mtime_s: u64) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(mtime_s);
        archive.append_data(&mut header, name, content).expect("our names are short and relative");
    }
    archive.into_inner().expect("memory takes all of it")
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
