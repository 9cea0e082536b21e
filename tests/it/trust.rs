//! What a repo says of itself and how far it is believed: its config, its git files, its trust.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stampd::model::path::RepoPath;
use stampd::repo::explain::explain;
use stampd::repo::git::GitDir;
use stampd::repo::policy::{FILE_NAME, Key, User};
use stampd::repo::trust::{Store, Subject, TrustError};
use stampd::repo::{self, Reading};
use stampd::runtime::rooted::{FileKind, Root};
use stampd::settle;
use stampd::watch::filter::Verdict;

use crate::support::tree::write;

/// A scratch directory with a repo `app` and a state directory beside it.
struct Scene {
    scratch: tempfile::TempDir,
    root: Root,
    store: Store,
}

impl Scene {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("app")).unwrap();
        let root = Root::open(&scratch.path().join("app")).unwrap();
        let store = Store::new(&scratch.path().join("state"));
        Self { scratch, root, store }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.scratch.path().join(below)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        write(self.root.path(), path, content);
    }

    fn read(&self) -> Reading {
        repo::read(&self.root, &user(), &self.store, None)
    }

    fn subject(&self) -> Subject {
        Subject::of(&self.root, GitDir::find(&self.root).as_ref())
    }

    fn verdict(&self, path: &str) -> String {
        explain(&self.root, &self.read(), false, &repo_path(path)).unwrap().verdict.to_string()
    }
}

fn user() -> User {
    User {
        name: "app".to_owned(),
        settle: settle::Config::default(),
        exclude: Vec::new(),
        include: Vec::new(),
        max_file_size: 1 << 30,
    }
}

fn repo_path(text: &str) -> RepoPath {
    RepoPath::new(text.as_bytes()).expect("a test path is well-formed")
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"])
        .args(args)
        .current_dir(dir)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stderr(Stdio::inherit())
        .output()
        .expect("git runs: the tests need it");
    assert!(output.status.success(), "git {args:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn what_hides_files_waits_for_trust_and_the_pin_outlives_the_file() {
    let scene = Scene::new();
    let text = "exclude = ['*.key']\n[labels]\nteam = 'blue'\n";
    scene.write(FILE_NAME, text);
    let before = scene.read().decision;
    assert_eq!(before.effective.labels["team"], "blue");
    assert_eq!(before.awaiting, [Key::Exclude]);
    assert!(scene.verdict("a.key").starts_with("visible"));

    scene.store.pin(&scene.subject(), text.as_bytes()).unwrap();
    assert_eq!(scene.read().decision.awaiting, []);
    let by_pin = "ignored by *.key (exclude of .stampd.toml, line 1)";
    assert_eq!(scene.verdict("a.key"), by_pin);

    scene.write(FILE_NAME, "exclude = ['*']");
    assert_eq!(scene.read().decision.awaiting, [Key::Exclude]);
    assert!(scene.verdict("src").starts_with("visible"), "an edit is not trusted");
    assert_eq!(scene.verdict("a.key"), by_pin);

    assert!(scene.store.revoke(&scene.subject()).unwrap());
    assert!(!scene.store.revoke(&scene.subject()).unwrap());
    assert!(scene.verdict("a.key").starts_with("visible"));
}

#[test]
fn an_invalid_file_keeps_the_last_good_one_in_force_across_a_restart() {
    let scene = Scene::new();
    scene.write(FILE_NAME, "[labels]\nteam = 'blue'\n");
    scene.read();
    scene.write(FILE_NAME, "[labels]\nteam = 3\n");
    for _restart in 0..2 {
        let decision = scene.read().decision;
        assert_eq!(decision.effective.labels["team"], "blue");
        let reason = decision.reason.unwrap();
        assert!(reason.starts_with(".stampd.toml: line 2: write a string"), "{reason}");
    }
    fs::remove_file(scene.path("app").join(FILE_NAME)).unwrap();
    assert!(scene.read().decision.effective.labels.is_empty());
    scene.write(FILE_NAME, "no");
    assert!(scene.read().decision.effective.labels.is_empty(), "no file was the last good one");
}

#[test]
fn tools_that_only_look_leave_nothing_behind() {
    let scene = Scene::new();
    scene.write(FILE_NAME, "[labels]\nteam = 'blue'\n");
    repo::look(&scene.root, &user(), &scene.store, None);
    assert!(!scene.path("state").exists());
}

#[test]
fn a_config_that_is_no_small_regular_file_is_refused_and_named() {
    let scene = Scene::new();
    let secret = scene.path("secret.toml");
    fs::write(&secret, "[labels]\nteam = 'red'\n").unwrap();
    let file = scene.path("app").join(FILE_NAME);
    let refused = |told: &str| {
        let decision = scene.read().decision;
        assert!(decision.effective.labels.is_empty());
        let reason = decision.reason.unwrap();
        assert!(reason.contains(told), "{reason}");
    };
    symlink(&secret, &file).unwrap();
    refused("not a regular file");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    refused("not a regular file");
    fs::remove_dir(&file).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).unwrap();
    refused("not a regular file");
    fs::remove_file(&file).unwrap();
    fs::write(&file, format!("# {}\n", "x".repeat(64 * 1024))).unwrap();
    refused("larger than 64 KiB");
    scene.write("sub/.stampd.toml", "[labels]\nteam = 'red'\n");
    fs::remove_file(&file).unwrap();
    assert!(scene.read().decision.effective.labels.is_empty(), "only the root's counts");
}

#[test]
fn pins_are_private_whole_and_never_taken_for_another_subject() {
    let scene = Scene::new();
    let subject = scene.subject();
    assert_eq!(scene.store.load(&subject).unwrap(), None);
    let bytes = b"exclude = ['\xff']\0 any bytes\r\n";
    scene.store.pin(&subject, bytes).unwrap();
    assert_eq!(scene.store.load(&subject).unwrap().as_deref(), Some(&bytes[..]));
    scene.store.pin(&subject, b"").unwrap();
    assert_eq!(scene.store.load(&subject).unwrap().as_deref(), Some(&b""[..]));

    let dir = scene.path("state/trust");
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("one file, no temporary one: {files:?}") };
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(file)), (0o700, 0o600));

    fs::write(file, "stampd trust v1 /elsewhere\0\nexclude = ['*']").unwrap();
    assert!(matches!(scene.store.load(&subject), Err(TrustError::Damaged { .. })));
    let decision = scene.read().decision;
    assert!(decision.effective.filter.repo_exclude.is_empty(), "damage is never trust");
    assert!(decision.reason.unwrap().contains("damaged"));
}

#[test]
fn head_is_read_by_hand_loose_packed_and_detached() {
    let scene = Scene::new();
    let root = scene.root.path();
    let standing = || GitDir::find(&scene.root).unwrap().standing(&scene.root);
    git(root, &["init", "-q", "."]);
    let unborn = standing().unwrap();
    assert_eq!((unborn.head, unborn.branch.as_deref()), (None, Some("main")));

    scene.write("a", "a");
    git(root, &["add", "."]);
    git(root, &["commit", "-q", "-m", "a"]);
    let head = git(root, &["rev-parse", "HEAD"]);
    assert_eq!(standing().unwrap().head.as_ref(), Some(&head));

    git(root, &["checkout", "-q", "-b", "topic/one"]);
    git(root, &["pack-refs", "--all"]);
    let packed = standing().unwrap();
    assert_eq!((packed.head.as_ref(), packed.branch.as_deref()), (Some(&head), Some("topic/one")));

    git(root, &["checkout", "-q", "--detach"]);
    let detached = standing().unwrap();
    assert_eq!((detached.head.as_ref(), detached.branch), (Some(&head), None));
}

#[test]
fn a_head_that_cannot_be_told_is_unknown_and_no_error() {
    let scene = Scene::new();
    scene.write(".git/HEAD", "ref: refs/heads/.invalid\n");
    let standing = || GitDir::find(&scene.root).unwrap().standing(&scene.root);
    assert_eq!(standing(), None, "reftable");
    for odd in [
        "",
        "garbage",
        "ref: ../../secret",
        "ref: refs/heads/../../../secret",
        "ref: refs/heads/a\x1bb",
        "ref: refs/heads/a//b",
        "0123456789abcdef",
    ] {
        scene.write(".git/HEAD", odd);
        assert_eq!(standing(), None, "{odd:?}");
    }
    scene.write(".git/HEAD", "ref: refs/heads/a");
    scene.write(".git/refs/heads/a", "ref: refs/heads/b");
    scene.write(".git/refs/heads/b", "ref: refs/heads/a");
    assert_eq!(standing().unwrap().head, None, "a ring of refs ends");
    fs::write(scene.path("secret"), "a".repeat(40)).unwrap();
    fs::remove_file(scene.path("app/.git/refs/heads/a")).unwrap();
    symlink(scene.path("secret"), scene.path("app/.git/refs/heads/a")).unwrap();
    assert_eq!(standing().unwrap().head, None, "no link is followed");
}

#[test]
fn a_linked_worktree_shares_trust_and_rules_with_its_repository() {
    let scene = Scene::new();
    let root = scene.root.path();
    git(root, &["init", "-q", "."]);
    scene.write("a", "a");
    git(root, &["add", "."]);
    git(root, &["commit", "-q", "-m", "a"]);
    scene.write(".git/info/exclude", "*.tmp\n");
    let tree = scene.path("tree");
    git(root, &["worktree", "add", "-q", "-b", "side", tree.to_str().unwrap()]);
    let linked = Root::open(&tree).unwrap();
    let dir = GitDir::find(&linked).unwrap();
    assert_eq!(Subject::of(&linked, Some(&dir)), scene.subject());
    let standing = dir.standing(&linked).unwrap();
    assert_eq!(standing.branch.as_deref(), Some("side"));
    assert_eq!(standing.head, Some(git(root, &["rev-parse", "HEAD"])));
    assert_eq!(dir.info_exclude(&linked), b"*.tmp\n");
    assert!(dir.tracked(&linked).unwrap().contains(&repo_path("a")));

    let look = dir.index_look(&linked);
    assert_eq!(look, dir.index_look(&linked));
    write(&tree, "b", "b");
    git(&tree, &["add", "b"]);
    assert_ne!(look, dir.index_look(&linked));
    assert!(dir.tracked(&linked).unwrap().contains(&repo_path("b")));
}

#[test]
fn a_git_file_is_followed_out_of_the_root_only_to_what_points_back() {
    let scene = Scene::new();
    let victim = scene.path("victim");
    fs::create_dir(&victim).unwrap();
    git(&victim, &["init", "-q", "."]);
    write(&victim, "a", "a");
    git(&victim, &["add", "."]);
    git(&victim, &["commit", "-q", "-m", "a"]);
    git(&victim, &["worktree", "add", "-q", scene.path("tree").to_str().unwrap()]);
    for target in [victim.join(".git"), victim.join(".git/worktrees/tree"), scene.path("nowhere")] {
        scene.write(".git", format!("gitdir: {}\n", target.display()));
        assert!(GitDir::find(&scene.root).is_none(), "{}", target.display());
    }
    // One that points back, but to a common directory that does not know it.
    let forged = scene.path("forged");
    let back = scene.root.path().join(".git");
    write(&forged, "gitdir", back.to_str().unwrap());
    write(&forged, "commondir", victim.join(".git").to_str().unwrap());
    write(&forged, "HEAD", "ref: refs/heads/main");
    scene.write(".git", format!("gitdir: {}\n", forged.display()));
    assert!(GitDir::find(&scene.root).is_none());

    // Within the root there is nothing to protect, but neither is a way out.
    scene.write(".git", "gitdir: meta\n");
    scene.write("meta/HEAD", "ref: refs/heads/main");
    let found = GitDir::find(&scene.root).unwrap();
    assert_eq!(found.standing(&scene.root).unwrap().branch.as_deref(), Some("main"));
    scene.write("meta/commondir", victim.join(".git").to_str().unwrap());
    assert!(GitDir::find(&scene.root).is_none());
}

#[test]
fn an_index_that_cannot_be_read_keeps_what_was_tracked_before() {
    let scene = Scene::new();
    let root = scene.root.path();
    git(root, &["init", "-q", "."]);
    scene.write("build/keep", "");
    git(root, &["add", "."]);
    scene.write(".gitignore", "build/\n");
    let before = scene.read();
    assert_eq!(scene.verdict("build/keep"), "visible: tracked by git");
    scene.write(".git/index", "DIRC damaged");
    let after = repo::read(&scene.root, &user(), &scene.store, Some(&before.tracked));
    assert!(after.tracked.contains(&repo_path("build/keep")));
    assert!(after.decision.reason.unwrap().contains("read .git/index"));
}

#[test]
fn explain_tells_what_is_there_and_which_rule_decides() {
    let scene = Scene::new();
    scene.write("src/.gitignore", "*.o\n!keep.o\n");
    scene.write("src/main.o", "12345");
    scene.write("vendor/lib/.git/HEAD", "ref: refs/heads/main");
    scene.write("vendor/lib/a.c", "");
    symlink("src", scene.path("app/link")).unwrap();
    let ask = |path: &str, nested: bool| {
        explain(&scene.root, &scene.read(), nested, &repo_path(path)).unwrap()
    };

    let object = ask("src/main.o", false);
    assert_eq!(object.verdict.to_string(), "ignored by *.o (src/.gitignore, line 1)");
    assert_eq!((object.kind, object.size), (Some(FileKind::File), Some(5)));
    let absent = ask("src/keep.o", false);
    assert_eq!(
        absent.verdict.to_string(),
        "visible: re-included by !keep.o (src/.gitignore, line 2)"
    );
    assert_eq!(absent.kind, None);

    for inside in ["vendor/lib", "vendor/lib/a.c"] {
        let nested = ask(inside, false);
        assert_eq!(nested.verdict, Verdict::Nested);
        assert_eq!(nested.nested_in, Some(repo_path("vendor/lib")));
        assert!(ask(inside, true).verdict.is_visible());
    }
    assert_eq!(ask("vendor/lib/.git/HEAD", true).verdict, Verdict::Git);
    assert!(ask("", false).verdict.is_visible());
    assert_eq!(ask("link", false).kind, Some(FileKind::Symlink));
    assert_eq!(ask("link/main.o", false).kind, None, "nothing is reached through a link");

    scene.write("big/.gitignore", "x\n".repeat(600_000));
    let unread = ask("big/x", false);
    assert!(unread.verdict.is_visible());
    assert_eq!(unread.unread[0].0, repo_path("big/.gitignore"));
}
