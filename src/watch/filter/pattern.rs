//! Translates a line of git's pattern language into that of the `ignore` crate.
//!
//! The two differ where globs grew new meanings: braces are literal to git, a class escapes with a
//! backslash, a line that can never match is no error. A line is translated or refused whole;
//! a refused line hides nothing.

/// What a line of a rule file comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// No pattern: blank, a comment, or a lone `!` or `/`.
    Blank,
    /// A pattern for `GitignoreBuilder::add_line`.
    Pattern(String),
    /// A pattern that git, too, lets match nothing, or one beyond what we understand.
    Refused(&'static str),
}

/// Longer patterns are refused: no path is that long.
const PATTERN_BYTES_MAX: usize = 4096;

/// What counts of a line, without its line feed: blanks at its end do not.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    trim_trailing_spaces(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Translates one line, without its line feed.
pub(super) fn translate(line: &[u8]) -> Line {
    let line = trimmed(line);
    if line.is_empty() || line[0] == b'#' {
        return Line::Blank;
    }
    if line.len() > PATTERN_BYTES_MAX {
        return Line::Refused("it is longer than any path");
    }
    let Ok(line) = std::str::from_utf8(line) else {
        return Line::Refused("it is not UTF-8");
    };
    let (negated, body) = line.strip_prefix('!').map_or((false, line), |body| (true, body));
    let (only_dir, body) = body.strip_suffix('/').map_or((false, body), |body| (true, body));
    if body.is_empty() {
        return Line::Blank;
    }
    // A slash before the end anchors a pattern, even one within a class.
    let anchored = body.contains('/');
    let mut out = String::with_capacity(line.len() + 2);
    out.push_str(if negated { "!" } else { "" });
    out.push_str(if anchored { "/" } else { "" });
    let body = body.strip_prefix('/').unwrap_or(body);
    if let Err(reason) = (Translator { body, at: 0, anchored }).run(&mut out) {
        return Line::Refused(reason);
    }
    if only_dir {
        // The crate takes a backslash before the last slash for an escape of it, and drops it.
        out.push_str(if out.ends_with('\\') { "\\/" } else { "/" });
    }
    Line::Pattern(out)
}

/// Cuts unescaped spaces off the end, as git does.
fn trim_trailing_spaces(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut at = 0;
    while at < line.len() {
        match line[at] {
            b' ' => at += 1,
            b'\\' => {
                at = (at + 2).min(line.len());
                end = at;
            }
            _ => {
                at += 1;
                end = at;
            }
        }
    }
    &line[..end]
}

/// Rewrites the glob of one pattern.
struct Translator<'a> {
    body: &'a str,
    /// Where the next character starts.
    at: usize,
    /// Whether the pattern is matched against the whole path, so that `**` may cross slashes.
    anchored: bool,
}

impl Translator<'_> {
    fn run(mut self, out: &mut String) -> Result<(), &'static str> {
        while let Some(letter) = self.next() {
            match letter {
                '\\' => match self.next().ok_or("it ends in a lone backslash")? {
                    '/' => out.push('/'),
                    escaped => out.extend(['\\', escaped]),
                },
                '{' | '}' => out.extend(['\\', letter]),
                '[' => Class::parse(&mut self)?.write(out)?,
                '*' => self.stars(out),
                letter => out.push(letter),
            }
        }
        Ok(())
    }

    /// Several stars cross slashes only when they are a whole component; otherwise they are one.
    fn stars(&mut self, out: &mut String) {
        let before = self.body[..self.at - 1].bytes().next_back();
        while self.rest().starts_with('*') {
            self.at += 1;
        }
        let several = self.body[..self.at].ends_with("**");
        let whole = before.is_none_or(|before| before == b'/')
            && (self.rest().is_empty() || self.rest().starts_with(['/', '\\']));
        out.push_str(if self.anchored && several && whole { "**" } else { "*" });
    }

    fn rest(&self) -> &str {
        &self.body[self.at..]
    }

    /// The character meant by `letter` within a class: the next one when it is a backslash.
    fn unescape(&mut self, letter: char) -> Result<char, &'static str> {
        if letter == '\\' { self.next().ok_or(UNCLOSED) } else { Ok(letter) }
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest().chars().next()?;
        self.at += letter.len_utf8();
        Some(letter)
    }
}

/// A character class `[…]`, as the ASCII characters it names.
struct Class {
    negated: bool,
    members: [bool; 128],
}

const UNCLOSED: &str = "its [ is never closed";

impl Class {
    /// Reads a class behind its `[`, by the grammar of git's wildmatch.
    fn parse(from: &mut Translator<'_>) -> Result<Self, &'static str> {
        let negated = from.rest().starts_with(['!', '^']);
        from.at += usize::from(negated);
        let mut class = Self { negated, members: [false; 128] };
        let mut previous = None;
        loop {
            previous = class.take_member(from, previous)?;
            if from.rest().starts_with(']') {
                from.at += 1;
                return Ok(class);
            }
        }
    }

    /// Reads one member; returns the character that a `-` behind it would start a range from.
    fn take_member(
        &mut self,
        from: &mut Translator<'_>,
        previous: Option<char>,
    ) -> Result<Option<char>, &'static str> {
        let first = from.next().ok_or(UNCLOSED)?;
        if first == '['
            && let Some(named) = posix_class(from)?
        {
            self.add_where(named);
            return Ok(None);
        }
        if first == '-'
            && let Some(start) = previous
            && !from.rest().starts_with(']')
        {
            let end = from.next().ok_or(UNCLOSED)?;
            self.add_range(start, from.unescape(end)?)?;
            return Ok(None);
        }
        let letter = from.unescape(first)?;
        self.add_range(letter, letter)?;
        Ok(Some(letter))
    }

    fn add_range(&mut self, start: char, end: char) -> Result<(), &'static str> {
        if !start.is_ascii() || !end.is_ascii() {
            return Err("its [ ] names a character outside ASCII");
        }
        for letter in start..=end {
            self.members[letter as usize] = true;
        }
        Ok(())
    }

    fn add_where(&mut self, named: Named) {
        for letter in 0..128_u8 {
            self.members[usize::from(letter)] |= named(&letter);
        }
    }

    /// Writes the class so that no member has a meaning: `]` first, `-` last, `[` where no `:` can
    /// follow, and a NUL, which no name holds, to keep `^` and `!` from the front.
    fn write(mut self, out: &mut String) -> Result<(), &'static str> {
        self.members[usize::from(b'/')] = false;
        if !self.negated && self.members == [false; 128] {
            return Err("its [ ] can only match a slash");
        }
        out.push_str(if self.negated { "[!" } else { "[" });
        out.push_str(if std::mem::take(&mut self.members[usize::from(b']')]) { "]" } else { "" });
        out.push('\0');
        let dash = std::mem::take(&mut self.members[usize::from(b'-')]);
        let bracket = std::mem::take(&mut self.members[usize::from(b'[')]);
        let members = (1..128_u8).filter(|&letter| self.members[usize::from(letter)]);
        out.extend(members.map(char::from));
        out.push_str(if bracket { "[" } else { "" });
        out.push_str(if dash { "-]" } else { "]" });
        Ok(())
    }
}

/// Whether a character belongs to a POSIX class.
type Named = fn(&u8) -> bool;

/// Reads `:name:]` behind a `[` within a class; `None` when the `[` stands for itself.
fn posix_class(from: &mut Translator<'_>) -> Result<Option<Named>, &'static str> {
    let Some(rest) = from.rest().strip_prefix(':') else { return Ok(None) };
    let end = rest.find(']').ok_or(UNCLOSED)?;
    let Some(name) = rest[..end].strip_suffix(':') else { return Ok(None) };
    let named: Named = match name {
        "alnum" => u8::is_ascii_alphanumeric,
        "alpha" => u8::is_ascii_alphabetic,
        "blank" => |letter| matches!(letter, b' ' | b'\t'),
        "cntrl" => u8::is_ascii_control,
        "digit" => u8::is_ascii_digit,
        "graph" => u8::is_ascii_graphic,
        "lower" => u8::is_ascii_lowercase,
        "print" => |letter| matches!(letter, b' '..=b'~'),
        "punct" => u8::is_ascii_punctuation,
        "space" => |letter| matches!(letter, b' ' | b'\t'..=b'\r'),
        "upper" => u8::is_ascii_uppercase,
        "xdigit" => u8::is_ascii_hexdigit,
        _ => return Err("its [ ] names a class that does not exist"),
    };
    from.at += 1 + end + 1;
    Ok(Some(named))
}
