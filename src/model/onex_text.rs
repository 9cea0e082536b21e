//! Stamps inside a text: the lightweight line at its beginning and the rich block at its end.
//!
//! Finds, checks, removes, makes and places them, byte-compatible with files that other programs
//! have stamped. The hash in a stamp is that of the *canonical* text: without stamps, runs of three
//! and more newlines shortened to two, without white space at either end. Takes time linear in the
//! text, whatever it holds; bounding its size is left to the caller.
//!
//! For every text `t`, with `k` of either kind, where [`stamp`] makes one at all:
//! `check(stamp(t, k)).holds`, `digest(stamp(t, k)) == digest(t)` and `strip(stamp(t, k)) ==
//! strip(t)`; and `strip(t) == t` where `t` holds no stamp. So a stamp that was placed here comes
//! off without a trace.

mod find;
mod render;

use std::borrow::Cow;
use std::ops::Range;

use serde::Serialize;

pub use self::render::{Label, Time, Uid};

use self::find::{Line, blocks, gap, is_space, lines};
use super::digest::Digest;

/// Stamps that a [`Check`] tells one by one; all others are only counted.
pub const DETAILS_MAX: usize = 1_000;

/// The kind of a stamp, on the wire `stamp_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One line before the content.
    Lightweight,
    /// A comment block behind the content.
    Rich,
}

impl Kind {
    /// The word in `stamp_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lightweight => "lightweight",
            Self::Rich => "rich",
        }
    }
}

/// How a text is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// Hash the exact bytes that are left when stamps and their separators are removed, instead of
    /// the canonical text.
    pub strict: bool,
    /// What every stamp has to say, whatever the text is.
    pub expected_hash: Option<&'a str>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Stamps in the text.
    pub found: usize,
    /// There is a stamp, and every one says the hash of the text, and the expected one.
    pub holds: bool,
    /// The hash of the text now.
    pub current_hash: Digest,
    /// Each of the first [`DETAILS_MAX`] stamps, lightweight ones first.
    pub details: Vec<Detail>,
}

/// What was found of one stamp, as the API tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// Its kind.
    #[serde(rename = "stamp_type")]
    pub kind: Kind,
    /// What it says; where it says several hashes, the first that is wrong.
    pub stamp_hash: Option<String>,
    /// Whether it holds.
    pub is_valid: bool,
    /// The hash of the text now.
    pub current_hash: Digest,
}

/// A text with its new stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// The hash that the stamp says: of the canonical text.
    pub hash: Digest,
    /// Bytes of the canonical text.
    pub size: usize,
    /// The stamp alone.
    pub stamp: String,
    /// The text with the stamp in its place.
    pub text: String,
}

/// The stamp would not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("stamp the text: without its stamps, it still holds parts of stamps; remove those first")]
pub struct Entangled;

/// Removes every stamp.
///
/// With it goes what [`stamp`] put between it and the content: the newline behind lightweight
/// stamps at the beginning, and the blank line before rich ones that nothing but white space
/// follows. Elsewhere nothing tells a separator from content, and it stays.
pub fn strip(text: &str) -> Cow<'_, str> {
    match strip_lines(text) {
        Cow::Borrowed(text) => strip_blocks(text),
        Cow::Owned(text) => Cow::Owned(strip_blocks(&text).into_owned()),
    }
}

/// The text whose hash stamps say.
pub fn canonical(text: &str) -> Cow<'_, str> {
    // A separator that `strip` removed stood at an end, where white space goes anyway.
    match strip(text) {
        Cow::Borrowed(text) => normal(text),
        Cow::Owned(text) => Cow::Owned(normal(&text).into_owned()),
    }
}

/// The hash of the canonical text.
pub fn digest(text: &str) -> Digest {
    Digest::of(canonical(text).as_bytes())
}

/// A text without its stamps, hashed: what of a text is needed to stamp it, worked out once.
#[derive(Clone, Debug)]
pub struct Bare<'t> {
    text: Cow<'t, str>,
    hash: Digest,
    size: usize,
}

impl<'t> Bare<'t> {
    /// Removes the stamps and hashes the canonical text.
    pub fn of(text: &'t str) -> Self {
        let text = strip(text);
        let canonical = normal(&text);
        let (hash, size) = (Digest::of(canonical.as_bytes()), canonical.len());
        Self { text, hash, size }
    }

    /// The hash of the canonical text.
    pub const fn hash(&self) -> &Digest {
        &self.hash
    }

    /// Whether `text` is the canonical text.
    pub fn is_canonical(&self, text: &str) -> bool {
        normal(&self.text) == text
    }

    /// Makes a stamp and places it.
    ///
    /// # Errors
    /// As [`stamp`].
    pub fn stamp(&self, kind: Kind, label: &Label<'_>) -> Result<Stamped, Entangled> {
        let stamp = label.render(kind, &self.hash, self.size);
        let text = put(kind, &stamp, &self.text);
        let check = check_with(&text, Rules::default(), |canonical| {
            if self.is_canonical(canonical) { self.hash } else { Digest::of(canonical.as_bytes()) }
        });
        if check.holds && check.found == 1 && check.current_hash == self.hash {
            Ok(Stamped { hash: self.hash, size: self.size, stamp, text })
        } else {
            Err(Entangled)
        }
    }
}

/// Holds every stamp of a text against the text.
pub fn check(text: &str, rules: Rules<'_>) -> Check {
    check_with(text, rules, |hashed| Digest::of(hashed.as_bytes()))
}

fn check_with(text: &str, rules: Rules<'_>, digest_of: impl Fn(&str) -> Digest) -> Check {
    let unlined = strip_lines(text);
    let bare = strip_blocks(&unlined);
    let current_hash = if rules.strict { digest_of(&bare) } else { digest_of(&normal(&bare)) };
    let mut check = Check { found: 0, holds: true, current_hash, details: Vec::new() };
    let right = Right { current: current_hash.to_string(), expected: rules.expected_hash };
    // Blocks are looked for where they are removed: what is found is what is not hashed.
    let found = stamps_of_lines(text).chain(stamps_of_blocks(&unlined));
    for stamp in found {
        check.take(&stamp, &right);
    }
    check.holds &= check.found > 0;
    check
}

/// Calls `visit` with every stamp, lightweight ones first.
pub fn each(text: &str, mut visit: impl FnMut(&Stamp<'_>)) {
    let unlined = strip_lines(text);
    stamps_of_lines(text).for_each(|stamp| visit(&stamp));
    stamps_of_blocks(&unlined).for_each(|stamp| visit(&stamp));
}

/// Makes a stamp for a text and places it, instead of those that are there.
///
/// # Errors
/// [`Entangled`] where the result would not hold: when the removal of a stamp makes another, and
/// for rich ones also when a block is open.
pub fn stamp(text: &str, kind: Kind, label: &Label<'_>) -> Result<Stamped, Entangled> {
    Bare::of(text).stamp(kind, label)
}

/// The text as it is, where its only stamp is of this kind and holds.
pub fn held(text: &str, kind: Kind) -> Option<Stamped> {
    let found = check(text, Rules::default());
    if !(found.holds && found.found == 1 && found.details[0].kind == kind) {
        return None;
    }
    let (mut stamp, size) = (String::new(), canonical(text).len());
    each(text, |found| found.as_str().clone_into(&mut stamp));
    Some(Stamped { hash: found.current_hash, size, stamp, text: text.to_owned() })
}

/// Places a stamp, instead of those that are there.
pub fn place(kind: Kind, stamp: &str, text: &str) -> String {
    put(kind, stamp, &strip(text))
}

fn put(kind: Kind, stamp: &str, bare: &str) -> String {
    match kind {
        Kind::Lightweight => [stamp, "\n", bare].concat(),
        Kind::Rich => [bare, "\n\n", stamp].concat(),
    }
}

/// A stamp as it stands in a text.
#[derive(Clone, Debug)]
pub struct Stamp<'t> {
    kind: Kind,
    text: &'t str,
    line: Option<Line<'t>>,
    inner: &'t str,
}

impl<'t> Stamp<'t> {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The stamp itself, without what separates it from the content.
    pub const fn as_str(&self) -> &'t str {
        self.text
    }

    /// The last value under a name: `uid`, `hash`, `timestamp`, `author` and `version` of a
    /// lightweight stamp, any of a rich one.
    pub fn field(&self, name: &str) -> Option<&'t str> {
        self.fields().filter(|(key, _)| *key == name).last().map(|(_, value)| value)
    }

    /// Names and values in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&'t str, &'t str)> {
        let line = self.line.as_ref().map(fields_of_line);
        let inner = self.inner.split('\n').map(|line| line.trim_matches(is_space));
        let pairs = inner.filter(|line| !line.starts_with("<!--")).filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            let (key, value) = (key.trim_matches(is_space), value.trim_matches(is_space));
            (!key.is_empty() && !value.is_empty()).then_some((key, value))
        });
        line.into_iter().flatten().flatten().chain(pairs)
    }
}

type Field<'t> = (&'static str, &'t str);

fn fields_of_line<'t>(line: &Line<'t>) -> [Option<Field<'t>>; 5] {
    let rest = line.rest.trim_end_matches('\r');
    let (author, version) = match rest.rsplit_once(",v=") {
        Some((author, version)) => (author, Some(version)),
        None => (rest, None),
    };
    let author = author.strip_prefix(",author=");
    [
        Some(("uid", line.uid)),
        Some(("hash", line.hash)),
        Some(("timestamp", line.ts)),
        author.map(|author| ("author", author)),
        version.map(|version| ("version", version)),
    ]
}

fn stamps_of_lines(text: &str) -> impl Iterator<Item = Stamp<'_>> {
    lines(text).map(|line| {
        let text = &text[line.place.clone()];
        Stamp { kind: Kind::Lightweight, text, line: Some(line), inner: "" }
    })
}

fn stamps_of_blocks(text: &str) -> impl Iterator<Item = Stamp<'_>> {
    blocks(text).map(|block| {
        let text = &text[block.place];
        Stamp { kind: Kind::Rich, text, line: None, inner: block.inner }
    })
}

/// What stamps have to say.
struct Right<'a> {
    current: String,
    expected: Option<&'a str>,
}

impl Right<'_> {
    fn is(&self, hash: &str) -> bool {
        let is_expected = |expected: &str| expected.eq_ignore_ascii_case(hash);
        hash == self.current && self.expected.is_none_or(is_expected)
    }
}

impl Check {
    fn take(&mut self, stamp: &Stamp<'_>, right: &Right<'_>) {
        let mut hashes = stamp.fields().filter(|(key, _)| *key == "hash").map(|(_, hash)| hash);
        // A rich stamp says its hash twice, and whoever alters one may forget the other.
        let first = hashes.next();
        let wrong = first.into_iter().chain(hashes).find(|hash| !right.is(hash));
        let is_valid = first.is_some() && wrong.is_none();
        self.found += 1;
        self.holds &= is_valid;
        if self.details.len() < DETAILS_MAX {
            let stamp_hash = wrong.or(first).map(str::to_owned);
            let current_hash = self.current_hash;
            self.details.push(Detail { kind: stamp.kind, stamp_hash, is_valid, current_hash });
        }
    }
}

fn strip_lines(text: &str) -> Cow<'_, str> {
    let mut head_end = 0;
    let places = lines(text).map(|line| {
        let mut place = line.place;
        if place.start == head_end {
            place.end += usize::from(text[place.end..].starts_with('\n'));
            head_end = place.end;
        }
        place
    });
    without(text, places)
}

fn strip_blocks(text: &str) -> Cow<'_, str> {
    let mut places: Vec<Range<usize>> = blocks(text).map(|block| block.place).collect();
    let mut tail_start = text.trim_end_matches(is_space).len();
    for place in places.iter_mut().rev() {
        if place.end != tail_start {
            break;
        }
        place.start -= if text[..place.start].ends_with("\n\n") { 2 } else { 0 };
        tail_start = place.start;
    }
    without(text, places.into_iter())
}

/// The text without some places of it, which are in order and do not overlap.
fn without(text: &str, places: impl Iterator<Item = Range<usize>>) -> Cow<'_, str> {
    let mut places = places.peekable();
    if places.peek().is_none() {
        return Cow::Borrowed(text);
    }
    let (mut kept, mut from) = (String::with_capacity(text.len()), 0);
    for place in places {
        kept.push_str(&text[from..place.start]);
        from = place.end;
    }
    kept.push_str(&text[from..]);
    Cow::Owned(kept)
}

/// Trims, and shortens runs of newlines to two.
fn normal(text: &str) -> Cow<'_, str> {
    let text = text.trim_matches(is_space);
    let mut rest = text;
    let mut kept = String::new();
    while let Some(at) = gap(rest) {
        kept.push_str(&rest[..at + 2]);
        rest = rest[at..].trim_start_matches('\n');
    }
    if kept.is_empty() {
        return Cow::Borrowed(text);
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests;
