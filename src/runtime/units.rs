//! Durations and sizes as people write them: a number and a unit, `250ms`, `90d`, `4GiB`.
//!
//! A bare number is refused: it would mean something else in every other program.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A duration that is read and written as text with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

/// A number of bytes that is read and written as text with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanSize(pub u64);

/// The text is not a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error(
        "{0:?} is not a duration: write a whole number and one of ms, s, min, h, d, such as \"250ms\""
    )]
    Duration(String),
    /// Not a size.
    #[error(
        "{0:?} is not a size: write a whole number and one of B, KiB, MiB, GiB, TiB, such as \"64MiB\""
    )]
    Size(String),
}

impl FromStr for HumanDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse(text, &DURATION_UNITS)
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| UnitError::Duration(text.to_owned()))
    }
}

impl FromStr for HumanSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse(text, &SIZE_UNITS).map(Self).ok_or_else(|| UnitError::Size(text.to_owned()))
    }
}

/// Reads `number unit`, with or without a space between.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes `value` in the largest unit that divides it.
fn write(out: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let (name, factor) = units
        .iter()
        .find(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
        .or(units.last())
        .expect("both tables end with a unit of one");
    write!(out, "{}{name}", value / factor)
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(out, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &DURATION_UNITS)
    }
}

impl fmt::Display for HumanSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(out, self.0, &SIZE_UNITS)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for HumanSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for HumanSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_written() {
        for (text, millis) in
            [("250ms", 250), ("5s", 5_000), ("30min", 1_800_000), ("36h", 129_600_000), ("0ms", 0)]
        {
            let duration: HumanDuration = text.parse().unwrap();
            assert_eq!((duration.0.as_millis(), duration.to_string()), (millis, text.to_owned()));
        }
        assert_eq!("90 d".parse(), Ok(HumanDuration(Duration::from_hours(90 * 24))));
    }

    #[test]
    fn sizes_read_back_as_written() {
        for (text, bytes) in [("4GiB", 4 << 30), ("64MiB", 64 << 20), ("1000B", 1_000), ("0B", 0)] {
            let size: HumanSize = text.parse().unwrap();
            let shown = if text == "1000B" { "1kB" } else { text };
            assert_eq!((size.0, size.to_string()), (bytes, shown.to_owned()));
        }
    }

    #[test]
    fn a_number_without_a_unit_or_with_a_foreign_one_is_refused() {
        for bad in ["", "5", "ms", "-5s", "1.5s", "5m", "5S", "5 GiB", "1h30min", "99999999999999d"]
        {
            assert!(bad.parse::<HumanDuration>().is_err(), "{bad}");
        }
        for bad in ["", "5", "5gib", "5K", "5 s", "1e3B", "99999999999TiB"] {
            assert!(bad.parse::<HumanSize>().is_err(), "{bad}");
        }
    }
}
