//! The limit on inotify watches: how many there are, and who has them.
//!
//! Holds what is printed when a directory gets no watch. Reads `/proc` only when asked.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Programs that are named; the others are counted.
const NAMED_MAX: usize = 5;

/// What the kernel allows this user, and what the user's programs hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Directories that we want to watch.
    pub needs: u64,
    /// `fs.inotify.max_user_watches`: watches of one user; 0 where there is no inotify.
    pub watches_max: u64,
    /// `user.max_inotify_watches`: the same for this user namespace; `None` where there is none.
    pub namespace_max: Option<u64>,
    /// Programs of this user that hold watches, most first, as far as we may look.
    pub holders: Vec<Holder>,
}

/// A program that holds watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Inotify instances it has open.
    pub instances: u64,
    /// Watches in them.
    pub watches: u64,
}

/// Looks up the limits and their holders for a repo that needs so many watches.
pub fn report(needs: u64) -> Report {
    report_from(Path::new("/proc"), needs)
}

/// The limit that counts, without its holders; `None` where there is no inotify or it is out of
/// sight.
pub fn allowed() -> Option<u64> {
    let (watches_max, namespace_max) = limits(Path::new("/proc"));
    let allowed = namespace_max.map_or(watches_max, |max| max.min(watches_max));
    (allowed > 0).then_some(allowed)
}

/// `fs.inotify.max_user_watches`, 0 where it is not to be had, and `user.max_inotify_watches`.
fn limits(proc: &Path) -> (u64, Option<u64>) {
    let number = |path: &str| fs::read_to_string(proc.join(path)).ok()?.trim().parse().ok();
    let watches_max = number("sys/fs/inotify/max_user_watches").unwrap_or(0);
    (watches_max, number("sys/user/max_inotify_watches"))
}

fn report_from(proc: &Path, needs: u64) -> Report {
    let (watches_max, namespace_max) = limits(proc);
    let mut holders = holders(proc).unwrap_or_default();
    holders.sort_by_key(|holder| (std::cmp::Reverse(holder.watches), holder.pid));
    Report { needs, watches_max, namespace_max, holders }
}

impl Report {
    /// The limit that counts, and its name.
    pub fn limit(&self) -> (&'static str, u64) {
        match self.namespace_max {
            Some(max) if max < self.watches_max => ("user.max_inotify_watches", max),
            _ => ("fs.inotify.max_user_watches", self.watches_max),
        }
    }

    /// Watches held, as far as we may look.
    pub fn held(&self) -> u64 {
        self.holders.iter().map(|holder| holder.watches).sum()
    }

    /// The line to type. Twice what is needed in all, so that it is typed once.
    pub fn remedy(&self) -> String {
        let (name, max) = self.limit();
        let ours = std::process::id();
        let others: u64 =
            self.holders.iter().filter(|one| one.pid != ours).map(|one| one.watches).sum();
        let enough = (2 * (self.needs + others)).max(max + 1).next_power_of_two();
        format!("sudo sysctl {name}={enough}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, max) = self.limit();
        write!(out, "needs {} watches, ", self.needs)?;
        // In a sandbox the kernel's figures may be out of sight.
        if max > 0 {
            write!(out, "{name} allows {max}, ")?;
        }
        write!(out, "held: {}", self.held())?;
        for (at, holder) in self.holders.iter().take(NAMED_MAX).enumerate() {
            let lead = if at == 0 { " (" } else { ", " };
            write!(out, "{lead}{} by {} [{}]", holder.watches, holder.name, holder.pid)?;
        }
        match self.holders.len() {
            0 => {}
            1..=NAMED_MAX => out.write_str(")")?,
            more => write!(out, " and {} more)", more - NAMED_MAX)?,
        }
        write!(out, "; to raise it: {}", self.remedy())
    }
}

/// This user's processes that hold watches. One that ends meanwhile is left out.
fn holders(proc: &Path) -> io::Result<Vec<Holder>> {
    let user = rustix::process::getuid().as_raw();
    let mut holders = Vec::new();
    for entry in fs::read_dir(proc)? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if entry.metadata().is_ok_and(|of| of.uid() == user) {
            holders.extend(holder(&entry.path(), pid).ok().flatten());
        }
    }
    Ok(holders)
}

fn holder(process: &Path, pid: u32) -> io::Result<Option<Holder>> {
    let mut found = Holder { pid, name: String::new(), instances: 0, watches: 0 };
    for entry in fs::read_dir(process.join("fd"))? {
        let entry = entry?;
        if !fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:inotify") {
            continue;
        }
        let info = fs::read_to_string(process.join("fdinfo").join(entry.file_name()))?;
        found.instances += 1;
        found.watches += info.lines().filter(|line| line.starts_with("inotify wd:")).count() as u64;
    }
    if found.instances == 0 {
        return Ok(None);
    }
    fs::read_to_string(process.join("comm"))?.trim_end().clone_into(&mut found.name);
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_what_is_needed_who_holds_it_and_what_to_type() {
        let proc = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = proc.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sys/fs/inotify/max_user_watches", "8192\n");
        write("sys/user/max_inotify_watches", "9000\n");
        for (pid, watches) in [(7, 8_000), (8, 100)] {
            write(&format!("{pid}/comm"), &format!("editor{pid}\n"));
            let line = "inotify wd:1 ino:2 sdev:3 mask:4\n";
            write(&format!("{pid}/fdinfo/3"), &format!("pos:\t0\n{}", line.repeat(watches)));
            fs::create_dir(proc.path().join(format!("{pid}/fd"))).unwrap();
            let fd = proc.path().join(format!("{pid}/fd/3"));
            std::os::unix::fs::symlink("anon_inode:inotify", fd).unwrap();
        }
        assert_eq!(
            report_from(proc.path(), 12_000).to_string(),
            "needs 12000 watches, fs.inotify.max_user_watches allows 8192, held: 8100 (8000 by \
             editor7 [7], 100 by editor8 [8]); to raise it: sudo sysctl \
             fs.inotify.max_user_watches=65536"
        );
    }
}
