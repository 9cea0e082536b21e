//! Storms on the real kernel: whatever happens, after quiescence the log says what is on the disk.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};

use super::{Workplace, assert_gapless};
use crate::support::tree::{grow, write};
use crate::support::wait::wait_until;

#[test]
fn every_file_of_3000_directories_made_under_a_running_agent_is_stamped() {
    let place = Workplace::new("");
    let agent = place.home.start_ready();
    grow(&place.repo, 3_000, 20);
    wait_until("all 60,000 are in the index without being asked for", || {
        place.status()["repos"][0]["files"] == 60_000
    });
    place.assert_log_is_disk(&[]);
    let log = place.log();
    assert_gapless(&log);
    assert_eq!(log.iter().filter(|body| body["kind"] == "created").count(), 60_000);
    assert!(agent.terminate().success());
}

#[test]
fn directories_that_are_removed_and_made_again_in_a_loop_end_up_right() {
    let place = Workplace::new("");
    let agent = place.home.start_ready();
    let dir = place.repo.join("d");
    for round in 0..200 {
        let _ = fs::remove_dir_all(&dir);
        grow(&dir, 2, 3);
        write(&dir, "sub/deep/file", format!("{round}\n"));
    }
    place.scan();
    place.assert_log_is_disk(&[]);
    write(&dir, "sub/deep/file", "watched\n");
    wait_until("the last directories are armed", || {
        place.kinds("d/sub/deep/file").len() >= 2 && {
            let digest = blake3::hash(b"watched\n").to_hex().to_string();
            super::replay(&place.log()).get(&b"d/sub/deep/file"[..]) == Some(&digest)
        }
    });
    assert!(agent.terminate().success());
}

#[test]
fn a_big_directory_renamed_is_one_rename_per_file() {
    let place = Workplace::new("");
    grow(&place.repo.join("old"), 100, 20);
    let agent = place.home.start_ready();
    fs::rename(place.repo.join("old"), place.repo.join("new")).expect("it is there");
    wait_until("every file is renamed", || {
        place.log().iter().filter(|body| body["kind"] == "renamed").count() == 2_000
    });
    place.scan();
    place.assert_log_is_disk(&[]);
    let log = place.log();
    assert!(log.iter().all(|body| body["kind"] != "deleted"));
    write(&place.repo, "new/d0000/f00.txt", "watched under its new name\n");
    wait_until("the new path is watched", || {
        place.kinds("new/d0000/f00.txt") == ["renamed", "modified"]
    });
    assert!(agent.terminate().success());
}

#[test]
fn a_big_directory_removed_deletes_every_file_once() {
    let place = Workplace::new("");
    grow(&place.repo.join("old"), 200, 20);
    let agent = place.home.start_ready();
    fs::remove_dir_all(place.repo.join("old")).expect("it is there");
    wait_until("every file is deleted", || place.status()["repos"][0]["files"] == 0);
    place.assert_log_is_disk(&[]);
    let deleted = place.log().iter().filter(|body| body["kind"] == "deleted").count();
    assert_eq!(deleted, 4_000);
    assert!(agent.terminate().success());
}

#[test]
fn a_large_file_that_is_truncated_while_it_is_read_gives_no_false_digest() {
    let place = Workplace::new("");
    let agent = place.home.start_ready();
    let path = place.repo.join("large");
    for round in 0..12_u64 {
        let mut file = File::create(&path).expect("the repo takes a file");
        file.set_len(24 << 20).expect("the disk has room");
        file.seek(SeekFrom::Start(20 << 20)).expect("it seeks");
        file.write_all(&round.to_le_bytes().repeat(4096)).expect("the disk has room");
        drop(file);
        place.home.must(&["scan"]);
        File::options().write(true).open(&path).expect("it is there").set_len(round).expect("cut");
    }
    place.scan();
    place.assert_log_is_disk(&[]);
    assert!(agent.terminate().success());
}

#[test]
fn git_checkouts_and_archives_are_stamped_as_they_end_up() {
    let place = Workplace::new("");
    let git = |args: &[&str]| {
        let status = std::process::Command::new("git")
            .args(["-c", "user.name=it", "-c", "user.email=it@example.org", "-C"])
            .arg(&place.repo)
            .args(args)
            .output()
            .expect("git is there");
        assert!(status.status.success(), "{args:?}: {status:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    grow(&place.repo, 20, 10);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "one"]);
    let agent = place.home.start_ready();
    git(&["checkout", "-qb", "other"]);
    for file in 0..10 {
        write(&place.repo, &format!("d0003/f{file:02}.txt"), "on the other branch\n");
    }
    fs::remove_dir_all(place.repo.join("d0004")).expect("it is there");
    git(&["add", "-A"]);
    git(&["commit", "-qm", "two"]);
    for branch in ["main", "other", "main", "other"] {
        git(&["checkout", "-q", branch]);
    }
    place.scan();
    place.assert_log_is_disk(&[".git"]);
    assert!(agent.terminate().success());
}
