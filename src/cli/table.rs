//! Tables, ages and counts as people read them.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::model::path::write_escaped;
use crate::runtime::time::Timestamp;

/// What a word says of how things are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ink {
    /// All is well.
    Good,
    /// Not all is well, and nobody needs to do anything.
    Wary,
    /// A person is needed.
    Bad,
}

/// Colours for words, where colours are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    /// Whether they are.
    pub(super) coloured: bool,
}

impl Palette {
    pub(super) fn paint(self, ink: Ink, word: &str) -> String {
        let colour = match ink {
            Ink::Good => 32,
            Ink::Wary => 33,
            Ink::Bad => 31,
        };
        if self.coloured { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() }
    }
}

/// Lays rows out in columns; the last column is as wide as it is.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max();
    let widths: Vec<_> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, column) in row.iter().zip(&widths) {
            let padding = column - width(cell);
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', padding + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// How many columns a cell takes. The only sequences in it are those of a [`Palette`].
fn width(cell: &str) -> usize {
    let mut pieces = cell.split('\x1b');
    let plain = pieces.next().map_or(0, |piece| piece.chars().count());
    let after = |piece: &str| piece.split_once('m').map_or(0, |(_, rest)| rest.chars().count());
    plain + pieces.map(after).sum::<usize>()
}

/// A count with its thousands set apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the largest unit that leaves at least one, with one digit after the point.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| number >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", number / unit, number % unit * 10 / unit),
        None => format!("{number} B"),
    }
}

/// Text that comes from elsewhere, such as a server's message, so that it cannot steer a terminal.
pub(super) fn safe(text: &str) -> String {
    let mut out = String::new();
    write_escaped(&mut out, text.as_bytes()).expect("writing into a String cannot fail");
    out
}

/// A span in its largest unit.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A span in its two largest units, for how long something has been up.
pub(super) fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}min"),
        (0, hours, minutes) => format!("{hours}h {minutes}min"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// How long ago something was.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    match now.since(then) {
        short if short < Duration::from_secs(1) => "now".to_owned(),
        long => format!("{} ago", span(long)),
    }
}

/// The time of day here, with the date when that is another day.
pub(super) fn local(time: Timestamp, now: Timestamp) -> String {
    let zoned = |time: Timestamp| {
        jiff::Timestamp::from_nanosecond(i128::from(time.as_nanos()))
            .map(|time| time.to_zoned_datetime(TimeZone::system()))
    };
    match (zoned(time), zoned(now)) {
        (Ok(time), Ok(now)) if time.date() == now.date() => time.strftime("%H:%M:%S").to_string(),
        (Ok(time), _) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        (Err(_), _) => time.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [count(0), count(999), count(12_408), count(1_204_000)],
            ["0", "999", "12 408", "1 204 000"]
        );
        assert_eq!(
            [bytes(0), bytes(1_023), bytes(1_536), bytes(5 << 30)],
            ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
        );
        assert_eq!([uptime(5), uptime(3_700), uptime(273_600)], ["5s", "1h 1min", "3d 4h"]);
        let at = |seconds: i64| Timestamp::from_nanos(seconds * 1_000_000_000);
        assert_eq!(
            [age(at(9), at(9)), age(at(1), at(9)), age(at(0), at(1_325))],
            ["now", "8 s ago", "22 min ago"]
        );
        assert_eq!(
            age(at(9), at(1)),
            "now",
            "a clock that was set back does not lead into the future"
        );
    }

    #[test]
    fn columns_line_up_whatever_letters_are_in_them() {
        let rows =
            [vec!["REPO".to_owned(), "FILES".to_owned()], vec!["übung".to_owned(), "1".to_owned()]];
        assert_eq!(table(&rows), "REPO   FILES\nübung  1\n");
        let word = Palette { coloured: true }.paint(Ink::Good, "online");
        let rows = [vec!["STATE".to_owned(), "X".to_owned()], vec![word, "1".to_owned()]];
        assert_eq!(table(&rows), "STATE   X\n\x1b[32monline\x1b[0m  1\n");
    }
}
