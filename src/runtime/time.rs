//! Points in time as data: nanoseconds since the Unix epoch, shown as RFC 3339 in UTC.
//!
//! Holds the type only; reading a clock is `runtime::clock`'s work.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time in nanoseconds since 1970-01-01T00:00:00Z.
///
/// Covers the years 1677 to 2262; times outside (a file system can hold them) saturate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Takes nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Joins the seconds and nanoseconds that `stat` gives, saturating at the ends of the range.
    pub const fn from_stat(seconds: i64, nanos: u32) -> Self {
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos as i64))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The time since `earlier`, zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0);
        Duration::from_nanos(if nanos < 0 { 0 } else { nanos.unsigned_abs() })
    }

    /// The time after this one by `span`, saturating at the end of the range.
    pub fn after(self, span: Duration) -> Self {
        let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// RFC 3339 with nine digits and `Z`, of which every body holds two or three: written by hand,
    /// since a first scan writes hundreds of thousands.
    pub fn to_rfc3339(self) -> [u8; 30] {
        let (days, nanos) = (self.0.div_euclid(DAY_NANOS), self.0.rem_euclid(DAY_NANOS));
        let (year, month, day) = civil(days);
        let seconds = nanos / 1_000_000_000;
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], seconds / 3_600);
        digits(&mut text[14..16], seconds / 60 % 60);
        digits(&mut text[17..19], seconds % 60);
        digits(&mut text[20..29], nanos % 1_000_000_000);
        text
    }

    /// Reads RFC 3339 as [`fmt::Display`] writes it, or with any offset and precision.
    pub fn parse(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok().map(Self)
    }
}

const DAY_NANOS: i64 = 86_400 * 1_000_000_000;

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar. Years
/// are counted from March on, in eras of 400, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let from_march_0 = days + 719_468;
    let (era, day_of_era) = (from_march_0.div_euclid(146_097), from_march_0.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Writes a number that fits, with leading zeros.
fn digits(place: &mut [u8], mut number: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let nanos = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)
            }
        };
        Self(nanos)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_nanos(time.0.unsigned_abs());
        if time.0 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 with nine digits and `Z`: one spelling per instant, so bodies that hold it
    /// hash alike everywhere.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_rfc3339();
        out.write_str(std::str::from_utf8(&text).expect("digits and marks are ASCII"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_shown_as_jiff_shows_it() {
        let days = i64::MAX / DAY_NANOS;
        for day in -days..=days {
            let nanos = day * DAY_NANOS + (day * 7_919_000_000_007).rem_euclid(DAY_NANOS);
            let shown = jiff::Timestamp::from_nanosecond(i128::from(nanos)).expect("in range");
            assert_eq!(Timestamp::from_nanos(nanos).to_string(), format!("{shown:.9}"));
        }
    }

    #[test]
    fn shows_nine_digits_and_reads_them_back() {
        for nanos in [0, 1, -1, 1_764_043_557_123_456_789, i64::MAX, i64::MIN] {
            let time = Timestamp::from_nanos(nanos);
            assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        }
        assert_eq!(Timestamp::from_nanos(1).to_string(), "1970-01-01T00:00:00.000000001Z");
    }
}
