//! The corpus: real files, the unpacked sources of the crates that stampd is built from, copied
//! until there are enough of them, and committed to a git repository for the comparison with git.
//!
//! The peers' tools are installed beside it. Both are kept between runs.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// As many files as the goals speak of.
const FILES_MIN: usize = 100_000;

/// Where the files are and how many.
pub struct Corpus {
    /// The root of the git repository that holds them.
    pub root: PathBuf,
    /// Their paths, each ended by NUL, for xargs.
    pub list: PathBuf,
    /// The installed `b3sum`.
    pub b3sum: PathBuf,
    pub files: usize,
    pub dirs: usize,
    pub bytes: u64,
}

/// Makes the corpus and the tools, or finds them made.
pub fn prepare(scratch: &Path) -> Corpus {
    let (root, list) = (scratch.join("corpus"), scratch.join("corpus.list"));
    // The list is written last: without it the corpus is half made.
    if !list.exists() {
        if root.exists() {
            fs::remove_dir_all(&root).expect("a half-made corpus can be removed");
        }
        grow(&root);
        commit(&root);
    }
    let mut corpus =
        Corpus { b3sum: install_b3sum(scratch), root, list, files: 0, dirs: 0, bytes: 0 };
    let mut names = Vec::new();
    walk(&corpus.root.clone(), &mut |path, bytes| match bytes {
        Some(bytes) => {
            corpus.files += 1;
            corpus.bytes += bytes;
            names.extend_from_slice(path.as_os_str().as_bytes());
            names.push(0);
        }
        None => corpus.dirs += 1,
    });
    fs::write(&corpus.list, names).expect("the list can be written");
    corpus
}

fn grow(root: &Path) {
    let sources = crate_sources();
    let mut files = 0;
    for round in 0.. {
        for source in &sources {
            if files >= FILES_MIN {
                return;
            }
            let name = source.file_name().expect("a crate's directory has a name");
            files += copy(source, &root.join(format!("{round}")).join(name));
        }
    }
}

/// The unpacked crates of Cargo.lock, in its order.
fn crate_sources() -> Vec<PathBuf> {
    let metadata = Command::new(env!("CARGO"))
        // Crates of other systems are among them, which a build on this one does not fetch.
        .args(["metadata", "--format-version=1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let why = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "cargo does not tell its metadata: {why}");
    let metadata: serde_json::Value =
        serde_json::from_slice(&metadata.stdout).expect("the metadata is JSON");
    let packages = metadata["packages"].as_array().expect("the metadata lists packages");
    let manifests = packages
        .iter()
        .filter(|package| !package["source"].is_null())
        .map(|package| package["manifest_path"].as_str().expect("a manifest has a path"));
    let mut dirs: Vec<PathBuf> =
        manifests.filter_map(|path| Path::new(path).parent().map(Path::to_owned)).collect();
    dirs.sort();
    dirs
}

/// Copies a tree, without what speaks to git: its ignore rules are not what is measured.
fn copy(from: &Path, to: &Path) -> usize {
    fs::create_dir_all(to).expect("the corpus takes a directory");
    let mut files = 0;
    for entry in fs::read_dir(from).expect("a crate's sources are readable") {
        let entry = entry.expect("a crate's sources are readable");
        let (name, kind) = (entry.file_name(), entry.file_type().expect("an entry has a type"));
        if name.as_bytes().starts_with(b".git") {
            continue;
        }
        if kind.is_dir() {
            files += copy(&entry.path(), &to.join(name));
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(name)).expect("the corpus takes a file");
            files += 1;
        }
    }
    files
}

fn commit(root: &Path) {
    for args in [
        &["init", "--quiet"][..],
        &["add", "--all", "--force"],
        &[
            "-c",
            "user.name=bench",
            "-c",
            "user.email=bench@localhost",
            "commit",
            "--quiet",
            "-m",
            "corpus",
        ],
        &["config", "gc.auto", "0"],
    ] {
        let status = Command::new("git").arg("-C").arg(root).args(args).status();
        assert!(status.expect("git starts").success(), "git {args:?}");
    }
}

/// Tells every file with its size and every directory, `.git` excepted.
fn walk(dir: &Path, see: &mut impl FnMut(&Path, Option<u64>)) {
    see(dir, None);
    let entries = fs::read_dir(dir).expect("the corpus is readable");
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("the corpus is readable")).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, metadata) = (entry.path(), entry.metadata().expect("an entry has metadata"));
        if metadata.is_file() {
            see(&path, Some(metadata.len()));
        } else if entry.file_name() != ".git" {
            walk(&path, see);
        }
    }
}

fn install_b3sum(scratch: &Path) -> PathBuf {
    let tools = scratch.with_file_name("tools");
    let b3sum = tools.join("bin/b3sum");
    if !b3sum.exists() {
        let status = Command::new(env!("CARGO"))
            .args(["install", "--locked", "--quiet", "b3sum", "--root"])
            .arg(&tools)
            .env("CARGO_TARGET_DIR", scratch.join("b3sum-build"))
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("cargo starts").success(), "b3sum cannot be installed");
    }
    b3sum
}
