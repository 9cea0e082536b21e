//! The keys of the roads, and of what listens and reads at their ends.

use super::Fallback::{Is, Required, Unset};
use super::{Key, key};
use crate::config::value::Kind;

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

pub(super) const POSTGRES: &[Key] = &[
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

pub(super) const KAFKA: &[Key] = &[
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
         good stays in the spool (stampd dlq); its leaf goes to the topic as withheld. The adapter \
         reads every kind of event of the same env, tenant and context.",
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

pub(super) const API: &[Key] =
    &serving("127.0.0.1:8057", "bridge.example, bridge.example:8057", "credential:api.token");

pub(super) const ONEXTREE: &[Key] =
    &serving("127.0.0.1:8058", "onextree, onextree:8058", "credential:onextree.token");

/// The keys of what listens for callers.
const fn serving(listen: &'static str, hosts: &'static str, token: &'static str) -> [Key; 9] {
    [
        ENABLED,
        key("listen", Kind::Text, Is(listen), "Where to listen: host:port."),
        key(
            "hosts",
            Kind::Texts,
            Unset { example: hosts },
            "Names that clients may call it by, beside those of loopback and the address it listens \
             on: name for any port, name:port for one. A request for another name is refused, since \
             any page in a browser could have sent it.",
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
            "none answers everybody who reaches it; token asks for `Authorization: Bearer`. none is \
             refused where it listens beyond loopback.",
        ),
        key(
            "token",
            Kind::Secret,
            Unset { example: token },
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
    ]
}

pub(super) const INTELLIGENCE: &[Key] = &[
    ENABLED,
    key(
        "url",
        Kind::Url,
        Required { example: "http://127.0.0.1:8058" },
        "Where; its /intelligence is asked. An agent with [onextree] is one. No token here.",
    ),
    key(
        "token",
        Kind::Secret,
        Unset { example: "credential:intelligence.token" },
        "credential, file or env, where the service asks for one.",
    ),
    CA_FILE,
    key(
        "allow_insecure",
        Kind::Switch,
        Is("false"),
        "Speak plain http to a service that is not on loopback.",
    ),
    key(
        "budget",
        Kind::Duration,
        Is("500ms"),
        "How long POST /stamp with enable_intelligence waits, at most. Stamps of files never wait: \
         they carry what was said of their content before.",
    ),
];

pub(super) const BRIDGE: &[Key] = &[
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

pub(super) const ADAPTER: &[Key] = &[
    key(
        "listen",
        Kind::Text,
        Is("127.0.0.1:8070"),
        "Where health and metrics are served: host:port.",
    ),
    key(
        "hosts",
        Kind::Texts,
        Unset { example: "adapter.example" },
        "Names that these may be asked by, as with [api] hosts.",
    ),
    key(
        "group",
        Kind::Text,
        Is("database-adapter-effect-group"),
        "The consumer group. Adapters of one group share the partitions; another group begins at the \
         beginning.",
    ),
    key(
        "session_timeout",
        Kind::Duration,
        Is("10s"),
        "How long an adapter may be silent until the others take its partitions.",
    ),
    key(
        "batch_rows_max",
        Kind::Count(1, 50_000),
        Is("5000"),
        "Records of one transaction, at most.",
    ),
    key(
        "batch_wait",
        Kind::Duration,
        Is("50ms"),
        "How long a record waits for others to share a transaction with.",
    ),
    key(
        "fetch_bytes_max",
        Kind::Size,
        Is("64MiB"),
        "Records held in memory ahead of the database, however long the backlog.",
    ),
];
