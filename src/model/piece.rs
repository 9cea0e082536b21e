//! A piece of a stream as it goes over HTTP: `{first_seq, stamps, checkpoint?}`.
//!
//! An entry of `stamps` is a canonical body, byte for byte, or `{leaf, seq, since?, withheld}` where
//! the body stays away for the reason given. Both sides are here, so that they cannot disagree.
//! Reading accepts only what is whole: every body canonical, of this stream and at its seq.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::batch::{Batch, Entry};
use super::body::{self, BodyError};
use super::digest::from_hex;
use super::stream::{Leaf, StreamId};
use crate::runtime::time::Timestamp;

/// Entries of one piece, at most.
pub const ENTRIES_MAX: usize = 5_000;

/// Far beyond the end of any stream, so that reckoning with positions never overflows.
const SEQ_END: u64 = 1 << 53;

/// Bytes of a withheld entry's reason, at most.
const REASON_BYTES_MAX: usize = 1_024;

/// Why a text is not a piece of the stream.
#[derive(Debug, thiserror::Error)]
pub enum PieceError {
    /// It is not such a JSON object.
    #[error("read the piece: expected {{first_seq, stamps}}")]
    Malformed(#[source] serde_json::Error),
    /// It begins where no stream can be.
    #[error("read the piece: first_seq {0} is not a position of a stream")]
    Position(u64),
    /// There is nothing in it.
    #[error("read the piece: it holds no stamps")]
    Empty,
    /// It holds too much.
    #[error("read the piece: it holds {0} stamps; at most {ENTRIES_MAX} go at once")]
    TooMany(usize),
    /// An entry is not what it should be.
    #[error("read the stamp at seq {seq}")]
    Entry {
        /// Where.
        seq: u64,
        /// Why.
        #[source]
        source: EntryError,
    },
}

impl PieceError {
    /// Whether a newer sender would be understood by a newer reader.
    pub const fn is_of_newer_version(&self) -> bool {
        matches!(self, Self::Entry { source: EntryError::Body(BodyError::Version(_)), .. })
    }
}

/// Why an entry is refused.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// It is not a canonical body.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It is of another stream, or of another seq than its place says.
    #[error("place the stamp: it is of stream {stream} and seq {seq}")]
    Place {
        /// Which stream it says.
        stream: StreamId,
        /// Which seq it says.
        seq: u64,
    },
    /// It is withheld, and says so wrongly.
    #[error("read the withheld stamp: {0} is not valid")]
    Withheld(&'static str),
}

#[derive(Deserialize)]
struct Raw<'a> {
    first_seq: u64,
    #[serde(borrow)]
    stamps: Vec<&'a RawValue>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Withheld {
    leaf: String,
    seq: u64,
    since: Option<Timestamp>,
    #[serde(rename = "withheld")]
    reason: String,
}

/// Reads a piece of `stream`. A withheld entry that says no time is withheld since `now`.
pub fn read(text: &[u8], stream: StreamId, now: Timestamp) -> Result<Batch, PieceError> {
    let raw: Raw<'_> = serde_json::from_slice(text).map_err(PieceError::Malformed)?;
    if raw.first_seq >= SEQ_END {
        return Err(PieceError::Position(raw.first_seq));
    }
    match raw.stamps.len() {
        0 => return Err(PieceError::Empty),
        count if count > ENTRIES_MAX => return Err(PieceError::TooMany(count)),
        _ => {}
    }
    let mut entries = Vec::with_capacity(raw.stamps.len());
    for (seq, stamp) in (raw.first_seq..).zip(raw.stamps) {
        let entry = read_entry(stamp.get(), stream, seq, now);
        entries.push(entry.map_err(|source| PieceError::Entry { seq, source })?);
    }
    Ok(Batch { stream, first_seq: raw.first_seq, entries })
}

fn read_entry(text: &str, stream: StreamId, seq: u64, now: Timestamp) -> Result<Entry, EntryError> {
    // No body has such keys, and every body has one that this has not, among its first.
    if let Ok(withheld) = serde_json::from_str::<Withheld>(text) {
        return withheld.into_entry(stream, seq, now);
    }
    let sealed = body::read(text)?;
    let (of, at) = (sealed.stamp.stream, sealed.stamp.seq);
    if (of, at) != (stream, seq) {
        return Err(EntryError::Place { stream: of, seq: at });
    }
    Ok(Entry::Stamp(Box::new(sealed)))
}

impl Withheld {
    fn into_entry(self, stream: StreamId, seq: u64, now: Timestamp) -> Result<Entry, EntryError> {
        if self.seq != seq {
            return Err(EntryError::Place { stream, seq: self.seq });
        }
        let leaf = from_hex(&self.leaf).ok_or(EntryError::Withheld("leaf"))?;
        if self.reason.len() > REASON_BYTES_MAX || self.reason.contains('\0') {
            return Err(EntryError::Withheld("the reason"));
        }
        let (leaf, since) = (Leaf::from_bytes(leaf), self.since.unwrap_or(now));
        Ok(Entry::Withheld { leaf, reason: self.reason, since })
    }
}

/// Renders a piece.
pub fn render(batch: &Batch) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64 + batch.entries.len() * 640);
    write!(text, "{{\"first_seq\":{},\"stamps\":[", batch.first_seq)
        .expect("writing to memory cannot fail");
    for (seq, entry) in (batch.first_seq..).zip(&batch.entries) {
        if seq > batch.first_seq {
            text.push(',');
        }
        match entry {
            Entry::Stamp(sealed) => text.push_str(&sealed.body),
            Entry::Withheld { leaf, reason, since } => {
                let (leaf, reason) = (leaf.to_string(), reason.clone());
                let entry = Withheld { leaf, seq, since: Some(*since), reason };
                text.push_str(&serde_json::to_string(&entry).expect("it has string keys only"));
            }
        }
    }
    text.push_str("]}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(1);

    /// A body of seq 0 and the stream it is of.
    fn body() -> (StreamId, String) {
        let cases = include_str!("../../tests/cases/spool/golden.jsonl");
        let body = cases.lines().find_map(|line| {
            let case: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let body = case["body"].as_str().expect("text").to_owned();
            body.contains("\"seq\":0,").then_some(body)
        });
        let body = body.expect("one is the first of its stream");
        (body::read(&body).expect("it is a body").stamp.stream, body)
    }

    #[test]
    fn what_is_rendered_reads_back() {
        let (stream, body) = body();
        let leaf = Leaf::from_bytes([7; 32]);
        let entries = vec![
            Entry::Stamp(Box::new(body::read(&body).expect("it is a body"))),
            Entry::Withheld { leaf, reason: "purged \"x\"".into(), since: NOW },
        ];
        let batch = Batch { stream, first_seq: 0, entries };
        let text = render(&batch);
        assert!(text.contains(&body), "the body goes as it is");
        assert_eq!(read(text.as_bytes(), stream, NOW).expect("it reads back"), batch);
        let extended = text.replacen('{', "{\"checkpoint\":\"x\",", 1);
        assert_eq!(read(extended.as_bytes(), stream, NOW).expect("it reads back"), batch);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let (stream, body) = body();
        let leaf = "0".repeat(64);
        for stamps in [
            String::new(),
            "{}".to_owned(),
            body.replacen(':', ": ", 1),
            body.replace(&stream.to_string(), "00000000-0000-0000-0000-000000000000"),
            format!("{body},{body}"),
            format!("{{\"seq\":1,\"leaf\":\"{leaf}\",\"withheld\":\"x\"}}"),
            format!("{{\"seq\":0,\"leaf\":\"{leaf}0\",\"withheld\":\"x\"}}"),
            format!("{{\"seq\":0,\"leaf\":\"{leaf}\",\"withheld\":\"\\u0000\"}}"),
            format!("{{\"seq\":0,\"leaf\":\"{leaf}\",\"withheld\":\"x\",\"more\":1}}"),
            vec!["1"; ENTRIES_MAX + 1].join(","),
        ] {
            let text = format!("{{\"first_seq\":0,\"stamps\":[{stamps}]}}");
            assert!(read(text.as_bytes(), stream, NOW).is_err(), "{text}");
        }
        for text in [
            "",
            "[]",
            "{\"stamps\":[]}",
            "{\"first_seq\":-1,\"stamps\":[1]}",
            "{\"first_seq\":18446744073709551615,\"stamps\":[1]}",
            "\u{1}",
        ] {
            assert!(read(text.as_bytes(), stream, NOW).is_err(), "{text}");
        }
    }
}
