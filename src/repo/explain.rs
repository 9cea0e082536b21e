//! Explains one path: whether it is covered, and which rule in which line says so.
//!
//! Reads the rule files on the way to the path as they are now, so the answer holds without an
//! agent. What the index knows of the path is added by whoever asks.

use std::io;

use super::Reading;
use crate::model::path::RepoPath;
use crate::runtime::rooted::{FileKind, Root, is_absent};
use crate::watch::filter::{
    DirFilter, DirRules, GIT_ENTRY, Ground, RULE_FILE_BYTES_MAX, RULE_FILE_NAMES, Verdict,
};

/// What there is to say of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What the rules say.
    pub verdict: Verdict,
    /// Of [`Verdict::Nested`]: the repository that it is in.
    pub nested_in: Option<RepoPath>,
    /// Whether git tracks this very path.
    pub tracked: bool,
    /// What is there now; none when nothing is.
    pub kind: Option<FileKind>,
    /// Its size in bytes, of a file.
    pub size: Option<u64>,
    /// Rule files on the way that could not be read, each with the reason.
    pub unread: Vec<(RepoPath, String)>,
}

/// Explains a path below `root`. `enters_nested` is whether repositories inside the repo are
/// covered too.
pub fn explain(
    root: &Root,
    reading: &Reading,
    enters_nested: bool,
    path: &RepoPath,
) -> io::Result<Explanation> {
    let stat = match root.stat(path.as_bytes()) {
        Ok(stat) => Some(stat),
        Err(error) if is_absent(&error) => None,
        Err(error) => return Err(error),
    };
    let is_dir = stat.is_some_and(|stat| stat.kind == FileKind::Dir);
    let mut explanation = Explanation {
        verdict: Verdict::Visible(Ground::NoRule),
        nested_in: None,
        tracked: reading.tracked.contains(path),
        kind: stat.map(|stat| stat.kind),
        size: stat.filter(|stat| stat.kind == FileKind::File).map(|stat| stat.size),
        unread: Vec::new(),
    };
    let mut view = reading.filter().root();
    let mut names = path.as_bytes().split(|&byte| byte == b'/').peekable();
    while let Some(name) = names.next().filter(|name| !name.is_empty()) {
        view = with_rule_files(root, view, &mut explanation.unread);
        let is_dir = is_dir || names.peek().is_some();
        explanation.verdict = view.check(name, is_dir);
        view = view.enter(name);
        if is_dir && !enters_nested && explanation.verdict.is_visible() && holds_git(root, &view) {
            explanation.verdict = Verdict::Nested;
            explanation.nested_in = Some(view.dir().clone());
            break;
        }
    }
    Ok(explanation)
}

/// Whether a directory is that of another repository.
fn holds_git(root: &Root, view: &DirFilter) -> bool {
    root.stat(view.dir().join(GIT_ENTRY).as_bytes()).is_ok()
}

/// The view with the rule files that are in its directory now.
fn with_rule_files(
    root: &Root,
    view: DirFilter,
    unread: &mut Vec<(RepoPath, String)>,
) -> DirFilter {
    if !view.reads_rules() {
        return view;
    }
    let mut files = Vec::new();
    for name in RULE_FILE_NAMES {
        let path = view.dir().join(name);
        match root.read_small(path.as_bytes(), RULE_FILE_BYTES_MAX) {
            Ok(bytes) => files.push((name, bytes)),
            Err(error) if is_absent(&error) => {}
            Err(error) => unread.push((path, error.to_string())),
        }
    }
    let files: Vec<_> = files.iter().map(|(name, bytes)| (*name, &**bytes)).collect();
    let rules = DirRules::parse(view.dir(), &files);
    view.with_rules(rules)
}
