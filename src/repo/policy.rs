//! What of a repo's own config is in force: pure policy over bytes and what a person trusted.
//!
//! `.stampd.toml` is untrusted: whoever can write to the repo can write it. So it has no keys for
//! sinks, credentials, commands or paths outside. `labels`, `settle` and `include` act at once, the
//! latter two within the user's limits. What could hide something (`name`, `exclude`,
//! `max_file_size`) acts only in the version whose very bytes a person pinned with `stampd trust`,
//! and stays in force until another version is pinned or the pin is revoked. A file that is not
//! valid changes nothing: the last good version stays in force, and the reason is told.
//!
//! Promises: no input makes this fail; what waits is named. Reading files and keeping pins is left
//! to `repo::file` and `repo::trust`.

mod diff;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use diff::{Change, changes, newly_hidden};
pub use parse::{FILE_BYTES_MAX, FILE_NAME, FileError, RepoFile, parse};

use crate::settle;
use crate::watch::filter;

/// How many directories an untrusted `include` may have watched within ignored ones.
pub const INCLUDE_DIRS_MAX: usize = 1_024;

/// What the user's config says of one repo: what holds without a `.stampd.toml`, and its limits.
#[derive(Clone, Debug)]
pub struct User {
    /// The repo's name.
    pub name: String,
    /// How changes settle; `settle_max` bounds what the repo may ask for.
    pub settle: settle::Config,
    /// The user's own `exclude`.
    pub exclude: Vec<String>,
    /// The user's own `include`.
    pub include: Vec<String>,
    /// The largest file that is read, in bytes; the repo can only lower it.
    pub max_file_size: u64,
}

/// The file as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Current {
    /// There is none.
    Absent,
    /// There is one that cannot be read, for this reason.
    Unreadable(FileError),
    /// Its bytes.
    Bytes(Vec<u8>),
}

impl Current {
    /// Its bytes, if there are any.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }
}

/// What the decision is made from.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The file as it is now.
    pub current: Current,
    /// The bytes that a person trusted.
    pub pinned: Option<Vec<u8>>,
    /// The bytes that were valid last.
    pub last_good: Option<Vec<u8>>,
}

/// The settings in force for one repo.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The name that stamps carry.
    pub name: String,
    /// The labels that stamps carry.
    pub labels: BTreeMap<String, String>,
    /// How changes settle.
    pub settle: settle::Config,
    /// The largest file that is read, in bytes.
    pub max_file_size: u64,
    /// The rules beside rule files; `info_exclude` is the reader's to fill in.
    pub filter: filter::Config,
}

/// A decision: what is in force, what waits, and what to tell.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What is in force.
    pub effective: Effective,
    /// The keys in which the file differs from what is trusted.
    pub awaiting: Vec<Key>,
    /// Why something in force is not what the file says, for a status line.
    pub reason: Option<String>,
    /// Whether the file as it is now is to be kept as the last good one.
    pub is_good: bool,
}

/// A key that acts only once it is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `name`.
    Name,
    /// `exclude`.
    Exclude,
    /// `max_file_size`.
    MaxFileSize,
}

impl Key {
    /// Every key that needs trust.
    pub const ALL: [Self; 3] = [Self::Name, Self::Exclude, Self::MaxFileSize];

    /// The key as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Exclude => "exclude",
            Self::MaxFileSize => "max_file_size",
        }
    }

    /// Whether two files say the same under this key.
    fn agrees(self, left: &RepoFile, right: &RepoFile) -> bool {
        match self {
            Self::Name => left.name == right.name,
            Self::Exclude => left.exclude == right.exclude,
            Self::MaxFileSize => left.max_file_size == right.max_file_size,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Effective {
    /// What is in force without any file.
    pub fn of_user(user: &User) -> Self {
        let filter = filter::Config {
            exclude: user.exclude.clone(),
            include: user.include.clone(),
            ..filter::Config::default()
        };
        Self {
            name: user.name.clone(),
            labels: BTreeMap::new(),
            settle: user.settle.clone(),
            max_file_size: user.max_file_size,
            filter,
        }
    }

    /// Takes over the keys that act at once.
    fn take_open(&mut self, file: &RepoFile) {
        self.labels.clone_from(&file.labels);
        self.filter.repo_include.clone_from(&file.include);
        if let Some(settle) = file.settle {
            // Below the wait after a close there is nothing to gain, only load.
            let least = self.settle.settle_after_close.min(self.settle.settle_max);
            self.settle.settle = settle.clamp(least, self.settle.settle_max);
        }
    }

    /// Takes over the keys of a trusted version.
    fn take_trusted(&mut self, file: &RepoFile) {
        if let Some(name) = &file.name {
            self.name.clone_from(name);
        }
        self.filter.repo_exclude.clone_from(&file.exclude);
        let asked = file.max_file_size.unwrap_or(u64::MAX);
        self.max_file_size = self.max_file_size.min(asked);
    }
}

impl Decision {
    /// Adds what else went wrong to what is told.
    pub fn add_reasons(&mut self, reasons: Vec<String>) {
        let all: Vec<String> = self.reason.take().into_iter().chain(reasons).collect();
        self.reason = (!all.is_empty()).then(|| all.join("; "));
    }
}

/// Decides what is in force.
pub fn decide(user: &User, inputs: &Inputs) -> Decision {
    let mut effective = Effective::of_user(user);
    let read = match &inputs.current {
        Current::Absent => Ok(RepoFile::default()),
        Current::Unreadable(error) => Err(error.clone()),
        Current::Bytes(bytes) => parse(bytes),
    };
    let kept = |bytes: &Option<Vec<u8>>| bytes.as_deref().and_then(|bytes| parse(bytes).ok());
    let pinned = kept(&inputs.pinned);
    let open = read.as_ref().ok().cloned();
    let open = open.or_else(|| kept(&inputs.last_good)).or_else(|| pinned.clone());
    effective.take_open(&open.unwrap_or_default());
    effective.take_trusted(pinned.as_ref().unwrap_or(&RepoFile::default()));
    let awaiting = read.as_ref().map(|file| awaiting(file, pinned.as_ref())).unwrap_or_default();
    let reason = reason(user, read.as_ref(), &awaiting);
    Decision { effective, awaiting, reason, is_good: read.is_ok() }
}

/// The keys that wait for trust: those in which `file` differs from what is pinned.
pub fn awaiting(file: &RepoFile, pinned: Option<&RepoFile>) -> Vec<Key> {
    let nothing = RepoFile::default();
    let pinned = pinned.unwrap_or(&nothing);
    Key::ALL.into_iter().filter(|key| !key.agrees(file, pinned)).collect()
}

fn reason(user: &User, read: Result<&RepoFile, &FileError>, awaiting: &[Key]) -> Option<String> {
    let file = match read {
        Ok(file) => file,
        Err(error) => {
            let kept = "what was in force before stays in force";
            return Some(format!("{FILE_NAME}: {error}; {kept}"));
        }
    };
    if !awaiting.is_empty() {
        let keys: Vec<_> = awaiting.iter().map(|key| key.as_str()).collect();
        return Some(format!(
            "{}: {} not in force until you trust it; see `stampd trust --diff`",
            FILE_NAME,
            keys.join(", "),
        ));
    }
    too_slow(user, file.settle?)
}

/// What is asked for beyond the user's limit is cut to it, and told.
fn too_slow(user: &User, settle: Duration) -> Option<String> {
    let max = user.settle.settle_max;
    (settle > max).then(|| {
        format!("{}: settle is cut to [watch] settle_max, {} ms", FILE_NAME, max.as_millis())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        User {
            name: "app".to_owned(),
            settle: settle::Config::default(),
            exclude: vec!["*.iso".to_owned()],
            include: Vec::new(),
            max_file_size: 1 << 30,
        }
    }

    fn inputs(current: &str, pinned: Option<&str>, last_good: Option<&str>) -> Inputs {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Inputs {
            current: Current::Bytes(bytes(current)),
            pinned: pinned.map(bytes),
            last_good: last_good.map(bytes),
        }
    }

    const FULL: &str = "name = 'core'\nsettle = '1s'\ninclude = ['out/']\nexclude = ['gen/']\n\
                        max_file_size = '1MiB'\n[labels]\nteam = 'blue'\n";

    #[test]
    fn only_harmless_keys_act_before_a_person_trusts_the_file() {
        let decision = decide(&user(), &inputs(FULL, None, None));
        let effective = decision.effective;
        assert_eq!(effective.labels["team"], "blue");
        assert_eq!(effective.settle.settle, Duration::from_secs(1));
        assert_eq!(effective.filter.repo_include, ["out/"]);
        assert_eq!((effective.name.as_str(), effective.max_file_size), ("app", 1 << 30));
        assert!(effective.filter.repo_exclude.is_empty());
        assert_eq!(decision.awaiting, Key::ALL);
        assert!(decision.reason.unwrap().contains("name, exclude, max_file_size"));
    }

    #[test]
    fn the_pinned_version_stays_in_force_whatever_the_file_says_later() {
        let decision = decide(&user(), &inputs(FULL, Some(FULL), None));
        assert_eq!(decision.awaiting, []);
        assert_eq!(decision.reason, None);
        for later in ["", "exclude = ['*']", "nonsense"] {
            let decision = decide(&user(), &inputs(later, Some(FULL), None));
            assert_eq!(decision.effective.name, "core", "{later}");
            assert_eq!(decision.effective.filter.repo_exclude, ["gen/"], "{later}");
            assert_eq!(decision.effective.max_file_size, 1 << 20, "{later}");
        }
        let gone = Inputs { current: Current::Absent, ..inputs("", Some(FULL), None) };
        assert_eq!(decide(&user(), &gone).awaiting, Key::ALL);
    }

    #[test]
    fn an_invalid_file_keeps_the_last_good_one_in_force_and_says_why() {
        let good = "[labels]\nteam = 'blue'\n";
        let decision = decide(&user(), &inputs("lables = {}", None, Some(good)));
        assert_eq!(decision.effective.labels["team"], "blue");
        assert!(!decision.is_good);
        let reason = decision.reason.unwrap();
        assert!(reason.contains("line 1") && reason.contains("did you mean labels?"), "{reason}");

        let decision = decide(&user(), &inputs("[", Some(FULL), None));
        assert_eq!(decision.effective.labels["team"], "blue", "a pin is a good version too");
        let decision = decide(&user(), &inputs("", None, Some(good)));
        assert!(decision.effective.labels.is_empty(), "an empty file is valid and says nothing");
    }

    #[test]
    fn the_repo_can_never_widen_what_the_user_allows() {
        let wide = "settle = '1h'\nmax_file_size = '1TiB'";
        let decision = decide(&user(), &inputs(wide, Some(wide), None));
        assert_eq!(decision.effective.settle.settle, Duration::from_secs(5));
        assert_eq!(decision.effective.max_file_size, 1 << 30);
        assert!(decision.reason.unwrap().contains("cut to [watch] settle_max"));
        let hasty = decide(&user(), &inputs("settle = '0ms'", None, None));
        assert_eq!(hasty.effective.settle.settle, Duration::from_millis(50));
        assert_eq!(hasty.effective.filter.exclude, ["*.iso"]);
    }
}
