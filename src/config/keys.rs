//! The one table of keys: every section and key with its kind, default and meaning.
//!
//! The example config, the check for unknown keys, the names of the variables and the defaults all
//! come from here, so they cannot disagree. That the defaults are those of the stages is held by
//! tests.

mod roads;

use self::roads::{ADAPTER, API, BRIDGE, INTELLIGENCE, KAFKA, ONEXTREE, POSTGRES};
use super::value::Kind;

/// A section of the file.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    /// Who reads it.
    pub(super) roles: &'static str,
    pub(super) doc: &'static str,
    pub(super) form: Form,
    pub(super) keys: &'static [Key],
}

/// How a section stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Always in force.
    Plain,
    /// A road to a sink: its presence switches it on.
    Road,
    /// `[[repo]]`: any number of them.
    List,
}

/// A key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) fallback: Fallback,
    pub(super) doc: &'static str,
}

/// What stands for a key that nobody set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// This value, written as in a variable.
    Is(&'static str),
    /// Nothing, or what is derived from elsewhere; an example of a value for the example file.
    Unset { example: &'static str },
    /// Nothing: it must be set. With an example.
    Required { example: &'static str },
}

use self::Fallback::{Is, Required, Unset};

const fn key(name: &'static str, kind: Kind, fallback: Fallback, doc: &'static str) -> Key {
    Key { name, kind, fallback, doc }
}

/// Every section, in the order of the example.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "agent",
        roles: "run and every command that speaks to it",
        doc: "Where the agent lives.",
        form: Form::Plain,
        keys: AGENT,
    },
    Section {
        name: "repo",
        roles: "run and the commands that read the spool",
        doc: "A working tree to watch; as many as you like.",
        form: Form::List,
        keys: REPO,
    },
    Section {
        name: "watch",
        roles: "run",
        doc: "When a change counts as settled, and how much is watched.",
        form: Form::Plain,
        keys: WATCH,
    },
    Section {
        name: "hash",
        roles: "run, verify",
        doc: "How files are read.",
        form: Form::Plain,
        keys: HASH,
    },
    Section {
        name: "spool",
        roles: "run",
        doc: "The record on this machine.",
        form: Form::Plain,
        keys: SPOOL,
    },
    Section {
        name: "sync",
        roles: "run",
        doc: "How patient delivery is.",
        form: Form::Plain,
        keys: SYNC,
    },
    Section {
        name: "postgres",
        roles: "run, bridge, adapter, migrate, netcheck",
        doc: "A PostgreSQL database: where the agent delivers to, and what bridge and adapter keep \
              their record in. The section's presence switches it on.",
        form: Form::Road,
        keys: POSTGRES,
    },
    Section {
        name: "kafka",
        roles: "run, bridge, adapter, netcheck",
        doc: "An Apache Kafka cluster: where events go, and what the adapter reads. The section's \
              presence switches it on.",
        form: Form::Road,
        keys: KAFKA,
    },
    Section {
        name: "api",
        roles: "run, bridge",
        doc: "The stamping API. The section's presence switches it on for the agent; the bridge \
              always has it.",
        form: Form::Road,
        keys: API,
    },
    Section {
        name: "onextree",
        roles: "run",
        doc: "OnexTree: what the index says of the repos' files, for programs that look for files. \
              The section's presence switches it on.",
        form: Form::Road,
        keys: ONEXTREE,
    },
    Section {
        name: "intelligence",
        roles: "run, bridge",
        doc: "An intelligence service that is asked about contents; stamps carry what it says, and \
              lack nothing else when it is away. The section's presence switches it on.",
        form: Form::Road,
        keys: INTELLIGENCE,
    },
    Section {
        name: "bridge",
        roles: "run",
        doc: "A stampd bridge to deliver to over HTTP. The section's presence switches it on.",
        form: Form::Road,
        keys: BRIDGE,
    },
    Section {
        name: "adapter",
        roles: "adapter, dlq --adapter",
        doc: "The adapter, which reads [kafka] and writes into [postgres].",
        form: Form::Plain,
        keys: ADAPTER,
    },
    Section {
        name: "telemetry",
        roles: "run, bridge, adapter",
        doc: "Logs go to stderr, and to daily files if you like.",
        form: Form::Plain,
        keys: TELEMETRY,
    },
];

const AGENT: &[Key] = &[
    key(
        "state_dir",
        Kind::Path,
        Unset { example: "~/.local/state/stampd" },
        "The spool, its lock and the trust pins; ours alone (0700). Without it: STATE_DIRECTORY, or \
         stampd below the user's state directory.",
    ),
    key(
        "runtime_dir",
        Kind::Path,
        Unset { example: "/run/user/1000/stampd" },
        "The control socket. Without it: run below state_dir where that is set, or RUNTIME_DIRECTORY, \
         or stampd below XDG_RUNTIME_DIR.",
    ),
    key("shutdown_grace", Kind::Duration, Is("20s"), "How long a stop in order may take."),
];

const REPO: &[Key] = &[
    key(
        "path",
        Kind::Path,
        Required { example: "~/src/app" },
        "Its root. A repo inside another is left out of the outer one.",
    ),
    key(
        "namespace",
        Kind::Namespace,
        Required { example: "projecta.services.metadata" },
        "The tenant of its stamps: three words of a-z, 0-9 and _.",
    ),
    key(
        "name",
        Kind::Text,
        Unset { example: "app" },
        "Its name in stamps and commands. Without it: the name of the directory.",
    ),
    key(
        "exclude",
        Kind::Texts,
        Unset { example: "/target/, *.iso" },
        "What is never stamped, in gitignore syntax. Nothing overrides it.",
    ),
    key(
        "include",
        Kind::Texts,
        Unset { example: ".env.example" },
        "What is stamped although the repo's ignore rules leave it out.",
    ),
    key("max_file_size", Kind::Size, Unset { example: "1GiB" }, "Instead of [hash] max_file_size."),
];

const WATCH: &[Key] = &[
    key("settle", Kind::Duration, Is("250ms"), "How long a path must be quiet before it is read."),
    key(
        "settle_after_close",
        Kind::Duration,
        Is("50ms"),
        "The same for a file that was just closed or moved in.",
    ),
    key("settle_max", Kind::Duration, Is("5s"), "How long a path that is never quiet may wait."),
    key(
        "audit_every",
        Kind::Duration,
        Is("30min"),
        "How often everything is compared with the disk, whatever the events said.",
    ),
    key("one_filesystem", Kind::Switch, Is("true"), "Leave directories on other file systems out."),
    key("nested", Kind::Switch, Is("false"), "Cover git repositories inside the repo too."),
    key(
        "queue_paths_max",
        Kind::Count(1_024, 16_777_216),
        Is("65536"),
        "Changed paths held at once, above which the whole repo is compared.",
    ),
    key("dir_paths_max", Kind::Count(16, 1_048_576), Is("1024"), "The same for one directory."),
];

const HASH: &[Key] = &[
    key(
        "max_file_size",
        Kind::Size,
        Is("4GiB"),
        "Larger files are stamped as skipped (too_large).",
    ),
    key(
        "sparse_ratio",
        Kind::Count(0, 1_048_576),
        Is("64"),
        "Files this many times larger than their blocks are skipped (sparse); 0 reads them all.",
    ),
    key(
        "threads",
        Kind::Count(0, 1_024),
        Is("0"),
        "Threads that read files; 0 stands for one per core.",
    ),
    key(
        "rate",
        Kind::Size,
        Unset { example: "200MiB" },
        "Bytes hashed per second at most, over all repos. Without it: as fast as the disk gives \
         them. Comparing the disk with the record reads no file and is not counted.",
    ),
];

const SPOOL: &[Key] = &[
    key(
        "retention",
        Kind::Duration,
        Is("90d"),
        "How long bodies are kept after every sink confirmed them; leaves stay.",
    ),
    key("max_bytes", Kind::Size, Is("4GiB"), "How large the spool may grow before stamps pause."),
];

const SYNC: &[Key] = &[
    key("backoff_first", Kind::Duration, Is("1s"), "The first wait after a failure, at most."),
    key("backoff_max", Kind::Duration, Is("5min"), "The longest wait between attempts."),
];

const TELEMETRY: &[Key] = &[
    key(
        "log_level",
        Kind::Level,
        Is("info"),
        "error, warn, info, debug, trace, or directives such as \"info,stampd::sync=debug\".",
    ),
    key(
        "log_dir",
        Kind::Path,
        Unset { example: "~/.local/state/stampd/log" },
        "A directory for daily files. Without it there are none.",
    ),
    key("log_files", Kind::Count(1, 3_650), Is("14"), "How many daily files are kept."),
];

/// The section by this name.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl Section {
    /// The key by this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The default of a key, as written in a variable.
pub(crate) fn usual(section_name: &str, key_name: &str) -> Option<&'static str> {
    match section(section_name)?.key(key_name)?.fallback {
        Is(usual) => Some(usual),
        Unset { .. } | Required { .. } => None,
    }
}

/// What was probably meant by `name`, as `: did you mean …?`, or a list of what there is.
pub(crate) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut known: Vec<_> = known.collect();
    let distance = |candidate: &&str| strsim::damerau_levenshtein(name, candidate);
    match known.iter().min_by_key(|candidate| distance(candidate)) {
        Some(nearest) if distance(nearest) <= 2.max(nearest.len() / 3) => {
            format!("did you mean {nearest}?")
        }
        _ => {
            known.sort_unstable();
            format!("there are {}", known.join(", "))
        }
    }
}
