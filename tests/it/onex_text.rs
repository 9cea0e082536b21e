//! Stamps inside texts: cases that were computed elsewhere, and the commands that make and check
//! them.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use stampd::model::digest::Digest;
use stampd::model::onex_text::{Rules, canonical, check};

use super::support::process::Home;
use super::support::tree;

#[test]
fn every_text_has_the_stamps_and_the_hash_that_the_reference_found() {
    for line in include_str!("../cases/onex_text/golden.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = case["text"].as_str().unwrap();
        assert_eq!(canonical(text), case["canonical"].as_str().unwrap(), "{text:?}");
        let found = check(text, Rules::default());
        assert_eq!(found.current_hash.to_string(), case["hash"].as_str().unwrap(), "{text:?}");
        let stamps = case["stamps"].as_array().unwrap();
        assert_eq!(found.found, stamps.len(), "{text:?}");
        for (detail, stamp) in found.details.iter().zip(stamps) {
            let says: Vec<_> =
                stamp[1].as_array().unwrap().iter().map(|hash| hash.as_str().unwrap()).collect();
            let wrong = says.iter().find(|hash| **hash != case["hash"]);
            assert_eq!(detail.kind.as_str(), stamp[0], "{text:?}");
            assert_eq!(detail.is_valid, !says.is_empty() && wrong.is_none(), "{text:?}");
            assert_eq!(detail.stamp_hash.as_deref(), wrong.or(says.first()).copied(), "{text:?}");
        }
    }
}

/// A directory in which commands run, without an agent and without a repo.
struct Scene {
    home: Home,
    dir: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        home.configure("");
        let dir = home.path().join("files");
        std::fs::create_dir(&dir).unwrap();
        Self { home, dir }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        tree::write(&self.dir, name, content);
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn fed(&self, args: &[&str], stdin: &[u8]) -> Output {
        let mut command = self.home.command(args);
        command.current_dir(&self.dir);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // Taken, so that it is closed here and the command sees the end. A command that reads none
        // of it may be gone already.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap()
    }

    /// Runs a command that ends with `code`; returns what it printed and what it said.
    fn ends(&self, code: i32, args: &[&str]) -> (String, String) {
        let output = self.fed(args, b"");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
        (out, err)
    }
}

#[test]
fn a_file_is_stamped_to_standard_output_and_stays_as_it_is() {
    let scene = Scene::new();
    scene.write("a.txt", "Hello World\n");
    let (out, _) = scene.ends(0, &["stamp", "a.txt", "--author", "ada", "--content-version", "2"]);
    let (line, content) = out.split_once('\n').unwrap();
    let hash = Digest::of(b"Hello World");
    assert!(
        line.starts_with("# ONEX:uid=") && line.contains(&format!(",hash={hash},ts=20")),
        "{line}"
    );
    assert!(line.ends_with("+00:00,author=ada,v=2"), "{line}");
    assert_eq!((content, scene.read("a.txt").as_str()), ("Hello World\n", "Hello World\n"));
    let (out, _) = scene.ends(0, &["stamp", "a.txt", "--rich", "--content-type", "text/plain"]);
    assert!(out.starts_with("Hello World\n\n\n<!-- ONEX_METADATA_START -->\n"), "{out}");
    assert!(out.contains("\n  file_path: a.txt\n  file_size: 11\n  content_type: text/plain\n"));
    let piped = scene.fed(&["stamp", "-", "--rich"], b"Hello World");
    let out = String::from_utf8(piped.stdout).unwrap();
    assert!(out.contains("\n  file_path: None\n"), "{out}");
    assert_eq!(scene.fed(&["validate", "-"], out.as_bytes()).status.code(), Some(0));
}

#[test]
fn a_file_is_replaced_in_one_step_and_keeps_its_mode_and_its_links() {
    let scene = Scene::new();
    scene.write("run.sh", "echo\n");
    let file = scene.dir.join("run.sh");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("run.sh", scene.dir.join("link")).unwrap();
    let before = std::fs::metadata(&file).unwrap();
    assert_eq!(scene.ends(0, &["stamp", "--in-place", "link"]).0, "");
    let after = std::fs::metadata(&file).unwrap();
    assert_eq!(
        (after.mode(), after.uid(), after.gid()),
        (before.mode(), before.uid(), before.gid())
    );
    assert_ne!(after.ino(), before.ino(), "a reader of the old file still has all of it");
    assert_eq!(scene.names(), ["link", "run.sh"]);
    assert!(std::fs::symlink_metadata(scene.dir.join("link")).unwrap().is_symlink());
    let stamped = scene.read("run.sh");
    assert!(stamped.starts_with("# ONEX:uid=") && stamped.ends_with("\necho\n"), "{stamped}");
    scene.ends(0, &["validate", "run.sh", "link"]);
}

#[test]
fn stamping_again_changes_nothing_until_the_content_changes() {
    let scene = Scene::new();
    for kind in [&["stamp", "-i", "a"][..], &["stamp", "-i", "a", "--rich"]] {
        scene.write("a", "one\n");
        scene.ends(0, kind);
        let once = scene.read("a");
        let inode = std::fs::metadata(scene.dir.join("a")).unwrap().ino();
        let (_, err) = scene.ends(0, kind);
        assert!(err.contains("a holds such a stamp already"), "{err}");
        assert_eq!(scene.read("a"), once);
        assert_eq!(std::fs::metadata(scene.dir.join("a")).unwrap().ino(), inode);
        scene.write("a", once.replace("one", "two"));
        scene.ends(5, &["validate", "a"]);
        scene.ends(0, kind);
        scene.ends(0, &["validate", "a"]);
        let again = scene.read("a");
        assert_eq!(again.matches("uid").count(), 1, "the old stamp is gone: {again}");
    }
}

#[test]
fn what_cannot_be_replaced_or_stamped_is_left_as_it_is() {
    let scene = Scene::new();
    scene.write("twin", "x");
    std::fs::hard_link(scene.dir.join("twin"), scene.dir.join("twin2")).unwrap();
    assert!(scene.ends(2, &["stamp", "-i", "twin"]).1.contains("without --in-place"));
    assert!(scene.ends(2, &["stamp", "-i", "."]).1.contains("no plain file"));
    assert!(scene.ends(2, &["stamp", "-i", "-"]).1.contains("name a file"));
    scene.write("binary", b"\xff\xfe");
    assert!(scene.ends(2, &["stamp", "binary"]).1.contains("not UTF-8"));
    scene.write("open", "a\n<!-- ONEX_METADATA_START -->\nb");
    assert!(scene.ends(2, &["stamp", "-i", "--rich", "open"]).1.contains("parts of stamps"));
    assert!(scene.ends(7, &["stamp", "none"]).1.contains("failed to read none: No such file"));
    scene.ends(2, &["stamp", "twin", "--rich", "--author", "ada"]);
    assert_eq!(scene.names(), ["binary", "open", "twin", "twin2"]);
    assert_eq!(scene.read("open"), "a\n<!-- ONEX_METADATA_START -->\nb");
}

/// Root may write everywhere; anybody else may not replace a file in a directory like this.
#[test]
fn a_directory_that_takes_no_file_keeps_the_old_one() {
    let scene = Scene::new();
    scene.write("kept/a", "x");
    let kept = scene.dir.join("kept");
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o555)).unwrap();
    let code = if rustix::process::geteuid().is_root() { 0 } else { 8 };
    scene.ends(code, &["stamp", "-i", "kept/a"]);
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 1);
}

#[test]
fn validate_says_of_each_file_what_holds_and_ends_with_the_worst() {
    let scene = Scene::new();
    scene.write("good", "one\n");
    scene.ends(0, &["stamp", "-i", "good"]);
    scene.write("bad", scene.read("good").replace("one", "two"));
    scene.write("bare", "three");
    scene.write("binary", b"\xff");
    assert_eq!(scene.ends(0, &["validate", "good"]).0, "valid       good\n");
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let (out, _) = scene.ends(5, &["validate", "none", "good", "bad", "bare", "binary"]);
    let expected = format!(
        "unreadable  none: No such file or directory (os error 2)\nvalid       good\ninvalid     \
         bad\n            lightweight stamp says {one}, the text has {two}\nunstamped   bare\n\
         unreadable  binary: it is not UTF-8 text, and in-file stamps live in nothing else\n"
    );
    assert_eq!(out, expected);
    assert_eq!(scene.ends(7, &["validate", "none", "good", "--quiet"]).0.lines().count(), 1);
    scene.ends(2, &["validate"]);
    scene.ends(5, &["validate", "--strict", "good"]);
    scene.ends(0, &["validate", "--expect", &one.to_string(), "good"]);
    let (out, _) = scene.ends(5, &["validate", "--expect", &two.to_string(), "good"]);
    assert!(out.contains("as the text has, but not the expected one"), "{out}");
}

#[test]
fn programs_are_told_in_json() {
    let scene = Scene::new();
    let json =
        |code, args: &[&str]| -> Value { serde_json::from_str(&scene.ends(code, args).0).unwrap() };
    scene.write("a", "one\n");
    let told = json(0, &["stamp", "a", "--format", "json"]);
    let hash = Digest::of(b"one").to_string();
    assert_eq!(
        (&told["schema"], &told["stamp_type"]),
        (&"stampd.stamp/v1".into(), &"lightweight".into())
    );
    assert_eq!((&told["path"], &told["file_hash"]), (&"a".into(), &hash.as_str().into()));
    let stamp = told["stamp"].as_str().unwrap();
    assert_eq!(told["stamped_content"], format!("{stamp}\none\n"));
    let told = json(0, &["stamp", "a", "-i", "--format", "json"]);
    assert!(told.get("stamped_content").is_none());
    assert_eq!(scene.read("a"), format!("{}\none\n", told["stamp"].as_str().unwrap()));
    scene.write("b", "bare");
    let told = json(5, &["validate", "a", "b", "none", "--format", "json"]);
    assert_eq!((&told["schema"], &told["is_valid"]), (&"stampd.validate/v1".into(), &false.into()));
    let verdicts: Vec<_> = told["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["valid", "unstamped", "unreadable"]);
    let file = &told["files"][0];
    assert_eq!((&file["stamps_found"], &file["current_hash"]), (&1.into(), &hash.as_str().into()));
    let detail = &file["validation_details"][0];
    assert_eq!((&detail["stamp_type"], &detail["is_valid"]), (&"lightweight".into(), &true.into()));
    assert_eq!(
        (&detail["stamp_hash"], &detail["current_hash"]),
        (&hash.as_str().into(), &hash.as_str().into())
    );
    let (out, _) = scene.ends(5, &["validate", "a", "b", "--format", "jsonl"]);
    assert_eq!(out.lines().count(), 2);
}

#[test]
fn a_file_larger_than_the_limit_is_refused() {
    let scene = Scene::new();
    let file = std::fs::File::create(scene.dir.join("large")).unwrap();
    file.set_len((100 << 20) + 1).unwrap();
    assert!(scene.ends(2, &["stamp", "large"]).1.contains("larger than 100 MiB"));
    assert!(Path::new(&scene.dir.join("large")).exists());
}
