//! Namespaces: the tenant of a stamp, three dotted segments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// A namespace `a.b.c`: `^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){2}$`, at most 255 bytes (the width of
/// its column in Postgres).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Namespace(String);

impl Namespace {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a namespace.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "namespace {0:?} is not three segments of a-z, 0-9 and _ such as \"projecta.services.metadata\""
)]
pub struct NotANamespace(String);

impl FromStr for Namespace {
    type Err = NotANamespace;

    fn from_str(text: &str) -> Result<Self, NotANamespace> {
        let segments_ok = text.split('.').all(|segment| {
            segment.starts_with(|first: char| first.is_ascii_lowercase())
                && segment.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        });
        if segments_ok && text.split('.').count() == 3 && text.len() <= 255 {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotANamespace(text.to_owned()))
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_three_segments_and_nothing_else() {
        for good in ["a.b.c", "omninode.services.metadata", "a1_.b_2.c3"] {
            assert!(good.parse::<Namespace>().is_ok(), "{good}");
        }
        for bad in
            ["", "a", "a.b", "a.b.c.d", "A.b.c", "1a.b.c", "a..c", "a.b.c\n", "a.b.ç", "_a.b.c"]
        {
            assert!(bad.parse::<Namespace>().is_err(), "{bad}");
        }
        assert!(format!("a.b.{}", "c".repeat(252)).parse::<Namespace>().is_err());
    }
}
