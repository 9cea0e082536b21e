//! What a bridge's reply means: its status, its code and the members beside them.

use serde::Deserialize;

use crate::model::batch::Batch;
use crate::model::class::Class;
use crate::model::digest::from_hex;
use crate::model::rung::{Height, Rung};
use crate::model::stream::Leaf;
use crate::sink::{Delivery, Identity, SinkError};

/// A reply.
pub(super) struct Reply {
    status: u16,
    /// Empty where the reply is no bridge's.
    said: Said,
}

/// The members that are read; all are missing from a reply that is no bridge's.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    code: Option<String>,
    detail: Option<String>,
    ledger: Option<String>,
    size: Option<u64>,
    leaf: Option<String>,
    seq: Option<u64>,
    accepted: u64,
    duplicates: u64,
}

impl Reply {
    pub(super) fn new(status: u16, body: &[u8]) -> Self {
        Self { status, said: serde_json::from_slice(body).unwrap_or_default() }
    }

    /// The status, and the bridge's own words.
    fn words(&self) -> String {
        let detail = self.said.detail.as_deref();
        // A bridge says one line; a stranger's could be anything.
        let detail: Option<String> = detail.map(|detail| detail.chars().take(300).collect());
        match detail {
            Some(detail) => format!("the bridge says {}: {detail}", self.status),
            None => format!("the bridge says {}", self.status),
        }
    }

    fn code(&self) -> String {
        self.said.code.clone().unwrap_or_else(|| self.status.to_string())
    }

    fn error(&self, class: Class, advice: &str) -> SinkError {
        SinkError::new(class, self.code(), format!("{}{advice}", self.words()))
    }

    fn failure(&self) -> SinkError {
        match self.status {
            401 => self.error(
                Class::Park,
                "; put a token in force where [bridge] token says (`stampd token new`)",
            ),
            403 => self.error(Class::Park, "; ask whoever issued the token"),
            300..=399 => self.error(
                Class::Park,
                ", a redirect, which is not followed: write where it leads into [bridge] url",
            ),
            408 | 425 | 429 | 500..=599 => self.error(Class::Retry, ""),
            413 => self.error(Class::RetrySmaller, ""),
            422 if self.names_a_stamp() => {
                let error = self.error(Class::Reject, "");
                match self.said.seq {
                    Some(seq) => error.at(seq),
                    None => error,
                }
            }
            // This one speaks another version of the protocol than ours.
            422 => self.error(Class::Park, ""),
            _ => self.error(Class::Park, "; check [bridge] url: is it a stampd bridge?"),
        }
    }

    /// Whether a stamp is at fault, and not the piece as a whole: then there is one to find.
    fn names_a_stamp(&self) -> bool {
        self.said.seq.is_some() || self.said.code.as_deref() == Some("STAMP_REFUSED")
    }

    fn delivery(&self, size: u64) -> Delivery {
        let leaf = self.said.leaf.as_deref().and_then(from_hex).map(Leaf::from_bytes);
        let Said { accepted, duplicates, .. } = self.said;
        Delivery { size, leaf, accepted, duplicates }
    }
}

/// What a reply to a piece means.
pub(super) fn judge(reply: &Reply, batch: &Batch) -> Result<Delivery, SinkError> {
    match (reply.status, reply.said.code.as_deref(), reply.said.size) {
        (409, Some("EQUIVOCATION"), _) => {
            let error = reply.error(Class::Fork, "");
            Err(match reply.said.seq {
                Some(seq) => error.at(seq),
                None => error,
            })
        }
        // With 409 it knows less than was thought: begin there.
        (200 | 409, _, Some(size)) => Ok(reply.delivery(size)),
        (413, ..) if batch.entries.len() == 1 => {
            Err(reply.error(Class::Reject, "").at(batch.first_seq))
        }
        _ => Err(reply.failure()),
    }
}

/// Who is there, if it takes stamps.
pub(super) fn rung_of(reply: &Reply) -> Result<Identity, Rung> {
    if reply.status != 200 {
        let error = reply.failure();
        return Err(Rung {
            height: Height::Application,
            text: error.text.clone(),
            class: super::probing(error.class),
        });
    }
    reply.said.ledger.clone().map(Identity).ok_or_else(|| {
        let text = "it does not say which record it is; check [bridge] url: is it a stampd bridge?";
        Rung::park(Height::Identity, text)
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::batch::Entry;
    use crate::model::stream::StreamId;
    use crate::runtime::time::Timestamp;

    fn batch(count: usize) -> Batch {
        let entry = Entry::Withheld {
            leaf: Leaf::from_bytes([0; 32]),
            reason: "purged".into(),
            since: Timestamp::from_nanos(0),
        };
        let stream = StreamId::from_uuid(Uuid::from_u128(7));
        Batch { stream, first_seq: 5, entries: vec![entry; count] }
    }

    fn class(status: u16, body: &str, count: usize) -> (Class, Option<u64>) {
        let error = judge(&Reply::new(status, body.as_bytes()), &batch(count)).unwrap_err();
        (error.class, error.seq)
    }

    #[test]
    fn the_status_decides_what_is_done() {
        for (status, body, count, expected) in [
            (401, r#"{"code":"UNAUTHORIZED"}"#, 2, (Class::Park, None)),
            (403, "{}", 2, (Class::Park, None)),
            (404, "<html>", 2, (Class::Park, None)),
            (302, "", 2, (Class::Park, None)),
            (200, "<html>", 2, (Class::Park, None)),
            (409, r#"{"code":"EQUIVOCATION","seq":6,"size":9}"#, 2, (Class::Fork, Some(6))),
            (413, "", 2, (Class::RetrySmaller, None)),
            (413, "", 1, (Class::Reject, Some(5))),
            (422, r#"{"seq":6}"#, 2, (Class::Reject, Some(6))),
            (422, r#"{"code":"STAMP_REFUSED"}"#, 2, (Class::Reject, None)),
            (422, r#"{"code":"VERSION_UNSUPPORTED"}"#, 2, (Class::Park, None)),
            (429, "", 2, (Class::Retry, None)),
            (503, "", 2, (Class::Retry, None)),
        ] {
            assert_eq!(class(status, body, count), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_size_is_where_to_go_on() {
        for (status, body, size) in [
            (200, r#"{"status":"success","size":7,"accepted":2,"duplicates":0}"#, 7),
            (409, r#"{"status":"error","code":"OUT_OF_ORDER","size":3,"leaf":null}"#, 3),
        ] {
            let delivery = judge(&Reply::new(status, body.as_bytes()), &batch(2)).unwrap();
            assert_eq!(delivery.size, size, "{body}");
        }
    }

    #[test]
    fn only_a_bridge_is_one() {
        let probe = |status, body: &str| rung_of(&Reply::new(status, body.as_bytes()));
        assert_eq!(probe(200, r#"{"ledger":"x"}"#), Ok(Identity("x".into())));
        for (status, body, class) in [
            (200, "{}", Class::Park),
            (200, "<html>", Class::Park),
            (401, "{}", Class::Park),
            (404, "", Class::Park),
            (503, "", Class::Retry),
        ] {
            assert_eq!(probe(status, body).unwrap_err().class, class, "{status} {body}");
        }
    }
}
