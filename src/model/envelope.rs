//! The event that tells of one position of a stream: OnexEnvelopeV1 with CloudEvents headers.
//!
//! The canonical body travels inside as it is, byte for byte, so that a reader can compute its leaf.
//! Everything else in the envelope follows from the body and from where it was published.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::batch::Entry;
use super::content;
use super::digest::Digest;
use super::identity::event_id;
use super::namespace::Namespace;
use super::path::RepoPath;
use super::stamp::{Kind, Sealed, Stamp};
use super::stream::{Leaf, StreamId};
use crate::runtime::time::Timestamp;

const SERVICE: &str = "stampd";
const VERSION: &str = "1.0";

/// Where events are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The environment, such as `dev`.
    pub environment: String,
    /// The region, where there is one.
    pub region: Option<String>,
}

/// An event as it goes onto a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The envelope's JSON.
    pub value: Vec<u8>,
    /// CloudEvents 1.0 in binary mode, and the leaf.
    pub headers: [(&'static str, String); 7],
}

/// Makes the event of the position `seq` of `stream`.
pub fn event(stream: StreamId, seq: u64, entry: &Entry, place: &Place) -> Event {
    match entry {
        Entry::Stamp(sealed) => of_stamp(sealed, place),
        Entry::Withheld { leaf, reason, since } => {
            of_withheld(&Withheld { stream, seq, leaf: *leaf, reason }, *since, place)
        }
    }
}

fn of_stamp(sealed: &Sealed, place: &Place) -> Event {
    let stamp = &sealed.stamp;
    let agent = &stamp.context.agent;
    let key = stamp.stream.to_string();
    let about = Head {
        leaf: &sealed.leaf,
        kind: event_type(stamp.kind),
        time: stamp.stamped,
        version: &agent.version,
        instance: &agent.id,
        node: Some(&agent.host),
        key: &key,
        request: stamp.detail.api.as_ref().and_then(|api| api.correlation_id.as_deref()),
        seq: stamp.seq,
        place,
    };
    about.event(&payload_of(sealed))
}

fn of_withheld(withheld: &Withheld<'_>, since: Timestamp, place: &Place) -> Event {
    let key = withheld.stream.to_string();
    let head = Head {
        leaf: &withheld.leaf,
        kind: NOTED,
        time: since,
        version: env!("CARGO_PKG_VERSION"),
        // Who stamped is in the body, which is not here.
        instance: &key,
        node: None,
        key: &key,
        request: None,
        seq: withheld.seq,
        place,
    };
    head.event(&WithheldPayload { withheld })
}

/// Every type of event: of a content that is there, of one that went, of anything else.
pub const EVENT_TYPES: [&str; 3] = [CREATED, RETIRED, NOTED];
const CREATED: &str = "STAMP_CREATED";
const RETIRED: &str = "STAMP_RETIRED";
const NOTED: &str = "STAMP_NOTED";

/// The type of the event that tells of a stamp.
const fn event_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Created | Kind::Modified | Kind::Renamed | Kind::Api => CREATED,
        Kind::Deleted => RETIRED,
        Kind::Attributes
        | Kind::Unstable
        | Kind::Skipped
        | Kind::Symlink
        | Kind::Opened
        | Kind::Started
        | Kind::Stopped
        | Kind::Heartbeat
        | Kind::Coverage
        | Kind::Vcs
        | Kind::Rules => NOTED,
    }
}

/// What the envelope and the headers are made of.
struct Head<'a> {
    leaf: &'a Leaf,
    kind: &'static str,
    time: Timestamp,
    version: &'a str,
    instance: &'a str,
    node: Option<&'a str>,
    /// The stream's id, which is the key of the record too.
    key: &'a str,
    /// The caller's request, where there was one.
    request: Option<&'a str>,
    seq: u64,
    place: &'a Place,
}

impl Head<'_> {
    fn event(&self, payload: &impl Serialize) -> Event {
        let id = event_id(self.leaf);
        let envelope = Envelope {
            version: VERSION,
            event_id: id,
            event_type: self.kind,
            event_version: VERSION,
            timestamp: self.time,
            event_timestamp: self.time,
            correlation_id: self.request.unwrap_or(self.key),
            causation_id: None,
            source_service: SERVICE,
            source_version: self.version,
            source_instance: self.instance,
            source_node: self.node,
            source_node_id: self.instance,
            environment: &self.place.environment,
            region: self.place.region.as_deref(),
            partition_key: self.key,
            payload,
            metadata: Metadata { stream: self.key, seq: self.seq, leaf: self.leaf.to_string() },
        };
        let value = serde_json::to_vec(&envelope).expect("the envelope has string keys only");
        Event { value, headers: self.headers() }
    }

    fn headers(&self) -> [(&'static str, String); 7] {
        [
            ("ce_specversion", VERSION.to_owned()),
            ("ce_id", format!("{}/{}", self.key, self.seq)),
            ("ce_source", format!("urn:stampd:{}", self.instance)),
            ("ce_type", self.kind.to_owned()),
            ("ce_time", self.time.to_string()),
            ("content-type", "application/json".to_owned()),
            ("stampd_leaf", self.leaf.to_string()),
        ]
    }
}

#[derive(Serialize)]
struct Envelope<'a, P: Serialize> {
    #[serde(rename = "envelope_version")]
    version: &'static str,
    event_id: Uuid,
    event_type: &'static str,
    event_version: &'static str,
    timestamp: Timestamp,
    event_timestamp: Timestamp,
    /// The caller's own, else the stream's id: what happened to one repo belongs together.
    correlation_id: &'a str,
    causation_id: Option<Uuid>,
    source_service: &'static str,
    source_version: &'a str,
    source_instance: &'a str,
    source_node: Option<&'a str>,
    source_node_id: &'a str,
    environment: &'a str,
    region: Option<&'a str>,
    partition_key: &'a str,
    payload: &'a P,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    stream: &'a str,
    seq: u64,
    leaf: String,
}

#[derive(Serialize)]
struct Payload<'a> {
    stamp_id: Option<Uuid>,
    file_hash: Option<Digest>,
    file_path: Option<String>,
    file_size_bytes: Option<u64>,
    hash_algorithm: &'static str,
    created_at: Timestamp,
    /// From the first hint of the change to the stamp.
    execution_time_ms: u64,
    namespace: &'a Namespace,
    stamp_data: Map<String, Value>,
    /// The canonical body, untouched.
    stamp: &'a RawValue,
}

#[derive(Serialize)]
struct WithheldPayload<'a> {
    withheld: &'a Withheld<'a>,
}

#[derive(Serialize)]
struct Withheld<'a> {
    stream: StreamId,
    seq: u64,
    #[serde(serialize_with = "as_text")]
    leaf: Leaf,
    reason: &'a str,
}

fn as_text<S: serde::Serializer>(leaf: &Leaf, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(leaf)
}

fn payload_of(sealed: &Sealed) -> Payload<'_> {
    let stamp = &sealed.stamp;
    // Of a path that is gone, what was there last.
    let hash = stamp.digest.or_else(|| stamp.prev.filter(|_| stamp.kind == Kind::Deleted));
    Payload {
        stamp_id: stamp.content_id(),
        file_hash: hash,
        file_path: stamp.place().map(Cow::into_owned),
        file_size_bytes: stamp.size,
        hash_algorithm: "BLAKE3",
        created_at: stamp.stamped,
        execution_time_ms: stamp.stamped.since(stamp.seen).as_millis() as u64,
        namespace: &stamp.context.namespace,
        stamp_data: stamp_data_of(stamp, hash),
        stamp: serde_json::from_str(&sealed.body).expect("a canonical body is JSON"),
    }
}

/// What `metadata_stamps` says of the content, and of a path that is gone what it said; beside it,
/// what the name says.
fn stamp_data_of(stamp: &Stamp, hash: Option<Digest>) -> Map<String, Value> {
    let mut data = content::stamp_data(stamp);
    data.insert("hash".to_owned(), hash.map(|hash| hash.to_string()).into());
    let file = stamp.context.file.as_ref();
    let file = serde_json::to_value(file).expect("the model's types have string keys only");
    data.insert("file_metadata".to_owned(), file);
    data
}

/// The names of a topic: `{environment}.{tenant}.{context}.evt.{slug}.v1`.
pub fn topic_name(environment: &str, tenant: &str, context: &str) -> String {
    format!("{environment}.{tenant}.{context}.evt.metadata-stamp-created.v1")
}

/// The path under which a stamp is shown, for texts about it.
pub fn subject(entry: &Entry) -> String {
    match entry {
        Entry::Stamp(sealed) => {
            let path = sealed.stamp.path.as_ref().map(RepoPath::to_string);
            let path = path.or_else(|| sealed.stamp.detail.place.clone());
            path.unwrap_or_else(|| sealed.stamp.kind.to_string())
        }
        Entry::Withheld { .. } => "a withheld leaf".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::model::body::{Rendered, seal};
    use crate::model::content::{DigestOf, Order};
    use crate::model::stamp::{Agent, Context, Detail, FileType, Stamp};

    fn sealed(kind: Kind) -> Sealed {
        let context = Arc::new(Context {
            agent: Agent { id: "agent-1".into(), host: "host".into(), version: "9.9.9".into() },
            repo: Some("app".into()),
            namespace: "a.b.c".parse().expect("a namespace"),
            labels: std::collections::BTreeMap::new(),
            git: None,
            file: Some(FileType { content_type: "text/x-rust".into(), language: None }),
        });
        let stamp = Stamp {
            stream: StreamId::from_uuid(Uuid::from_u128(7)),
            seq: 3,
            kind,
            context: Arc::clone(&context),
            path: RepoPath::new(b"b\xff \" ~"),
            from: None,
            digest: (kind != Kind::Deleted).then(|| Digest::of(b"new")),
            prev: Some(Digest::of(b"old")),
            size: Some(3),
            mode: Some(0o644),
            mtime: None,
            seen: Timestamp::from_nanos(0),
            stamped: Timestamp::from_nanos(1_500_000_000),
            detail: Detail::default(),
        };
        seal(stamp, &Rendered::new(context))
    }

    fn place() -> Place {
        Place { environment: "dev".into(), region: None }
    }

    fn json_of(entry: &Entry) -> (String, Value) {
        let text = event(StreamId::from_uuid(Uuid::from_u128(7)), 3, entry, &place()).value;
        let text = String::from_utf8(text).expect("JSON is UTF-8");
        let tree = serde_json::from_str(&text).expect("JSON");
        (text, tree)
    }

    #[test]
    fn the_body_travels_untouched() {
        let sealed = sealed(Kind::Modified);
        let (text, _) = json_of(&Entry::Stamp(Box::new(sealed.clone())));
        let start = text.find("\"stamp\":").expect("the body is there") + "\"stamp\":".len();
        let body = &text[start..start + sealed.body.len()];
        assert_eq!(Leaf::of(body.as_bytes()), sealed.leaf);
    }

    #[test]
    fn an_envelope_says_who_what_and_when() {
        let sealed = sealed(Kind::Modified);
        let (_, tree) = json_of(&Entry::Stamp(Box::new(sealed.clone())));
        assert_eq!(tree["event_id"], event_id(&sealed.leaf).to_string());
        assert_eq!(tree["event_type"], "STAMP_CREATED");
        assert_eq!(tree["timestamp"], tree["event_timestamp"]);
        assert_eq!(tree["partition_key"], "00000000-0000-0000-0000-000000000007");
        assert_eq!(tree["source_instance"], "agent-1");
        assert_eq!(tree["source_version"], "9.9.9");
        assert_eq!(tree["payload"]["file_hash"], Digest::of(b"new").to_string());
        assert_eq!(tree["payload"]["execution_time_ms"], 1_500);
        assert_eq!(tree["payload"]["stamp_data"]["hash"], tree["payload"]["file_hash"]);
        assert_eq!(
            tree["payload"]["stamp_data"]["file_metadata"],
            json!({"content_type": "text/x-rust"})
        );
    }

    #[test]
    fn a_deleted_path_is_retired_with_its_last_hash() {
        let (_, tree) = json_of(&Entry::Stamp(Box::new(sealed(Kind::Deleted))));
        assert_eq!(tree["event_type"], "STAMP_RETIRED");
        assert_eq!(tree["payload"]["file_hash"], Digest::of(b"old").to_string());
        assert_eq!(tree["payload"]["stamp_id"], Value::Null);
    }

    #[test]
    fn an_api_stamp_carries_its_request_and_what_was_sent() {
        let order = Order {
            namespace: "a.b.c".parse().expect("a namespace"),
            digest: Digest::of(b"x"),
            digest_of: DigestOf::Claimed,
            content_hash: None,
            path: Some("/x".into()),
            size: None,
            content_type: None,
            protocol_version: "1.1".into(),
            metadata_version: "0.1".into(),
            version: 1,
            op_id: None,
            correlation_id: Some("r-1".into()),
            stamp: None,
            stamp_type: None,
            metadata: Map::from_iter([("a".to_owned(), json!(0.5))]),
            stamp_data: Map::new(),
            intelligence: Map::new(),
            at: Timestamp::from_nanos(0),
        };
        let agent = Agent { id: "agent-1".into(), host: "host".into(), version: "9".into() };
        let stream = StreamId::from_uuid(Uuid::from_u128(7));
        let stamp = order.to_stamp(stream, 3, &agent, Timestamp::from_nanos(0));
        let shared = Rendered::new(Arc::clone(&stamp.context));
        let (_, tree) = json_of(&Entry::Stamp(Box::new(seal(stamp, &shared))));
        assert_eq!(
            (&tree["event_type"], &tree["correlation_id"]),
            (&json!("STAMP_CREATED"), &json!("r-1"))
        );
        assert_eq!(tree["partition_key"], stream.to_string());
        let payload = &tree["payload"];
        assert_eq!(payload["stamp_id"], order.stamp_id().to_string());
        assert_eq!(payload["file_path"], "/x");
        assert_eq!(payload["stamp_data"]["metadata"], json!({"a": 0.5}));
        assert_eq!(payload["stamp_data"]["protocol_version"], "1.1");
        assert_eq!(payload["stamp"]["claimed"], true);
    }

    #[test]
    fn a_withheld_position_has_the_same_identity_without_a_body() {
        let sealed = sealed(Kind::Created);
        let since = Timestamp::from_nanos(9);
        let withheld = Entry::Withheld { leaf: sealed.leaf, reason: "purged".into(), since };
        let (_, tree) = json_of(&withheld);
        assert_eq!(tree["event_id"], event_id(&sealed.leaf).to_string());
        assert_eq!(tree["event_type"], "STAMP_NOTED");
        assert_eq!(
            tree["payload"],
            json!({"withheld": {
                "stream": "00000000-0000-0000-0000-000000000007",
                "seq": 3,
                "leaf": sealed.leaf.to_string(),
                "reason": "purged",
            }})
        );
        let stream = StreamId::from_uuid(Uuid::from_u128(7));
        let late = event(stream, 3, &Entry::Stamp(Box::new(sealed)), &place());
        let first = event(stream, 3, &withheld, &place());
        assert_eq!(late.headers[1], first.headers[1], "ce_id");
        assert_eq!(first.headers[1].1, "00000000-0000-0000-0000-000000000007/3");
    }
}
