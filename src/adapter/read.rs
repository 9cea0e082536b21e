//! A record as librdkafka lends it, as one of our own: whole, decoded or with why it is not.

use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use serde_json::json;

use super::decode::{self, Refusal, decode};
use super::route::Slug;
use crate::runtime::chain::chain;
use crate::runtime::time::Timestamp;
use crate::store::dead::{Reason, Record};
use crate::store::operations::Item;

/// Takes a record of a topic of the kind `slug`; `now` stands in where it does not say when it was
/// sent.
pub(super) fn read(slug: Slug, message: &BorrowedMessage<'_>, now: Timestamp) -> Item {
    let millis = message.timestamp().to_millis();
    let sent = millis.map(|millis| Timestamp::from_nanos(millis.saturating_mul(1_000_000)));
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let record = Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        sent: sent.unwrap_or(now),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect(),
    };
    again(slug, record)
}

/// Reads a record that is ours already.
pub(super) fn again(slug: Slug, record: Record) -> Item {
    let header = |name: &str| {
        let found = record.headers.iter().find(|(key, _)| key == name);
        found.and_then(|(_, value)| value.as_deref())
    };
    let parts = decode::Record {
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        ce_id: header("ce_id"),
        ce_type: header("ce_type"),
        leaf: header("stampd_leaf"),
    };
    let read = decode(slug, &parts, record.sent).map_err(|refusal| reason(slug, &refusal));
    Item { record, read }
}

fn reason(slug: Slug, refusal: &Refusal) -> Reason {
    Reason {
        error_type: refusal.code().to_owned(),
        error_message: format!("failed to {}", chain(refusal)),
        error_context: json!({ "slug": slug.as_str(), "field": refusal.field() }),
    }
}
