//! From an order to its `api` stamp, and from a stamp to the row of `metadata_stamps` that follows
//! from it: the same by every road, since nothing else goes in. `stampd_content_of` does in SQL what
//! [`Row::told_by`] does here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{DigestOf, Order, Row};
use crate::model::identity::content_id;
use crate::model::intelligence::Intelligence;
use crate::model::stamp::{Agent, Api, Context, Detail, FileType, Kind, Stamp};
use crate::model::stream::StreamId;
use crate::runtime::time::Timestamp;

/// The protocol and the metadata's layout of stamps whose caller names none.
const VERSIONS: (&str, &str) = ("1.0", "0.1");

impl Order {
    /// The identity that the content gets.
    pub fn stamp_id(&self) -> Uuid {
        content_id(&self.namespace, &self.digest, self.place())
    }

    /// The path; an empty one is none.
    pub fn place(&self) -> Option<&str> {
        self.path.as_deref().filter(|path| !path.is_empty())
    }

    /// The stamp of this order at a position of an `api` stream, taken at `now`.
    ///
    /// Its times are in whole microseconds, as a database keeps them, so that the first reply and
    /// every later one show the same.
    pub fn to_stamp(&self, stream: StreamId, seq: u64, agent: &Agent, now: Timestamp) -> Stamp {
        let file = self.content_type.clone();
        let context = Context {
            agent: agent.clone(),
            repo: None,
            namespace: self.namespace.clone(),
            labels: BTreeMap::new(),
            git: None,
            file: file.map(|content_type| FileType { content_type, language: None }),
        };
        Stamp {
            stream,
            seq,
            kind: Kind::Api,
            context: Arc::new(context),
            path: None,
            from: None,
            digest: Some(self.digest),
            prev: None,
            size: self.size,
            mode: None,
            mtime: None,
            seen: to_micros(self.at),
            stamped: to_micros(now),
            detail: Detail {
                place: self.place().map(str::to_owned),
                api: Some(Box::new(self.to_api())),
                ..Detail::default()
            },
        }
    }

    fn to_api(&self) -> Api {
        Api {
            content_hash: self.content_hash,
            correlation_id: self.correlation_id.clone(),
            digest_of: self.digest_of,
            intelligence: to_text(&self.intelligence),
            metadata: to_text(&self.metadata),
            metadata_version: self.metadata_version.clone(),
            op_id: self.op_id,
            protocol_version: self.protocol_version.clone(),
            stamp: self.stamp.clone(),
            stamp_data: to_text(&self.stamp_data),
            stamp_id: self.stamp_id(),
            stamp_type: self.stamp_type.clone(),
            version: self.version,
        }
    }
}

impl Row {
    /// The row that follows from a stamp; none where the stamp tells of no content.
    pub fn told_by(stamp: &Stamp) -> Option<Self> {
        let id = stamp.content_id()?;
        let digest = stamp.digest?;
        let api = stamp.detail.api.as_deref();
        let (protocol, metadata) = api
            .map_or(VERSIONS, |api| (api.protocol_version.as_str(), api.metadata_version.as_str()));
        Some(Self {
            id,
            file_hash: digest.to_string(),
            file_path: stamp.place().map(std::borrow::Cow::into_owned),
            file_size: stamp.size.map(|size| size as i64),
            content_type: stamp.context.file.as_ref().map(|file| file.content_type.clone()),
            namespace: stamp.context.namespace.to_string(),
            protocol_version: protocol.to_owned(),
            metadata_version: metadata.to_owned(),
            stamp_data: stamp_data(stamp).into(),
            intelligence_data: api
                .and_then(|api| from_text(api.intelligence.as_deref()))
                .or_else(|| stamp.detail.intelligence.as_ref().map(Intelligence::to_object))
                .unwrap_or_default()
                .into(),
            file_metadata: file_metadata(api).into(),
            version: api.map_or(1, |api| api.version),
            op_id: api.and_then(|api| api.op_id),
            workflow_id: None,
            created_at: stamp.stamped,
            updated_at: stamp.stamped,
        })
    }
}

/// `stamp_data` of a row and of the event that tells of it.
pub(in crate::model) fn stamp_data(stamp: &Stamp) -> Map<String, Value> {
    let api = stamp.detail.api.as_deref();
    let mut data = api.and_then(|api| from_text(api.stamp_data.as_deref())).unwrap_or_default();
    let protocol = api.map_or(VERSIONS.0, |api| &api.protocol_version);
    let mut put = |key: &str, value: Value| data.insert(key.to_owned(), value);
    put("hash", stamp.digest.map(|digest| digest.to_string()).into());
    put("namespace", stamp.context.namespace.as_str().into());
    put("timestamp", stamp.stamped.to_string().into());
    put("protocol_version", protocol.into());
    if let Some(api) = api {
        for (key, text) in [("stamp", &api.stamp), ("stamp_type", &api.stamp_type)] {
            if let Some(text) = text {
                put(key, text.as_str().into());
            }
        }
        if let Some(metadata) = from_text(api.metadata.as_deref()) {
            put("metadata", metadata.into());
        }
    }
    data
}

fn file_metadata(api: Option<&Api>) -> Map<String, Value> {
    let digest_of = api.map_or(DigestOf::Bytes, |api| api.digest_of);
    let mut data = Map::from_iter([("digest_of".to_owned(), digest_of.as_str().into())]);
    if let Some(hash) = api.and_then(|api| api.content_hash) {
        data.insert("content_hash".to_owned(), hash.to_string().into());
    }
    data
}

/// An object as its JSON text; none when it is empty.
fn to_text(object: &Map<String, Value>) -> Option<String> {
    (!object.is_empty()).then(|| {
        serde_json::to_string(object).expect("an object of JSON values has string keys only")
    })
}

/// An object from its JSON text; none when it is none.
fn from_text(text: Option<&str>) -> Option<Map<String, Value>> {
    serde_json::from_str(text?).ok()
}

fn to_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_nanos(time.as_nanos().div_euclid(1_000) * 1_000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::digest::Digest;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("an object") };
        object
    }

    fn order() -> Order {
        Order {
            namespace: "a.b.c".parse().expect("a namespace"),
            digest: Digest::of(b"x"),
            digest_of: DigestOf::OnexText,
            content_hash: Some(Digest::of(b"y")),
            path: Some("/srv/../x.md".into()),
            size: Some(3),
            content_type: Some("text/markdown".into()),
            protocol_version: "1.1".into(),
            metadata_version: "0.2".into(),
            version: -4,
            op_id: Some(Uuid::from_u128(9)),
            correlation_id: Some("r-1".into()),
            stamp: Some("# ONEX:".into()),
            stamp_type: Some("lightweight".into()),
            metadata: object(json!({"ratio": 0.5})),
            stamp_data: object(json!({"hash": "not theirs to say", "more": [1]})),
            intelligence: Map::new(),
            at: Timestamp::from_nanos(-1),
        }
    }

    fn told(order: &Order) -> Row {
        let agent = Agent { id: "a".into(), host: "h".into(), version: "1".into() };
        let stream = StreamId::from_uuid(Uuid::from_u128(7));
        let stamp = order.to_stamp(stream, 3, &agent, Timestamp::from_nanos(1_999));
        assert_eq!(stamp.seen, Timestamp::from_nanos(-1_000));
        Row::told_by(&stamp).expect("it tells of a content")
    }

    #[test]
    fn a_row_keeps_what_was_sent_and_says_itself_what_it_vouches_for() {
        let (order, row) = (order(), told(&order()));
        assert_eq!(row.id, order.stamp_id());
        assert_eq!(row.file_path.as_deref(), Some("/srv/../x.md"));
        assert_eq!((row.version, row.op_id), (-4, order.op_id));
        assert_eq!((row.protocol_version.as_str(), row.metadata_version.as_str()), ("1.1", "0.2"));
        assert_eq!(row.intelligence_data, json!({}));
        assert_eq!(
            row.stamp_data,
            json!({
                "hash": order.digest.to_string(), "namespace": "a.b.c", "protocol_version": "1.1",
                "timestamp": "1970-01-01T00:00:00.000001000Z", "stamp": "# ONEX:",
                "stamp_type": "lightweight", "metadata": {"ratio": 0.5}, "more": [1],
            })
        );
        assert_eq!(
            row.file_metadata,
            json!({"digest_of": "onex-text", "content_hash": Digest::of(b"y").to_string()})
        );
        assert_eq!(row.created_at, Timestamp::from_nanos(1_000));
    }

    #[test]
    fn an_empty_path_is_none() {
        let nowhere = Order { path: None, ..order() };
        let empty = Order { path: Some(String::new()), ..order() };
        assert_eq!(told(&empty), told(&nowhere));
    }
}
