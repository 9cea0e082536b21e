//! What is ignored: the filter compared with git itself, on generated trees and patterns.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use stampd::model::path::RepoPath;
use stampd::repo::index;
use stampd::watch::filter::{Config, DirRules, Filter, Rule, Source, Tracked, Verdict};

use crate::support::tree::write;

/// A tree and its rules, both small enough that patterns and names meet often.
#[derive(Clone, Debug)]
struct Case {
    files: Vec<String>,
    /// Index of a directory above one of the files, and the text of a `.gitignore` there.
    rules: Vec<(prop::sample::Index, String)>,
    info_exclude: String,
    /// Which files are added to git's index.
    added: Vec<prop::sample::Index>,
}

fn case() -> impl Strategy<Value = Case> {
    let files = prop::collection::vec(prop::collection::vec(name(), 1..5), 1..24);
    let rules = prop::collection::vec((any::<prop::sample::Index>(), text()), 0..5);
    let added = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    (files, rules, text(), added).prop_map(|(files, rules, info_exclude, added)| Case {
        files: files.into_iter().map(|names| names.join("/")).collect(),
        rules,
        info_exclude,
        added,
    })
}

fn name() -> impl Strategy<Value = String> {
    let names = [
        "a", "b", "ab", "abc", "a.c", "b.o", "x.tar.gz", ".h", "a b", "a ", "[a]", "{a,b}", "!a",
        "#a", "\\a", "-", "]", "é", "A", "1", "a*", "?",
    ];
    prop::sample::select(names.to_vec()).prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> {
    let ends = prop::sample::select(vec!["\n", "\n", "\n", "\r\n", " \n", "\n\n"]);
    let lines = prop::collection::vec((line(), ends), 0..6);
    lines.prop_map(|lines| lines.into_iter().map(|(line, end)| line + end).collect())
}

fn line() -> impl Strategy<Value = String> {
    let front = prop::sample::select(vec!["", "", "", "!", "/", "!/", "\\", "#", "**/", " "]);
    let back = prop::sample::select(vec!["", "", "", "/", "/", "/*", "/**", "\\", "\\ ", "//"]);
    let middle = prop::sample::select(vec!["/", "/", "/**/", "/*/", "//"]);
    let components = prop::collection::vec((component(), middle), 1..3);
    (front, components, back).prop_map(|(front, components, back)| {
        let mut line = front.to_owned();
        for (at, (component, middle)) in components.iter().enumerate() {
            line.push_str(if at == 0 { "" } else { middle });
            line.push_str(component);
        }
        line + back
    })
}

/// One component of a pattern. Without `**` beside other characters: within a longer path git
/// reads that in a way its own manual denies.
fn component() -> impl Strategy<Value = String> {
    let pieces = [
        "a",
        "a",
        "b",
        "c",
        "*",
        "*",
        "?",
        ".",
        ".o",
        "[a-c]",
        "[!a]",
        "[^b]",
        "[]-]",
        "[\\]a]",
        "[[:alpha:]]",
        "[![:digit:]a]",
        "[a",
        "\\a",
        "\\*",
        "\\?",
        "\\[",
        "{",
        "}",
        ",",
        "é",
        "-",
        "[--a]",
        "[!]]",
        "[a-]",
        "#",
        "!",
        "\\\\",
        "[[:oops:]]",
        "[:a]",
        "[[a]",
        "[\\\\]",
        "A",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 1..4)
        .prop_map(|pieces| pieces.concat().replace("**", "*"))
}

/// The directories above the files, the root first.
fn dirs(files: &[String]) -> Vec<String> {
    let mut dirs: Vec<String> = vec![String::new()];
    for file in files {
        dirs.extend(file.match_indices('/').map(|(end, _)| file[..end].to_owned()));
    }
    dirs.sort();
    dirs.dedup();
    dirs
}

impl Case {
    /// Lays the tree out; a file whose name is taken by a directory, or the reverse, is left out.
    fn lay_out(&self, root: &Path) -> (Vec<String>, Filter) {
        git(root, &["init", "-q", "."], b"");
        write(root, ".git/info/exclude", &self.info_exclude);
        let mut made: Vec<String> = Vec::new();
        for file in &self.files {
            let path = root.join(file);
            let parent = path.parent().expect("a path below a root has a parent");
            if std::fs::create_dir_all(parent).is_ok() && std::fs::write(&path, "").is_ok() {
                made.push(file.clone());
            }
        }
        let dirs = dirs(&made);
        let info_exclude = self.info_exclude.clone().into_bytes();
        let config = Config { info_exclude, ..Config::default() };
        let mut filter = Filter::new(&config, Tracked::default());
        for (dir, text) in &self.rules {
            let dir = dir.get(&dirs);
            std::fs::write(root.join(dir).join(".gitignore"), text).expect("the tree is ours");
            let dir = repo_path(dir);
            filter.set_dir(&dir, DirRules::parse(&dir, &[(b".gitignore", text.as_bytes())]));
        }
        (made, filter)
    }
}

fn repo_path(text: &str) -> RepoPath {
    RepoPath::new(text.as_bytes()).expect("generated paths are well-formed")
}

fn git(root: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .args(args)
        .current_dir(root)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git runs: the tests need it");
    child.stdin.take().expect("piped").write_all(input).expect("git reads its input");
    child.wait_with_output().expect("git ends").stdout
}

/// What `git check-ignore -v` says of each path: the rule as `source:line:pattern`, or nothing.
fn check_ignore(root: &Path, paths: &[String]) -> Vec<String> {
    let input: Vec<u8> = paths.iter().flat_map(|path| [path.as_bytes(), b"\0"].concat()).collect();
    let args = ["check-ignore", "--no-index", "-v", "-n", "-z", "--stdin"];
    let output = String::from_utf8(git(root, &args, &input)).expect("generated names are UTF-8");
    let fields: Vec<&str> = output.split('\0').collect();
    fields
        .chunks_exact(4)
        .map(|answer| match answer {
            ["", "", "", _] => String::new(),
            [source, line, pattern, _] => format!("{source}:{line}:{pattern}"),
            _ => unreachable!("chunks of four"),
        })
        .collect()
}

/// Our verdict in the form of [`check_ignore`].
fn shown(verdict: &Verdict) -> String {
    use stampd::watch::filter::Ground;
    let rule = |rule: &Rule| {
        let source = match rule.source() {
            Source::File(path) => path.to_lossy().into_owned(),
            Source::InfoExclude => ".git/info/exclude".to_owned(),
            other => other.to_string(),
        };
        format!("{source}:{}:{}", rule.line(), String::from_utf8_lossy(rule.pattern()))
    };
    match verdict {
        Verdict::Ignored(ignored) => rule(ignored),
        Verdict::Visible(Ground::Negated(negated)) => rule(negated),
        Verdict::Visible(_) | Verdict::Git | Verdict::Nested => String::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_verdict_is_the_one_git_gives_down_to_file_and_line(case in case()) {
        let scratch = tempfile::tempdir().unwrap();
        let (files, filter) = case.lay_out(scratch.path());
        let mut paths = dirs(&files);
        paths.remove(0);
        let first_file = paths.len();
        paths.extend(files);
        let theirs = check_ignore(scratch.path(), &paths);
        for (at, (path, theirs)) in paths.iter().zip(theirs).enumerate() {
            let ours = shown(&filter.ignored(&repo_path(path), at < first_file));
            prop_assert_eq!(ours.trim_end(), theirs.trim_end(), "of {:?}", path);
        }
    }

    #[test]
    fn the_visible_files_are_those_git_tracks_or_would_add(case in case()) {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        let (files, mut filter) = case.lay_out(root);
        for added in &case.added {
            let file = added.get(&files).as_str();
            git(root, &["--literal-pathspecs", "add", "-f", "--", file], b"");
        }
        let tracked = match std::fs::read(root.join(".git/index")) {
            Ok(bytes) => index::parse(&bytes).unwrap().tracked,
            Err(_) => Tracked::default(),
        };
        let info_exclude = case.info_exclude.clone().into_bytes();
        filter.rebase(&Config { info_exclude, ..Config::default() }, tracked);
        let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let listed = String::from_utf8(git(root, &args, b"")).unwrap();
        let mut theirs: Vec<&str> = listed.split_terminator('\0').collect();
        theirs.retain(|path| !path.ends_with(".gitignore"));
        theirs.sort_unstable();
        let visible = |file: &&str| filter.ignored(&repo_path(file), false).is_visible();
        let mut ours: Vec<&str> = files.iter().map(String::as_str).filter(visible).collect();
        ours.sort_unstable();
        ours.dedup();
        prop_assert_eq!(ours, theirs);
    }
}

#[test]
fn an_index_of_every_version_gives_the_paths_that_git_lists() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    git(root, &["init", "-q", "."], b"");
    let long = format!("dir/{}", "n".repeat(200));
    for file in ["a", "dir/b", "dir/sub/c", "dir/sub/cc", "e\u{301}", long.as_str()] {
        write(root, file, file);
    }
    git(root, &["add", "."], b"");
    git(root, &["add", "--intent-to-add", "."], b"");
    write(root, "later", "");
    git(root, &["add", "--intent-to-add", "later"], b"");
    let listed = git(root, &["ls-files", "-z"], b"");
    let listed: Tracked = listed.split(|&byte| byte == 0).filter(|path| !path.is_empty()).collect();
    assert_eq!(listed.len(), 7);
    for version in ["2", "3", "4"] {
        git(root, &["update-index", "--index-version", version], b"");
        let bytes = std::fs::read(root.join(".git/index")).unwrap();
        assert_eq!(index::parse(&bytes).unwrap().tracked, listed, "version {version}");
    }
    git(root, &["update-index", "--split-index"], b"");
    write(root, "newest", "");
    git(root, &["add", "newest"], b"");
    let split = index::parse(&std::fs::read(root.join(".git/index")).unwrap()).unwrap();
    let shared = format!(".git/sharedindex.{}", split.shared.expect("the index is split"));
    let shared = index::parse(&std::fs::read(root.join(shared)).unwrap()).unwrap();
    assert!(split.tracked.contains(&repo_path("newest")));
    assert_eq!(shared.tracked, listed);
}
