//! A new stamp as text, byte for byte as existing readers know it.
//!
//! Free words come from callers and file names: whatever in them would end the line, end the block
//! or read as another stamp is percent-encoded, and everything else is written as it is.

use std::fmt::Write as _;

use super::Kind;
use super::find::{is_of_time, is_of_uid};
use crate::model::digest::Digest;
use crate::runtime::time::Timestamp;

/// The uid of a stamp: letters, digits, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uid(String);

impl Uid {
    /// Takes a well-formed uid.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty() && text.bytes().all(is_of_uid)).then_some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<uuid::Uuid> for Uid {
    fn from(uuid: uuid::Uuid) -> Self {
        Self(uuid.to_string())
    }
}

/// The time in a stamp, as text: ISO 8601 from the date on, `Z` or an offset or neither.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Time(String);

impl Time {
    /// Takes a well-formed time, to be written as it is.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let digits = text.strip_suffix('Z').unwrap_or(&text);
        let has_date = digits.len() >= 10
            && digits.bytes().take(10).enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        (has_date && digits.bytes().all(is_of_time)).then_some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Timestamp> for Time {
    /// Microseconds and `+00:00`.
    fn from(time: Timestamp) -> Self {
        let nanos = time.to_rfc3339();
        let micros = &nanos[.."0000-00-00T00:00:00.000000".len()];
        let text = [micros, b"+00:00"].concat();
        Self(String::from_utf8(text).expect("times are ASCII"))
    }
}

/// What a stamp says beside the hash.
#[derive(Clone, Debug)]
pub struct Label<'a> {
    /// The stamp's own identity.
    pub uid: Uid,
    /// When it was made.
    pub time: Time,
    /// Lightweight only.
    pub author: Option<&'a str>,
    /// The caller's word for the version of the content; lightweight only.
    pub version: Option<&'a str>,
    /// Rich only.
    pub protocol_version: &'a str,
    /// Rich only.
    pub file_path: Option<&'a str>,
    /// Rich only.
    pub content_type: Option<&'a str>,
}

impl Label<'_> {
    /// A label with nothing but what every stamp says.
    pub const fn new(uid: Uid, time: Time) -> Self {
        Self {
            uid,
            time,
            author: None,
            version: None,
            protocol_version: "1.0",
            file_path: None,
            content_type: None,
        }
    }

    /// The stamp's text, without what separates it from the content. `size` is that of the
    /// canonical text, in bytes.
    pub fn render(&self, kind: Kind, hash: &Digest, size: usize) -> String {
        match kind {
            Kind::Lightweight => self.lightweight(hash),
            Kind::Rich => self.rich(hash, size),
        }
    }

    fn lightweight(&self, hash: &Digest) -> String {
        let (uid, time) = (self.uid.as_str(), self.time.as_str());
        let mut stamp = format!("# ONEX:uid={uid},hash={hash},ts={time}");
        for (key, value) in [("author", self.author), ("v", self.version)] {
            if let Some(value) = value {
                stamp.push(',');
                stamp.push_str(key);
                stamp.push('=');
                push_harmless(&mut stamp, value);
            }
        }
        stamp
    }

    fn rich(&self, hash: &Digest, size: usize) -> String {
        let size = size.to_string();
        let mut stamp = "<!-- ONEX_METADATA_START -->\n<!-- ONEX Metadata Stamp\n".to_owned();
        let fields = [
            ("uid", Some(self.uid.as_str())),
            ("hash", Some(&hash.to_string())),
            ("timestamp", Some(self.time.as_str())),
            ("protocol_version", Some(self.protocol_version)),
            // The line is always there; this is how existing writers say that there is no path.
            ("file_path", Some(self.file_path.unwrap_or("None"))),
            ("file_size", Some(&size)),
            ("content_type", self.content_type),
        ];
        for (key, value) in fields {
            if let Some(value) = value {
                stamp.push_str("  ");
                stamp.push_str(key);
                stamp.push_str(": ");
                push_harmless(&mut stamp, value);
                stamp.push('\n');
            }
        }
        write!(stamp, "  integrity:\n    algorithm: BLAKE3\n    hash: {hash}\n")
            .expect("writing into a String cannot fail");
        stamp.push_str("-->\n<!-- ONEX_METADATA_END -->");
        stamp
    }
}

fn push_harmless(stamp: &mut String, value: &str) {
    for (at, letter) in value.char_indices() {
        let harms = match letter {
            '<' => value[at..].starts_with("<!--"),
            '>' => value[..at].ends_with("--"),
            '#' => value[at..].starts_with("# ONEX:"),
            '\u{2028}' | '\u{2029}' => true,
            letter => letter.is_control(),
        };
        if !harms {
            stamp.push(letter);
            continue;
        }
        for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
            write!(stamp, "%{byte:02X}").expect("writing into a String cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_six_digits_and_an_offset() {
        let time = Time::from(Timestamp::from_nanos(1_764_043_557_123_456_789));
        assert_eq!(time.as_str(), "2025-11-25T04:05:57.123456+00:00");
        assert_eq!(
            Time::from(Timestamp::from_nanos(0)).as_str(),
            "1970-01-01T00:00:00.000000+00:00"
        );
    }

    #[test]
    fn a_callers_uid_and_time_are_taken_only_where_they_read_back() {
        for good in ["a", "A-b_9", "3fd9bef3-0d0a-4bb4-8f5a-1d2c3b4a5f6e"] {
            assert!(Uid::new(good).is_some(), "{good}");
        }
        for bad in ["", "a b", "a,b", "ü", "a\n"] {
            assert!(Uid::new(bad).is_none(), "{bad:?}");
        }
        for good in [
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.5+02:00",
            "2024-01-01T00:00:00Z",
        ] {
            assert!(Time::new(good).is_some(), "{good}");
        }
        for bad in
            ["", "Z", "now", "20240101", "2024-01-01 00:00", "2024-01-01T00:00:00,x", "++++++++++"]
        {
            assert!(Time::new(bad).is_none(), "{bad:?}");
        }
    }
}
