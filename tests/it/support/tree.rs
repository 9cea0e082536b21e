//! Trees of files: made, and read back by an oracle that shares no code with the agent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What the oracle saw: the path relative to the root, as bytes, and the digest in hexadecimal.
pub type Digests = BTreeMap<Vec<u8>, String>;

/// Makes `dirs` directories below `root` with `files` files each: `d0007/f03.txt`. Contents differ.
pub fn grow(root: &Path, dirs: usize, files: usize) {
    for dir in 0..dirs {
        let dir = root.join(format!("d{dir:04}"));
        fs::create_dir_all(&dir).expect("the tree takes a directory");
        for file in 0..files {
            let path = dir.join(format!("f{file:02}.txt"));
            fs::write(&path, format!("{}\n", path.display())).expect("the tree takes a file");
        }
    }
}

/// Writes a file below `root`, with the directories that lead to it.
pub fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = root.join(path);
    let parent = path.parent().expect("a path below a root has a parent");
    fs::create_dir_all(parent).expect("the tree takes a directory");
    fs::write(&path, content).expect("the tree takes a file");
    path
}

/// Walks a tree and hashes every regular file in it, following nothing. `skip` names entries that
/// are passed over wherever they occur, with all that is below them.
pub fn digests(root: &Path, skip: &[&str]) -> Digests {
    let mut found = Digests::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(root.join(&dir)).expect("the directory is readable") {
            let entry = entry.expect("the directory is readable");
            if skip.iter().any(|skip| entry.file_name() == *skip) {
                continue;
            }
            let (path, kind) = (dir.join(entry.file_name()), entry.file_type());
            let kind = kind.expect("the kernel tells the type");
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_file() {
                let content = fs::read(entry.path()).expect("the file is readable");
                let digest = blake3::hash(&content).to_hex().to_string();
                found.insert(path.as_os_str().as_bytes().to_vec(), digest);
            }
        }
    }
    found
}

/// A file name of any bytes.
pub fn name(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
