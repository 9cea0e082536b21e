//! Stamps inside texts: cases that were computed elsewhere, and the commands that make and check
//! them.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::Value;
use stampd::model::digest::Digest;
use stampd::model::onex_text::{Rules, canonical, check};

use super::support::files::Files;

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

fn read(files: &Files, name: &str) -> String {
    std::fs::read_to_string(files.dir.join(name)).unwrap()
}

fn names(files: &Files) -> Vec<String> {
    let entries = std::fs::read_dir(&files.dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_stamped_to_standard_output_and_stays_as_it_is() {
    let files = Files::new();
    files.write("a.txt", "Hello World\n");
    let (out, _) = files.ends(0, &["stamp", "a.txt", "--author", "ada", "--content-version", "2"]);
    let (line, content) = out.split_once('\n').unwrap();
    let hash = Digest::of(b"Hello World");
    assert!(
        line.starts_with("# ONEX:uid=") && line.contains(&format!(",hash={hash},ts=20")),
        "{line}"
    );
    assert!(line.ends_with("+00:00,author=ada,v=2"), "{line}");
    assert_eq!((content, read(&files, "a.txt").as_str()), ("Hello World\n", "Hello World\n"));
    let (out, _) = files.ends(0, &["stamp", "a.txt", "--rich", "--content-type", "text/plain"]);
    assert!(out.starts_with("Hello World\n\n\n<!-- ONEX_METADATA_START -->\n"), "{out}");
    assert!(out.contains("\n  file_path: a.txt\n  file_size: 11\n  content_type: text/plain\n"));
    let piped = files.fed(&["stamp", "-", "--rich"], b"Hello World");
    let out = String::from_utf8(piped.stdout).unwrap();
    assert!(out.contains("\n  file_path: None\n"), "{out}");
    assert_eq!(files.fed(&["validate", "-"], out.as_bytes()).status.code(), Some(0));
}

#[test]
fn a_file_is_replaced_in_one_step_and_keeps_its_mode_and_its_links() {
    let files = Files::new();
    files.write("run.sh", "echo\n");
    let file = files.dir.join("run.sh");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("run.sh", files.dir.join("link")).unwrap();
    let before = std::fs::metadata(&file).unwrap();
    assert_eq!(files.ends(0, &["stamp", "--in-place", "link"]).0, "");
    let after = std::fs::metadata(&file).unwrap();
    assert_eq!(
        (after.mode(), after.uid(), after.gid()),
        (before.mode(), before.uid(), before.gid())
    );
    assert_ne!(after.ino(), before.ino(), "a reader of the old file still has all of it");
    assert_eq!(names(&files), ["link", "run.sh"]);
    assert!(std::fs::symlink_metadata(files.dir.join("link")).unwrap().is_symlink());
    let stamped = read(&files, "run.sh");
    assert!(stamped.starts_with("# ONEX:uid=") && stamped.ends_with("\necho\n"), "{stamped}");
    files.ends(0, &["validate", "run.sh", "link"]);
}

#[test]
fn stamping_again_changes_nothing_until_the_content_changes() {
    let files = Files::new();
    for kind in [&["stamp", "-i", "a"][..], &["stamp", "-i", "a", "--rich"]] {
        files.write("a", "one\n");
        files.ends(0, kind);
        let once = read(&files, "a");
        let inode = std::fs::metadata(files.dir.join("a")).unwrap().ino();
        let (_, err) = files.ends(0, kind);
        assert!(err.contains("a holds such a stamp already"), "{err}");
        assert_eq!(read(&files, "a"), once);
        assert_eq!(std::fs::metadata(files.dir.join("a")).unwrap().ino(), inode);
        files.write("a", once.replace("one", "two"));
        files.ends(5, &["validate", "a"]);
        files.ends(0, kind);
        files.ends(0, &["validate", "a"]);
        let again = read(&files, "a");
        assert_eq!(again.matches("uid").count(), 1, "the old stamp is gone: {again}");
    }
}

#[test]
fn what_cannot_be_replaced_or_stamped_is_left_as_it_is() {
    let files = Files::new();
    files.write("twin", "x");
    std::fs::hard_link(files.dir.join("twin"), files.dir.join("twin2")).unwrap();
    assert!(files.ends(2, &["stamp", "-i", "twin"]).1.contains("without --in-place"));
    assert!(files.ends(2, &["stamp", "-i", "."]).1.contains("no plain file"));
    assert!(files.ends(2, &["stamp", "-i", "-"]).1.contains("name a file"));
    files.write("binary", b"\xff\xfe");
    assert!(files.ends(2, &["stamp", "binary"]).1.contains("not UTF-8"));
    files.write("open", "a\n<!-- ONEX_METADATA_START -->\nb");
    assert!(files.ends(2, &["stamp", "-i", "--rich", "open"]).1.contains("parts of stamps"));
    assert!(files.ends(7, &["stamp", "none"]).1.contains("failed to read none: No such file"));
    files.ends(2, &["stamp", "twin", "--rich", "--author", "ada"]);
    assert_eq!(names(&files), ["binary", "open", "twin", "twin2"]);
    assert_eq!(read(&files, "open"), "a\n<!-- ONEX_METADATA_START -->\nb");
}

/// Root may write everywhere; anybody else may not replace a file in a directory like this.
#[test]
fn a_directory_that_takes_no_file_keeps_the_old_one() {
    let files = Files::new();
    files.write("kept/a", "x");
    let kept = files.dir.join("kept");
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o555)).unwrap();
    let code = if rustix::process::geteuid().is_root() { 0 } else { 8 };
    files.ends(code, &["stamp", "-i", "kept/a"]);
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 1);
}

#[test]
fn validate_says_of_each_file_what_holds_and_ends_with_the_worst() {
    let files = Files::new();
    files.write("good", "one\n");
    files.ends(0, &["stamp", "-i", "good"]);
    files.write("bad", read(&files, "good").replace("one", "two"));
    files.write("bare", "three");
    files.write("binary", b"\xff");
    assert_eq!(files.ends(0, &["validate", "good"]).0, "valid       good\n");
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let (out, _) = files.ends(5, &["validate", "none", "good", "bad", "bare", "binary"]);
    let expected = format!(
        "unreadable  none: No such file or directory (os error 2)\nvalid       good\ninvalid     \
         bad\n            lightweight stamp says {one}, the text has {two}\nunstamped   bare\n\
         unreadable  binary: it is not UTF-8 text, and in-file stamps live in nothing else\n"
    );
    assert_eq!(out, expected);
    assert_eq!(files.ends(7, &["validate", "none", "good", "--quiet"]).0.lines().count(), 1);
    files.ends(2, &["validate"]);
    files.ends(5, &["validate", "--strict", "good"]);
    files.ends(0, &["validate", "--expect", &one.to_string(), "good"]);
    let (out, _) = files.ends(5, &["validate", "--expect", &two.to_string(), "good"]);
    assert!(out.contains("as the text has, but not the expected one"), "{out}");
}

#[test]
fn programs_are_told_in_json() {
    let files = Files::new();
    let json =
        |code, args: &[&str]| -> Value { serde_json::from_str(&files.ends(code, args).0).unwrap() };
    files.write("a", "one\n");
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
    assert_eq!(read(&files, "a"), format!("{}\none\n", told["stamp"].as_str().unwrap()));
    files.write("b", "bare");
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
    let (out, _) = files.ends(5, &["validate", "a", "b", "--format", "jsonl"]);
    assert_eq!(out.lines().count(), 2);
}

#[test]
fn a_file_larger_than_the_limit_is_refused() {
    let files = Files::new();
    let file = std::fs::File::create(files.dir.join("large")).unwrap();
    file.set_len((100 << 20) + 1).unwrap();
    assert!(files.ends(2, &["stamp", "large"]).1.contains("larger than 100 MiB"));
    assert!(Path::new(&files.dir.join("large")).exists());
}
