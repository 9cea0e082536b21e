//! The canonical body of a stamp: RFC 8785 (JCS) JSON, hashed and sent exactly as rendered here.
//!
//! Every key is ASCII and written in sorted order, so that byte order and JCS's UTF-16 order agree.
//! There are no floats; integers of 2^53 and more are written as strings.

mod read;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::content::DigestOf;
use super::digest::Digest;
use super::intelligence::Intelligence;
use super::path::RepoPath;
use super::stamp::{Api, Context, Sealed, Stamp};
use super::stream::Leaf;
use crate::runtime::time::Timestamp;

pub use read::{BodyError, read};

/// The version of the rendering, in every body as `v`.
pub const VERSION: u64 = 1;

/// The first integer that JSON readers with doubles cannot tell from its neighbour.
const INTEGER_END: u64 = 1 << 53;

/// A context with the parts that its bodies share already rendered: a first scan renders 100,000
/// bodies of a few dozen contexts.
#[derive(Clone, Debug)]
pub struct Rendered {
    context: Arc<Context>,
    agent: String,
    file: Option<String>,
    git: Option<String>,
    labels: Option<String>,
    namespace: String,
    repo: Option<String>,
}

impl Rendered {
    /// Renders the shared parts once.
    pub fn new(context: Arc<Context>) -> Self {
        Self {
            agent: object(&context.agent),
            file: context.file.as_ref().map(object),
            git: context.git.as_ref().map(object),
            labels: (!context.labels.is_empty()).then(|| object(&context.labels)),
            namespace: object(&context.namespace),
            repo: context.repo.as_ref().map(object),
            context,
        }
    }

    /// The context itself.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

/// Renders the body of `stamp`, whose context `shared` must be of, and its leaf.
pub fn seal(stamp: Stamp, shared: &Rendered) -> Sealed {
    let body = render(&stamp, shared);
    let leaf = Leaf::of(body.as_bytes());
    Sealed { stamp, body, leaf }
}

/// Renders the canonical body of `stamp`, whose context `shared` must be of.
pub fn render(stamp: &Stamp, shared: &Rendered) -> String {
    debug_assert_eq!(stamp.context, shared.context, "a body is rendered with its own context");
    debug_assert!(stamp.path.is_none() || stamp.detail.place.is_none(), "a stamp has one path");
    let mut out = Members(Vec::with_capacity(640));
    // In sorted order; `keys_are_sorted_and_text_is_canonical` holds us to it.
    out.raw("agent", &shared.agent);
    let api = stamp.detail.api.as_deref();
    out.api(api);
    out.raw_if("claimed", api.and_then(claimed));
    out.digest("digest", stamp.digest.as_ref());
    out.raw_if("file", shared.file.as_deref());
    out.path("from", "from_b64", stamp.from.as_ref());
    out.raw_if("git", shared.git.as_deref());
    out.raw_if("intelligence", stamp.detail.intelligence.as_ref().map(Intelligence::as_str));
    out.text("kind", stamp.kind.as_str());
    out.raw_if("labels", shared.labels.as_deref());
    out.integer("mode", stamp.mode.map(u64::from));
    out.time("mtime", stamp.mtime);
    out.raw("namespace", &shared.namespace);
    out.path("path", "path_b64", stamp.path.as_ref());
    out.text_if("path", stamp.detail.place.as_deref());
    out.digest("prev", stamp.prev.as_ref());
    out.raw_if("previous", stamp.detail.previous.as_ref().map(object).as_deref());
    out.text_if("reason", stamp.detail.reason.as_deref());
    out.raw_if("repo", shared.repo.as_deref());
    out.time("seen", Some(stamp.seen));
    out.integer("seq", Some(stamp.seq));
    out.time("since", stamp.detail.since);
    out.integer("size", stamp.size);
    out.time("stamped", Some(stamp.stamped));
    out.display("stream", stamp.stream);
    out.bytes("target", "target_b64", stamp.detail.target.as_deref());
    out.time("until", stamp.detail.until);
    out.integer("v", Some(VERSION));
    out.finish()
}

/// Whether the digest is the caller's word alone.
fn claimed(api: &Api) -> Option<&'static str> {
    (api.digest_of == DigestOf::Claimed).then_some("true")
}

/// Canonical JSON of a value whose map keys are ASCII and whose numbers are small integers.
fn object(value: &impl Serialize) -> String {
    // serde_json's own map is sorted by bytes, which for ASCII keys is JCS's order.
    let tree = serde_json::to_value(value).expect("the model's types have string keys only");
    tree.to_string()
}

/// The members of the JSON object that is being written.
struct Members(Vec<u8>);

impl Members {
    fn key(&mut self, key: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.0.extend_from_slice(json.as_bytes());
    }

    fn raw_if(&mut self, key: &str, json: Option<&str>) {
        if let Some(json) = json {
            self.raw(key, json);
        }
    }

    /// Its members are declared in sorted order.
    fn api(&mut self, api: Option<&Api>) {
        if let Some(api) = api {
            self.key("api");
            serde_json::to_writer(&mut self.0, api).expect("writing to memory cannot fail");
        }
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        serde_json::to_writer(&mut self.0, text).expect("writing to memory cannot fail");
    }

    fn text_if(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// For values whose text needs no escaping.
    fn display(&mut self, key: &str, value: impl std::fmt::Display) {
        use std::io::Write as _;
        self.key(key);
        write!(self.0, "\"{value}\"").expect("writing to memory cannot fail");
    }

    fn digest(&mut self, key: &str, digest: Option<&Digest>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        if let Some(digest) = digest {
            self.key(key);
            self.0.push(b'"');
            self.0.extend(
                digest
                    .as_bytes()
                    .iter()
                    .flat_map(|byte| [byte >> 4, byte & 15])
                    .map(|half| DIGITS[usize::from(half)]),
            );
            self.0.push(b'"');
        }
    }

    fn time(&mut self, key: &str, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.key(key);
            self.0.push(b'"');
            self.0.extend_from_slice(&time.to_rfc3339());
            self.0.push(b'"');
        }
    }

    fn integer(&mut self, key: &str, value: Option<u64>) {
        use std::io::Write as _;
        match value {
            None => {}
            Some(value) if value >= INTEGER_END => self.display(key, value),
            Some(value) => {
                self.key(key);
                write!(self.0, "{value}").expect("writing to memory cannot fail");
            }
        }
    }

    fn path(&mut self, key: &str, key_base64: &str, path: Option<&RepoPath>) {
        self.bytes(key, key_base64, path.map(RepoPath::as_bytes));
    }

    /// Bytes as text for people, and as base64 beside it exactly when they are not UTF-8.
    fn bytes(&mut self, key: &str, key_base64: &str, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return };
        if let Ok(text) = std::str::from_utf8(bytes) {
            return self.text(key, text);
        }
        self.text(key, &String::from_utf8_lossy(bytes));
        self.text(key_base64, &STANDARD.encode(bytes));
    }

    fn finish(mut self) -> String {
        self.0.push(b'}');
        String::from_utf8(self.0).expect("every part written is UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::stamp::{Agent, Detail, FileType, Git, Kind, Previous};
    use crate::model::stream::StreamId;

    fn full() -> Stamp {
        let context = Context {
            agent: Agent { id: "a".into(), host: "hôst\n".into(), version: "0.1.0".into() },
            repo: Some("app".into()),
            namespace: "a.b.c".parse().expect("a namespace"),
            labels: BTreeMap::from([("team".into(), "\u{20ac}\u{1}\"".into())]),
            git: Some(Git { head: Some("00ff".into()), branch: Some("main".into()) }),
            file: Some(FileType { content_type: "text/x-rust".into(), language: None }),
        };
        let said = serde_json::Map::from_iter([("score".to_owned(), 0.5.into())]);
        let time = Timestamp::from_nanos(1_764_043_557_000_000_001);
        Stamp {
            stream: StreamId::from_uuid(uuid::Uuid::from_u128(7)),
            seq: 1 << 53,
            kind: Kind::Renamed,
            context: Arc::new(context),
            path: RepoPath::new(b"b\xff"),
            from: RepoPath::new("ä".as_bytes()),
            digest: Some(Digest::of(b"new")),
            prev: Some(Digest::of(b"old")),
            size: Some(3),
            mode: Some(0o644),
            mtime: Some(time),
            seen: time,
            stamped: time,
            detail: Detail {
                target: Some(b"../x".to_vec()),
                reason: Some("r".into()),
                since: Some(time),
                until: Some(time),
                previous: Some(Previous {
                    stream: StreamId::from_uuid(uuid::Uuid::from_u128(6)),
                    size: 1,
                    leaf: None,
                }),
                place: None,
                intelligence: Intelligence::new(said).ok(),
                api: None,
            },
        }
    }

    #[test]
    fn keys_are_sorted_and_text_is_canonical() {
        let mut stamp = full();
        let digest = Digest::of(b"");
        let text = || Some("\u{1}\"ö".to_owned());
        stamp.detail.api = Some(Box::new(Api {
            content_hash: Some(digest),
            correlation_id: text(),
            digest_of: DigestOf::OnexText,
            intelligence: text(),
            metadata: text(),
            metadata_version: "0.1".to_owned(),
            op_id: Some(uuid::Uuid::nil()),
            protocol_version: "1.0".to_owned(),
            stamp: text(),
            stamp_data: text(),
            stamp_id: uuid::Uuid::nil(),
            stamp_type: text(),
            version: -1,
        }));
        let body = render(&stamp, &Rendered::new(Arc::clone(&stamp.context)));
        // serde_json sorts by bytes and escapes as RFC 8785 does: a round trip changes nothing.
        let tree: serde_json::Value = serde_json::from_str(&body).expect("is JSON");
        assert_eq!(tree.to_string(), body);
        assert_eq!(tree["seq"], "9007199254740992");
        assert_eq!(tree["path"], "b\u{fffd}");
        assert_eq!(tree["path_b64"], "Yv8=");
        assert_eq!(tree["from"], "ä");
        assert_eq!(tree["intelligence"]["score"], "0.5");
        assert_eq!(tree.get("from_b64"), None);
    }

    #[test]
    fn absent_fields_leave_no_keys() {
        let mut stamp = full();
        stamp.kind = Kind::Started;
        stamp.seq = 0;
        (stamp.path, stamp.from, stamp.digest, stamp.prev) = (None, None, None, None);
        (stamp.size, stamp.mode, stamp.mtime) = (None, None, None);
        stamp.detail = Detail::default();
        let mut context = (*stamp.context).clone();
        (context.labels, context.git, context.file) = (BTreeMap::new(), None, None);
        stamp.context = Arc::new(context);
        let body = render(&stamp, &Rendered::new(Arc::clone(&stamp.context)));
        let tree: serde_json::Value = serde_json::from_str(&body).expect("is JSON");
        let keys: Vec<&str> =
            tree.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["agent", "kind", "namespace", "repo", "seen", "seq", "stamped", "stream", "v"]
        );
    }
}
