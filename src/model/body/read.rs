//! Reading a body that came from elsewhere: back to the stamp, and only if it is canonical.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Rendered, VERSION, seal};
use crate::model::digest::Digest;
use crate::model::intelligence::Intelligence;
use crate::model::namespace::Namespace;
use crate::model::path::RepoPath;
use crate::model::stamp::{
    Agent, Api, Context, Detail, FileType, Git, Kind, Previous, Sealed, Stamp,
};
use crate::model::stream::StreamId;
use crate::runtime::time::Timestamp;

/// Why a text is not the canonical body of a stamp. Each is the sender's mistake, or a newer sender.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is not JSON, or has a key or a value that no body has.
    #[error("read the body")]
    Malformed(#[source] serde_json::Error),
    /// It is of a rendering that is not known here.
    #[error("read a body of version {0}; upgrade stampd")]
    Version(u64),
    /// A value is not one of its key.
    #[error("read the body: {0} is not valid")]
    Value(&'static str),
    /// It says the same as a body, in another way.
    #[error("read the body: it is not canonical JSON (RFC 8785)")]
    NotCanonical,
}

/// Reads a canonical body and computes its leaf.
pub fn read(body: &str) -> Result<Sealed, BodyError> {
    let raw: Raw = serde_json::from_str(body).map_err(BodyError::Malformed)?;
    if raw.v != VERSION {
        return Err(BodyError::Version(raw.v));
    }
    let stamp = raw.into_stamp()?;
    let named = stamp.detail.api.as_ref().map(|api| api.stamp_id);
    if named.is_some() && named != stamp.content_id() {
        return Err(BodyError::Value("api.stamp_id"));
    }
    let shared = Rendered::new(Arc::clone(&stamp.context));
    let sealed = seal(stamp, &shared);
    if sealed.body == body { Ok(sealed) } else { Err(BodyError::NotCanonical) }
}

/// A body as JSON has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    agent: Agent,
    api: Option<Box<Api>>,
    claimed: Option<bool>,
    digest: Option<Digest>,
    file: Option<FileType>,
    from: Option<String>,
    from_b64: Option<String>,
    git: Option<Git>,
    intelligence: Option<Map<String, Value>>,
    kind: Kind,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    mode: Option<u32>,
    mtime: Option<Timestamp>,
    namespace: Namespace,
    path: Option<String>,
    path_b64: Option<String>,
    prev: Option<Digest>,
    previous: Option<Previous>,
    reason: Option<String>,
    repo: Option<String>,
    seen: Timestamp,
    seq: Integer,
    since: Option<Timestamp>,
    size: Option<Integer>,
    stamped: Timestamp,
    stream: StreamId,
    target: Option<String>,
    target_b64: Option<String>,
    until: Option<Timestamp>,
    v: u64,
}

/// An integer, which is text from 2^53 on.
#[derive(Deserialize)]
#[serde(untagged)]
enum Integer {
    Small(u64),
    Large(String),
}

impl Integer {
    fn value(self, key: &'static str) -> Result<u64, BodyError> {
        match self {
            Self::Small(value) => Ok(value),
            Self::Large(text) => text.parse().map_err(|_| BodyError::Value(key)),
        }
    }
}

impl Raw {
    fn into_stamp(self) -> Result<Stamp, BodyError> {
        let is_api = self.kind == Kind::Api;
        if is_api != self.api.is_some() || (self.claimed.is_some() && !is_api) {
            return Err(BodyError::Value("api"));
        }
        if is_api && (self.digest.is_none() || self.path.as_deref() == Some("")) {
            return Err(BodyError::Value("digest or path"));
        }
        // Where all keys are ASCII, the order of their bytes is that of RFC 8785.
        if !self.labels.keys().all(|key| key.is_ascii()) {
            return Err(BodyError::Value("labels"));
        }
        let intelligence = self.intelligence.map(Intelligence::of_body).transpose();
        let intelligence = intelligence.map_err(|_| BodyError::Value("intelligence"))?;
        let (path, place) = if is_api {
            (None, self.path)
        } else {
            (to_path("path", self.path, self.path_b64)?, None)
        };
        let context = Context {
            agent: self.agent,
            repo: self.repo,
            namespace: self.namespace,
            labels: self.labels,
            git: self.git,
            file: self.file,
        };
        Ok(Stamp {
            stream: self.stream,
            seq: self.seq.value("seq")?,
            kind: self.kind,
            context: Arc::new(context),
            path,
            from: to_path("from", self.from, self.from_b64)?,
            digest: self.digest,
            prev: self.prev,
            size: self.size.map(|size| size.value("size")).transpose()?,
            mode: self.mode,
            mtime: self.mtime,
            seen: self.seen,
            stamped: self.stamped,
            detail: Detail {
                target: to_bytes("target", self.target, self.target_b64)?,
                reason: self.reason,
                since: self.since,
                until: self.until,
                previous: self.previous,
                place,
                intelligence,
                api: self.api,
            },
        })
    }
}

/// The bytes of a text, or the truth beside it.
fn to_bytes(
    key: &'static str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Vec<u8>>, BodyError> {
    match base64 {
        None => Ok(text.map(String::into_bytes)),
        Some(base64) => STANDARD.decode(base64).map(Some).map_err(|_| BodyError::Value(key)),
    }
}

fn to_path(
    key: &'static str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<RepoPath>, BodyError> {
    let bytes = to_bytes(key, text, base64)?;
    bytes.map(|bytes| RepoPath::new(&bytes).ok_or(BodyError::Value(key))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bodies that were computed without stampd.
    fn golden() -> impl Iterator<Item = (String, String)> {
        include_str!("../../../tests/cases/spool/golden.jsonl").lines().map(|line| {
            let case: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let text = |key: &str| case[key].as_str().expect("text").to_owned();
            (text("body"), text("leaf"))
        })
    }

    #[test]
    fn every_golden_body_reads_back_to_its_leaf() {
        for (body, leaf) in golden() {
            let sealed = read(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
            assert_eq!((sealed.leaf.to_string(), &sealed.body), (leaf, &body));
        }
    }

    #[test]
    fn what_was_said_of_a_content_is_read_back_and_has_no_floats() {
        let created =
            golden().map(|(body, _)| body).find(|body| body.contains("\"kind\":\"created\""));
        let created = created.expect("there is one");
        let with = |said: &str| {
            created.replacen("\"kind\"", &format!("\"intelligence\":{said},\"kind\""), 1)
        };
        let body = with(r#"{"confidence":"0.5","patterns":[]}"#);
        let sealed = read(&body).expect("it is canonical");
        assert_eq!(sealed.body, body);
        assert!(sealed.stamp.detail.intelligence.is_some());
        for said in [r#"{"confidence":0.5}"#, r#"{"b":1,"a":1}"#, r#"{"ä":1}"#, "[]", "\"{}\""] {
            assert!(read(&with(said)).is_err(), "{said}");
        }
    }

    #[test]
    fn what_is_not_a_canonical_body_is_refused() {
        let api = golden().map(|(body, _)| body).find(|body| body.contains("\"kind\":\"api\""));
        let api = api.expect("there is one");
        let spoilt = [
            ("{", "{ "),
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1", "\"v\":1,\"w\":1"),
            ("\"v\":1", "\"v\":1,\"v\":1"),
            ("\"v\":1", "\"v\":1.0"),
            ("\"kind\":\"api\"", "\"kind\":\"created\""),
            ("\"namespace\":\"a.b.c\"", "\"namespace\":\"a.b.d\""),
            ("\"namespace\":\"a.b.c\"", "\"namespace\":\"a.b\""),
            ("\"namespace\"", "\"labels\":{\"\u{10000}\":\"\",\"\u{e000}\":\"\"},\"namespace\""),
            ("\"namespace\"", "\"labels\":{\"\u{e000}\":\"\",\"\u{10000}\":\"\"},\"namespace\""),
            ("\"digest\":\"1", "\"digest\":\"g"),
            ("}", ""),
        ];
        for (old, new) in spoilt {
            let body = api.replacen(old, new, 1);
            assert_ne!(body, api, "{old}");
            assert!(read(&body).is_err(), "{body}");
        }
    }
}
