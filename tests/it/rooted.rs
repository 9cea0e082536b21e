//! Access below a root on a real file system: hostile names, depths, special files and races.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat, unlinkat};
use stampd::runtime::rooted::{
    FileKind, Identity, Presence, Root, Stat, is_absent, list, open_dir_at, open_file_at, stat_at,
    stat_fd,
};
use tempfile::TempDir;

fn scratch() -> (TempDir, Root) {
    let dir = tempfile::tempdir().expect("scratch directory");
    let root = Root::open(dir.path()).expect("opens");
    (dir, root)
}

fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("makes a FIFO");
}

#[test]
fn a_root_knows_what_became_of_it() {
    let base = tempfile::tempdir().expect("scratch directory");
    let path = base.path().join("root");
    let check = |become_: &dyn Fn(), expected: Presence| {
        std::fs::create_dir(&path).expect("a fresh root");
        let root = Root::open(&path).expect("opens");
        assert_eq!(root.presence(), Presence::Same);
        become_();
        assert_eq!(root.presence(), expected);
        let _ = std::fs::remove_dir(&path).or_else(|_| std::fs::remove_file(&path));
        let _ = std::fs::remove_dir(base.path().join("away"));
    };
    let away = || std::fs::rename(&path, base.path().join("away")).expect("moves");
    let remove = || std::fs::remove_dir(&path).expect("removes");
    check(&|| {}, Presence::Same);
    check(&remove, Presence::Missing);
    check(&away, Presence::Moved);
    check(
        &|| {
            away();
            std::fs::create_dir(&path).expect("makes");
        },
        Presence::Replaced,
    );
    check(
        &|| {
            remove();
            symlink(base.path(), &path).expect("links");
        },
        Presence::Symlink,
    );
    check(
        &|| {
            remove();
            std::fs::write(&path, "").expect("writes");
        },
        Presence::NotADirectory,
    );
}

#[test]
fn a_link_is_not_taken_for_a_root() {
    let base = tempfile::tempdir().expect("scratch directory");
    std::fs::create_dir(base.path().join("real")).unwrap();
    symlink("real", base.path().join("link")).unwrap();
    assert!(is_absent(&Root::open(&base.path().join("link")).expect_err("a link")));
    symlink(base.path(), base.path().join("on-the-way")).unwrap();
    let through =
        Root::open(&base.path().join("on-the-way/real")).expect("links before it are fine");
    assert_eq!(through.presence(), Presence::Same);
}

#[test]
fn a_recreated_root_has_another_identity() {
    let base = tempfile::tempdir().expect("scratch directory");
    let path = base.path().join("root");
    std::fs::create_dir(&path).unwrap();
    let first = Root::open(&path).unwrap();
    assert_eq!(Root::open(&path).unwrap().identity(), first.identity());
    std::fs::rename(&path, base.path().join("away")).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_ne!(Root::open(&path).unwrap().identity(), first.identity());
    let away = Root::open(&base.path().join("away")).unwrap();
    assert_eq!(Identity::of(away.as_fd()).unwrap(), first.identity());
}

#[test]
fn special_files_neither_block_nor_hide_what_they_are() {
    let (dir, root) = scratch();
    make_fifo(&dir.path().join("fifo"));
    let _listener = UnixListener::bind(dir.path().join("socket")).expect("binds");
    symlink("/dev/zero", dir.path().join("device-link")).unwrap();

    for name in ["fifo", "socket"] {
        assert_eq!(root.stat(name.as_bytes()).unwrap().kind, FileKind::Special, "{name}");
        let error = root.read_small(name.as_bytes(), 10).expect_err(name);
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name}");
    }
    // Nobody writes to it: a blocking open would never come back.
    let fifo = root.open_file(b"fifo").expect("opens at once");
    assert_eq!(stat_fd(fifo.as_fd()).unwrap().kind, FileKind::Special);
    root.open_file(b"socket").expect_err("a socket is not opened");
    root.open_file(b"device-link").expect_err("a link to a device is not followed");

    let dev = Root::open(Path::new("/dev")).expect("opens");
    assert_eq!(dev.stat(b"null").unwrap().kind, FileKind::Special);
}

#[test]
fn a_tree_deeper_than_the_longest_path_is_reached() {
    const LEVELS: usize = 5_000;
    let (dir, root) = scratch();
    let mut at: OwnedFd = openat(CWD, dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..LEVELS {
        mkdirat(&at, "deep", Mode::RWXU).expect("makes");
        at = open_dir_at(at.as_fd(), b"deep").expect("descends");
    }
    let leaf = openat(&at, "leaf", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).expect("makes");
    rustix::io::write(&leaf, b"found").expect("writes");

    let below = vec!["deep"; LEVELS].join("/");
    let path = format!("{below}/leaf");
    assert_eq!(root.read_small(path.as_bytes(), 5).unwrap(), b"found");
    assert_eq!(root.stat(path.as_bytes()).unwrap().size, 5);
    let last = root.open_dir(below.as_bytes()).expect("opens");
    assert_eq!(list(last.as_fd()).unwrap().len(), 1);
    assert!(is_absent(&root.stat(format!("{below}/none").as_bytes()).expect_err("absent")));

    // Cleared from below: the usual way would hold a descriptor for every level.
    unlinkat(&at, "leaf", AtFlags::empty()).expect("removes");
    for _ in 0..LEVELS {
        at = openat(&at, "..", OFlags::DIRECTORY, Mode::empty()).expect("climbs");
        unlinkat(&at, "deep", AtFlags::REMOVEDIR).expect("removes");
    }
}

#[test]
fn names_of_any_bytes_are_listed_and_opened() {
    let (dir, root) = scratch();
    let mut names: Vec<Vec<u8>> =
        [&b"\xff\xfe"[..], b"new\nline", b"\x1b[2J", b" ", b"-", b"\xe2\x80\xae", b"a\\b", b"..."]
            .map(<[u8]>::to_vec)
            .into();
    names.push(vec![b'n'; 255]);
    for name in &names {
        std::fs::write(dir.path().join(OsStr::from_bytes(name)), name).expect("writes");
    }
    let top = root.open_dir(b"").unwrap();
    let listing = list(top.as_fd()).unwrap();
    assert_eq!(listing, list(top.as_fd()).unwrap(), "a second listing starts anew");
    let mut listed: Vec<_> = listing.iter().map(|entry| entry.name.to_vec()).collect();
    listed.sort();
    names.sort();
    assert_eq!(listed, names);
    for name in &names {
        assert_eq!(&root.read_small(name, 255).unwrap(), name);
        let file = open_file_at(top.as_fd(), name).unwrap();
        assert_eq!(stat_fd(file.as_fd()).unwrap(), stat_at(top.as_fd(), name).unwrap());
    }
}

#[test]
fn listings_tell_kinds_and_stats_tell_the_rest() {
    let (dir, root) = scratch();
    std::fs::create_dir(dir.path().join("dir")).unwrap();
    std::fs::write(dir.path().join("file"), "12345").unwrap();
    std::fs::hard_link(dir.path().join("file"), dir.path().join("twin")).unwrap();
    symlink("nowhere", dir.path().join("link")).unwrap();
    let top = root.open_dir(b"").unwrap();
    for entry in list(top.as_fd()).unwrap().iter() {
        let stat = stat_at(top.as_fd(), entry.name).unwrap();
        assert!(entry.kind.is_none_or(|kind| kind == stat.kind), "{entry:?}");
    }
    let stat: Stat = root.stat(b"file").unwrap();
    assert_eq!((stat.kind, stat.size, stat.nlink), (FileKind::File, 5, 2));
    assert!(stat.is_inode(&root.stat(b"twin").unwrap()));
    assert!(stat.ctime_ns > 0 && stat.btime_ns.is_none_or(|btime| btime <= stat.ctime_ns));
    assert_eq!(root.read_link(b"link").unwrap(), b"nowhere");
}

#[test]
fn a_directory_swapped_for_a_link_never_leads_out() {
    const EACH: u32 = 500;
    let outside = tempfile::tempdir().expect("scratch directory");
    std::fs::write(outside.path().join("file"), "outside").unwrap();
    let (dir, root) = scratch();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("real")).unwrap();
    std::fs::write(path("real/file"), "inside").unwrap();
    symlink(outside.path(), path("link")).unwrap();

    let read_both = || {
        let (mut inside, mut refused) = (0, 0);
        while inside < EACH || refused < EACH {
            match root.read_small(b"at/file", 100) {
                Ok(text) => {
                    assert_eq!(text, b"inside", "read outside the root");
                    inside += 1;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    assert!(is_absent(&error), "{error}");
                    refused += 1;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(read_both);
        // The name `at` is the directory, then the link, then the directory again …
        while !reader.is_finished() {
            for name in ["real", "link"] {
                std::fs::rename(path(name), path("at")).unwrap();
                std::fs::rename(path("at"), path(name)).unwrap();
            }
        }
    });
}
