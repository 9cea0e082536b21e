//! Where stamps stand in a text: one pass from left to right for each kind.
//!
//! Matches what the patterns of the format match, `# ONEX:uid=[A-Za-z0-9_-]+,hash=[A-Za-z0-9]+,
//! ts=[0-9T:+.-]+` to the end of the line and `<!--\s*ONEX_METADATA_START\s*-->` to the nearest
//! `<!--\s*ONEX_METADATA_END\s*-->`, without their engine: no byte is looked at more often than a
//! fixed number of times, whatever the text.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

/// How a lightweight stamp begins, up to the uid.
const LIGHTWEIGHT: &str = "# ONEX:uid=";
const COMMENT: &str = "<!--";
const COMMENT_END: &str = "-->";
const START: &str = "ONEX_METADATA_START";
const END: &str = "ONEX_METADATA_END";

/// White space of the format: Unicode's, and the four separators that Python counts too.
pub(super) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

/// Finds words. Every text that is stamped is read through, so this is by SIMD, prepared once.
static FIND_LIGHTWEIGHT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(LIGHTWEIGHT));
static FIND_COMMENT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(COMMENT));
static FIND_GAP: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\n\n\n"));

/// Where three newlines follow each other first.
pub(super) fn gap(text: &str) -> Option<usize> {
    FIND_GAP.find(text.as_bytes())
}

/// A lightweight stamp: its place, without the newline, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'t> {
    pub(super) place: Range<usize>,
    pub(super) uid: &'t str,
    pub(super) hash: &'t str,
    pub(super) ts: &'t str,
    /// What follows the time, up to the end of the line.
    pub(super) rest: &'t str,
}

/// Finds lightweight stamps, in order.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(found) = FIND_LIGHTWEIGHT.find(&text.as_bytes()[from..]) {
            let start = from + found;
            // Where this is none, another can begin only behind its first words: they hold no `#`.
            from = start + LIGHTWEIGHT.len();
            if let Some(line) = line_at(text, start) {
                from = line.place.end;
                return Some(line);
            }
        }
        from = text.len();
        None
    })
}

/// Reads the stamp whose first words stand at `start`.
fn line_at(text: &str, start: usize) -> Option<Line<'_>> {
    let rest = &text[start + LIGHTWEIGHT.len()..];
    let (uid, rest) = word(rest, is_of_uid)?;
    let (hash, rest) = word(rest.strip_prefix(",hash=")?, |byte| byte.is_ascii_alphanumeric())?;
    let (ts, rest) = word(rest.strip_prefix(",ts=")?, is_of_time)?;
    let rest = &rest[..rest.find('\n').unwrap_or(rest.len())];
    let end = start + LIGHTWEIGHT.len() + uid.len() + 6 + hash.len() + 4 + ts.len() + rest.len();
    Some(Line { place: start..end, uid, hash, ts, rest })
}

/// A byte of a uid.
pub(super) fn is_of_uid(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// A byte of a time.
pub(super) fn is_of_time(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'T' | b':' | b'-' | b'+' | b'.')
}

/// Splits the longest beginning of such bytes off, where there is one.
fn word(text: &str, is_of_it: impl Fn(u8) -> bool) -> Option<(&str, &str)> {
    let length = text.bytes().position(|byte| !is_of_it(byte)).unwrap_or(text.len());
    (length > 0).then(|| text.split_at(length))
}

/// A rich stamp: its place with both markers, and the text between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block<'t> {
    pub(super) place: Range<usize>,
    pub(super) inner: &'t str,
}

/// Finds rich stamps, in order. A start within a block is a part of it; an end outside is plain
/// text, and so is a start that no end follows.
pub(super) fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let mut markers = markers(text);
    std::iter::from_fn(move || {
        let (_, start) = markers.by_ref().find(|(is_start, _)| *is_start)?;
        let (_, end) = markers.by_ref().find(|(is_start, _)| !is_start)?;
        Some(Block { place: start.start..end.end, inner: &text[start.end..end.start] })
    })
}

/// Finds both markers, in order: whether it is a start, and its place.
fn markers(text: &str) -> impl Iterator<Item = (bool, Range<usize>)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(found) = FIND_COMMENT.find(&text.as_bytes()[from..]) {
            let start = from + found;
            // Neither white space nor the words hold another beginning.
            from = start + COMMENT.len();
            if let Some((is_start, rest)) = marker(&text[from..]) {
                from = text.len() - rest.len();
                return Some((is_start, start..from));
            }
        }
        from = text.len();
        None
    })
}

/// Reads a marker behind its `<!--`; returns whether it is a start, and what follows.
fn marker(text: &str) -> Option<(bool, &str)> {
    let text = text.trim_start_matches(is_space);
    let start = text.strip_prefix(START).map(|rest| (true, rest));
    let (is_start, rest) = start.or_else(|| Some((false, text.strip_prefix(END)?)))?;
    Some((is_start, rest.trim_start_matches(is_space).strip_prefix(COMMENT_END)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(found: impl Iterator<Item = Range<usize>>, text: &str) -> Vec<&str> {
        found.map(|place| &text[place]).collect()
    }

    #[test]
    fn a_lightweight_stamp_ends_with_its_line_wherever_it_begins() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(places(lines(text).map(|line| line.place), text), expected, "{text:?}");
        };
        check("a # ONEX:uid=u,hash=h,ts=1 é\r\nb", &["# ONEX:uid=u,hash=h,ts=1 é\r"]);
        check(
            "# ONEX:uid=u,hash=h,ts=1# ONEX:uid=v,hash=h,ts=1",
            &["# ONEX:uid=u,hash=h,ts=1# ONEX:uid=v,hash=h,ts=1"],
        );
        check("# ONEX:uid=# ONEX:uid=v,hash=h,ts=1", &["# ONEX:uid=v,hash=h,ts=1"]);
        check("# ONEX:uid=u,# ONEX:uid=v,hash=h,ts=1", &["# ONEX:uid=v,hash=h,ts=1"]);
        for not_one in [
            "# ONEX:uid=,hash=h,ts=1",
            "# ONEX:uid=u,hash=,ts=1",
            "# ONEX:uid=u,hash=h,ts=",
            "# ONEX:uid=u,hash=h,ts=\n1",
            "# ONEX:uid=ü,hash=h,ts=1",
            "# ONEX:uid=u,hash=h-,ts=1",
            "# onex:uid=u,hash=h,ts=1",
            "#ONEX:uid=u,hash=h,ts=1",
        ] {
            check(not_one, &[]);
        }
    }

    #[test]
    fn a_rich_stamp_ends_with_the_nearest_end() {
        const S: &str = "<!-- ONEX_METADATA_START -->";
        const E: &str = "<!-- ONEX_METADATA_END -->";
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(places(blocks(text).map(|block| block.place), text), expected, "{text:?}");
        };
        check(&format!("{E}{S}a{S}b{E}c{E}{S}"), &[&format!("{S}a{S}b{E}")]);
        check(&format!("{S}{E}{S}\n{E}"), &[&format!("{S}{E}"), &format!("{S}\n{E}")]);
        let wide = "<!--\u{1c}\n\u{3000}ONEX_METADATA_START--><!--ONEX_METADATA_END\u{a0}-->";
        check(wide, &[wide]);
        check(&format!("<!--{S}{E}"), &[&format!("{S}{E}")]);
        for not_one in [
            format!("{S}{S}"),
            format!("{E}{S}"),
            "<!-- ONEX_METADATA_STAR --><!-- ONEX_METADATA_END -->".to_owned(),
            format!("<!-- ONEX_METADATA_START x -->{E}"),
            format!("<!-- - ONEX_METADATA_START -->{E}"),
        ] {
            check(&not_one, &[]);
        }
    }
}
