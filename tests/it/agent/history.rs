//! What becomes of single changes: one stamp of the right kind, and no other.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::{Workplace, text};
use crate::support::tree::{name, write};
use crate::support::wait::wait_until;

/// Starts an agent over `before`, makes a change, and asserts the kinds of stamps of some paths.
fn check(before: &[(&str, &str)], change: impl FnOnce(&Workplace), expected: &[(&str, &[&str])]) {
    let place = Workplace::new("");
    for (path, content) in before {
        write(&place.repo, path, content);
    }
    let agent = place.home.start_ready();
    change(&place);
    // By events first: the walk of a scan must not be what finds the change.
    for (path, kinds) in expected {
        wait_until(&format!("{path} has {kinds:?}"), || place.kinds(path) == *kinds);
    }
    place.scan();
    for (path, kinds) in expected {
        assert_eq!(place.kinds(path), *kinds, "{path}");
    }
    assert!(agent.terminate().success());
}

#[test]
fn creating_modifying_and_deleting_are_one_stamp_each() {
    check(
        &[("kept", "1"), ("gone", "2")],
        |place| {
            write(&place.repo, "made", "3");
            write(&place.repo, "kept", "4");
            fs::remove_file(place.repo.join("gone")).unwrap();
        },
        &[
            ("made", &["created"]),
            ("kept", &["created", "modified"]),
            ("gone", &["created", "deleted"]),
        ],
    );
}

#[test]
fn rename_within_the_root_yields_one_stamp() {
    check(
        &[("a", "content")],
        |place| fs::rename(place.repo.join("a"), place.repo.join("b")).unwrap(),
        &[("a", &["created"]), ("b", &["renamed"])],
    );
}

/// By the time the removal had settled a directory stood in the file's place: the file stayed in the
/// index, and the walk of that directory was repeated for ever.
#[test]
fn a_file_whose_place_a_directory_takes_is_deleted() {
    check(
        &[("a", "content")],
        |place| {
            fs::remove_file(place.repo.join("a")).unwrap();
            write(&place.repo, "a/inside", "1");
        },
        &[("a", &["created", "deleted"]), ("a/inside", &["created"])],
    );
}

/// The directory was compared at once, and the file in whose place it stood was said to be deleted
/// before its new name had settled.
#[test]
fn a_file_moved_away_from_a_directory_that_takes_its_place_is_renamed() {
    check(
        &[("a", "content")],
        |place| {
            fs::rename(place.repo.join("a"), place.repo.join("b")).unwrap();
            write(&place.repo, "a/inside", "1");
        },
        &[("a", &["created"]), ("b", &["renamed"]), ("a/inside", &["created"])],
    );
}

/// So large that it is read beside everything else, and found to be renamed only later.
const LARGE_BYTES: usize = 20 << 20;

#[test]
fn a_large_file_moved_is_one_rename() {
    let content = "1".repeat(LARGE_BYTES);
    check(
        &[("large", &content), ("dir/large", &content)],
        |place| {
            fs::rename(place.repo.join("large"), place.repo.join("moved")).unwrap();
            fs::rename(place.repo.join("dir"), place.repo.join("there")).unwrap();
        },
        &[
            ("large", &["created"]),
            ("moved", &["renamed"]),
            ("dir/large", &["created"]),
            ("there/large", &["renamed"]),
        ],
    );
}

/// The old name waits for the file to be read, and is another's by then.
#[test]
fn what_comes_to_the_place_of_a_large_file_that_was_moved_is_its_own() {
    let place = Workplace::new("");
    write(&place.repo, "large", "1".repeat(LARGE_BYTES));
    let agent = place.home.start_ready();
    for _ in 0..5 {
        fs::rename(place.repo.join("large"), place.repo.join("moved")).unwrap();
        write(&place.repo, "large", "another");
        place.scan();
        place.assert_log_is_disk(&[]);
        fs::rename(place.repo.join("moved"), place.repo.join("large")).unwrap();
        place.scan();
        place.assert_log_is_disk(&[]);
    }
    assert!(agent.terminate().success());
}

#[test]
fn a_rename_names_where_it_came_from_and_what_it_was() {
    let place = Workplace::new("");
    write(&place.repo, "a", "content");
    let agent = place.home.start_ready();
    fs::rename(place.repo.join("a"), place.repo.join("b")).unwrap();
    wait_until("it is renamed", || place.kinds("b") == ["renamed"]);
    let log = place.log();
    let renamed = log.iter().find(|body| body["kind"] == "renamed").unwrap();
    assert_eq!(renamed["from"], "a");
    assert_eq!(renamed["prev"], renamed["digest"]);
    let path = place.repo.join("b").display().to_string();
    let history = super::bodies(&place.home.must(&["log", &path, "--format", "jsonl"]));
    let kinds: Vec<String> = history.iter().map(|body| text(&body["kind"])).collect();
    assert_eq!(kinds, ["renamed", "created"], "the history goes on under the old name");
    assert!(agent.terminate().success());
}

#[test]
fn an_inode_reused_is_not_a_rename() {
    check(
        &[("a", "old")],
        |place| {
            fs::remove_file(place.repo.join("a")).unwrap();
            write(&place.repo, "b", "new");
        },
        &[("a", &["created", "deleted"]), ("b", &["created"])],
    );
}

#[test]
fn an_atomic_save_is_a_modification() {
    check(
        &[("doc", "old")],
        |place| {
            let temporary = write(&place.repo, ".doc.tmp", "new");
            fs::rename(temporary, place.repo.join("doc")).unwrap();
        },
        &[("doc", &["created", "modified"]), (".doc.tmp", &[])],
    );
}

#[test]
fn a_mode_is_an_attribute_and_times_alone_are_nothing() {
    check(
        &[("script", "#!/bin/sh\n"), ("touched", "1")],
        |place| {
            let script = place.repo.join("script");
            fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
            let touched = fs::File::options().append(true).open(place.repo.join("touched"));
            touched.unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        },
        &[("script", &["created", "attributes"]), ("touched", &["created"])],
    );
}

#[test]
fn a_symbolic_link_is_stamped_by_its_text_and_never_followed() {
    let place = Workplace::new("");
    let outside = write(place.home.path(), "outside/secret", "secret");
    let agent = place.home.start_ready();
    symlink(outside.parent().unwrap(), place.repo.join("link")).unwrap();
    wait_until("the link is stamped", || place.kinds("link") == ["symlink"]);
    place.scan();
    let log = place.log();
    let link = log.iter().find(|body| body["path"] == "link").unwrap();
    assert_eq!(link["target"], outside.parent().unwrap().to_str().unwrap());
    assert_eq!(link.get("digest"), None);
    assert!(log.iter().all(|body| body["path"] != "link/secret"));
    assert!(agent.terminate().success());
}

#[test]
fn a_write_through_one_hard_link_stamps_the_other_name_too() {
    let place = Workplace::new("");
    let one = write(&place.repo, "one", "1");
    fs::create_dir(place.repo.join("dir")).unwrap();
    fs::hard_link(&one, place.repo.join("dir/two")).unwrap();
    let agent = place.home.start_ready();
    fs::write(&one, "2").unwrap();
    wait_until("both names are stamped", || {
        place.kinds("one") == ["created", "modified"]
            && place.kinds("dir/two") == ["created", "modified"]
    });
    assert!(agent.terminate().success());
}

#[test]
fn special_and_sparse_files_are_skipped_with_the_reason() {
    let place = Workplace::new("[hash]\nmax_file_size = \"1MiB\"\n");
    let agent = place.home.start_ready();
    fs::File::create(place.repo.join("sparse")).unwrap().set_len(2 << 20).unwrap();
    fs::write(place.repo.join("big"), vec![7; (1 << 20) + 1]).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(place.repo.join("fifo")).status();
    assert!(fifo.unwrap().success());
    place.scan();
    let log = place.log();
    let reason = |path: &str| {
        let body = log.iter().find(|body| body["path"] == path).unwrap_or_else(|| panic!("{path}"));
        (text(&body["kind"]), text(&body["reason"]))
    };
    let skipped = |reason: &str| ("skipped".to_owned(), reason.to_owned());
    assert_eq!(reason("sparse"), skipped("sparse"));
    assert_eq!(reason("big"), skipped("too_large"));
    assert_eq!(reason("fifo"), skipped("special"));
    assert!(agent.terminate().success());
}

#[test]
fn a_name_of_any_bytes_is_stamped_and_shown_escaped() {
    let place = Workplace::new("");
    let agent = place.home.start_ready();
    let names: [&[u8]; 4] =
        [b"new\nline", b"esc\x1b[2J", b"not\xffutf8", "bidi\u{202e}".as_bytes()];
    for bytes in names {
        fs::write(place.repo.join(name(bytes)), bytes).unwrap();
    }
    place.scan();
    place.assert_log_is_disk(&[]);
    let shown = place.home.must(&["log", "--all"]);
    assert!(!shown.contains('\x1b') && !shown.contains('\u{202e}'), "{shown:?}");
    assert!(shown.contains("not\\xffutf8"), "{shown}");
    assert!(agent.terminate().success());
}

#[test]
fn a_rule_file_edited_live_re_evaluates_its_directory() {
    let place = Workplace::new("");
    write(&place.repo, "build/out.o", "1");
    write(&place.repo, "src/main.c", "2");
    let agent = place.home.start_ready();
    write(&place.repo, ".gitignore", "build/\n");
    wait_until("the newly ignored is skipped", || {
        place.kinds("build/out.o") == ["created", "skipped"]
    });
    write(&place.repo, "build/more.o", "3");
    write(&place.repo, ".gitignore", "*.tmp\n");
    wait_until("the newly visible is stamped", || {
        place.kinds("build/more.o") == ["created"]
            && place.kinds("build/out.o") == ["created", "skipped", "created"]
    });
    write(&place.repo, "build/late.o", "4");
    wait_until("and watched", || place.kinds("build/late.o") == ["created"]);
    assert!(place.log().iter().all(|body| body["kind"] != "deleted"));
    assert!(agent.terminate().success());
}

#[test]
fn labels_of_the_repo_end_up_on_its_stamps() {
    let place = Workplace::new("");
    write(&place.repo, ".stampd.toml", "[labels]\nteam = \"core\"\n");
    let agent = place.home.start_ready();
    write(&place.repo, "a", "1");
    wait_until("it is stamped", || place.kinds("a") == ["created"]);
    let label = |path: &str| {
        let log = place.log();
        let body = log.iter().rev().find(|body| body["path"] == path).unwrap();
        body["labels"]["team"].clone()
    };
    assert_eq!(label("a"), "core");
    write(&place.repo, ".stampd.toml", "[labels]\nteam = \"edge\"\n");
    wait_until("the config is stamped", || place.kinds(".stampd.toml").len() == 2);
    write(&place.repo, "b", "1");
    wait_until("it is stamped", || place.kinds("b") == ["created"]);
    assert_eq!(label("b"), "edge");
    write(&place.repo, ".stampd.toml", "[labels\n");
    wait_until("the invalid config is named", || {
        place.status()["repos"][0]["reason"]
            .as_str()
            .is_some_and(|why| why.contains(".stampd.toml"))
    });
    write(&place.repo, "c", "1");
    wait_until("it is stamped", || place.kinds("c") == ["created"]);
    assert_eq!(label("c"), "edge", "the last good config stays in force");
    assert!(agent.terminate().success());
}

#[test]
fn a_nested_repository_is_left_out_unless_asked_for() {
    for (more, expected) in [("", 0), ("[watch]\nnested = true\n", 1)] {
        let place = Workplace::new(more);
        write(&place.repo, "inner/.git/HEAD", "ref: refs/heads/main\n");
        write(&place.repo, "inner/file", "1");
        let agent = place.home.start_ready();
        assert_eq!(place.kinds("inner/file").len(), expected, "{more}");
        assert!(place.kinds("inner/.git/HEAD").is_empty(), "git's own files never");
        assert!(agent.terminate().success());
    }
}

#[test]
fn stamps_carry_a_repos_own_name_once_it_is_trusted() {
    let place = Workplace::new("");
    write(&place.repo, ".stampd.toml", "name = \"engine\"\n");
    let agent = place.home.start_ready();
    write(&place.repo, "before", "1");
    wait_until("the first is stamped", || place.kinds("before") == ["created"]);
    place.home.must(&["trust", &place.repo.display().to_string()]);
    wait_until("a stamp carries the name", || {
        write(&place.repo, "after", place.log().len().to_string());
        place.scan();
        place.log().iter().any(|body| body["path"] == "after" && body["repo"] == "engine")
    });
    let log = place.log();
    let before = log.iter().find(|body| body["path"] == "before").unwrap();
    assert_eq!(before["repo"], "app", "untrusted, it says nothing");
    assert_eq!(place.status()["repos"][0]["name"], "app", "commands know it by the user's name");
    assert!(agent.terminate().success());
}
