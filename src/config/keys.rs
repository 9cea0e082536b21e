//! The one table of keys: every section and key with its kind, default and meaning.
//!
//! The example config, the check for unknown keys, the names of the variables and the defaults all
//! come from here, so they cannot disagree. That the defaults are those of the stages is held by
//! tests.

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
        roles: "run, bridge, migrate",
        doc: "A PostgreSQL database: where the agent delivers to, and what the bridge keeps its \
              record in. The section's presence switches it on.",
        form: Form::Road,
        keys: POSTGRES,
    },
    Section {
        name: "kafka",
        roles: "run, bridge",
        doc: "An Apache Kafka cluster for the events. The section's presence switches it on.",
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
        name: "bridge",
        roles: "run",
        doc: "A stampd bridge to deliver to over HTTP. The section's presence switches it on.",
        form: Form::Road,
        keys: BRIDGE,
    },
    Section {
        name: "telemetry",
        roles: "run, bridge",
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

/// Of every road.
const ENABLED: Key =
    key("enabled", Kind::Switch, Is("true"), "false switches the road off and keeps the section.");

/// Of every road that may speak TLS.
const CA_FILE: Key = key(
    "ca_file",
    Kind::Path,
    Unset { example: "/etc/stampd/ca.pem" },
    "Authorities in PEM. Without it: the machine's.",
);

const POSTGRES: &[Key] = &[
    ENABLED,
    key(
        "url",
        Kind::Url,
        Required { example: "postgres://stampd@db.example:5432/stamps?sslmode=verify-full" },
        "Where, and as whom; no password here. sslmode is disable, require, verify-ca or verify-full. \
         Without it: disable on loopback, verify-full elsewhere.",
    ),
    key(
        "password",
        Kind::Secret,
        Unset { example: "credential:pg.password" },
        "credential, file or env.",
    ),
    CA_FILE,
    key(
        "allow_insecure",
        Kind::Switch,
        Is("false"),
        "Speak without TLS to a server that is not on loopback.",
    ),
];

const KAFKA: &[Key] = &[
    ENABLED,
    key(
        "brokers",
        Kind::Texts,
        Required { example: "kafka.example:9093" },
        "Where to begin; the cluster names the rest.",
    ),
    key(
        "topic",
        Kind::Text,
        Is("dev.omninode_bridge.onex.evt.metadata-stamp-created.v1"),
        "The topic: {env}.{tenant}.{context}.evt.metadata-stamp-created.v1. What it refuses for \
         good stays in the spool (stampd dlq); its leaf goes to the topic as withheld.",
    ),
    key(
        "security",
        Kind::Choice(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]),
        Unset { example: "sasl_ssl" },
        "plaintext, ssl, sasl_plaintext or sasl_ssl. Without it: plaintext on loopback, ssl \
         elsewhere.",
    ),
    key(
        "mechanism",
        Kind::Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
        Is("SCRAM-SHA-512"),
        "How sasl proves who we are: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.",
    ),
    key("username", Kind::Text, Unset { example: "stampd" }, "As whom, with sasl."),
    key(
        "password",
        Kind::Secret,
        Unset { example: "credential:kafka.password" },
        "credential, file or env.",
    ),
    CA_FILE,
    key(
        "allow_insecure",
        Kind::Switch,
        Is("false"),
        "Speak without TLS to brokers that are not on loopback.",
    ),
    key(
        "publish_wait",
        Kind::Duration,
        Is("25ms"),
        "For the bridge: how long a reply waits for its event's delivery report, to say \
         kafka_event_published; \"0ms\" never waits and says false.",
    ),
];

const API: &[Key] = &[
    ENABLED,
    key("listen", Kind::Text, Is("127.0.0.1:8057"), "Where to listen: host:port."),
    key(
        "hosts",
        Kind::Texts,
        Unset { example: "bridge.example, bridge.example:8057" },
        "Names that clients may call it by, beside those of loopback and the address it listens on: \
         name for any port, name:port for one. A request for another name is refused, since any page \
         in a browser could have sent it.",
    ),
    key(
        "origins",
        Kind::Texts,
        Unset { example: "https://board.example" },
        "Origins whose pages may call it, beside its own.",
    ),
    key(
        "auth",
        Kind::Choice(&["none", "token"]),
        Is("none"),
        "none lets everybody stamp who reaches it; token asks for `Authorization: Bearer`. none is \
         refused where it listens beyond loopback.",
    ),
    key(
        "token",
        Kind::Secret,
        Unset { example: "credential:api.token" },
        "With auth = \"token\": credential, file or env.",
    ),
    key(
        "allow_insecure",
        Kind::Switch,
        Is("false"),
        "Listen beyond loopback with auth = \"none\", for old clients in containers.",
    ),
    key(
        "rate",
        Kind::Count(0, 1_000_000),
        Unset { example: "10000" },
        "Requests a second per peer; 0 is no limit. Without it: none on loopback, 10000 beyond.",
    ),
    key(
        "connections_max",
        Kind::Count(1, 65_536),
        Is("1024"),
        "Connections served at once; more wait until one ends.",
    ),
];

const BRIDGE: &[Key] = &[
    ENABLED,
    key(
        "url",
        Kind::Url,
        Required { example: "https://bridge.example" },
        "Where; no token here. What redirects is not followed.",
    ),
    key(
        "token",
        Kind::Secret,
        Required { example: "credential:bridge.token" },
        "credential, file or env: what `stampd token new` printed on the bridge's side.",
    ),
    CA_FILE,
    key(
        "allow_insecure",
        Kind::Switch,
        Is("false"),
        "Speak plain http to a bridge that is not on loopback.",
    ),
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

/// What was probably meant by `name`, as `: did you mean …?`, or a list of what there is.
pub(super) fn suggestion(name: &str, known: impl Iterator<Item = &'static str>) -> String {
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
