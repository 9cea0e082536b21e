//! The fenced blocks of a page, and the lines that a person would type of them.

/// A fenced block.
#[derive(Debug)]
pub struct Fence {
    /// What the page says that it holds.
    pub word: String,
    /// Its lines, without the indentation of the fence.
    pub text: String,
    /// Where it begins, counted from 1.
    pub line: usize,
}

/// A line to type.
#[derive(Debug, PartialEq, Eq)]
pub struct Typed {
    pub line: String,
    /// What it ends with: 0, unless its comment says `exits N`.
    pub code: i32,
}

/// The fenced blocks of a page, in order.
pub fn fences(page: &str) -> Vec<Fence> {
    let (mut fences, mut open) = (Vec::new(), None::<(usize, Fence)>);
    for (index, line) in page.lines().enumerate() {
        let inner = line.trim_start();
        match (inner.strip_prefix("```"), &mut open) {
            (Some(word), None) => {
                let fence = Fence { word: word.to_owned(), text: String::new(), line: index + 1 };
                open = Some((line.len() - inner.len(), fence));
            }
            (Some(_), Some(_)) => fences.extend(open.take().map(|(_, fence)| fence)),
            (None, Some((indent, fence))) => {
                fence.text.push_str(line.get(*indent..).unwrap_or_default());
                fence.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed: {open:?}");
    fences
}

/// The lines of a text: continued ones as one, without comments.
pub fn typed(text: &str) -> Vec<Typed> {
    let mut lines = Vec::new();
    let mut begun = String::new();
    for line in text.lines() {
        begun.push_str(if begun.is_empty() { line } else { line.trim_start() });
        if begun.ends_with('\\') {
            begun.pop();
            continue;
        }
        let (line, comment) = begun.split_at(comment_at(&begun));
        let said = comment.split_once("exits ").map(|(_, rest)| rest);
        let number = |rest: &str| rest.split(|it: char| !it.is_ascii_digit()).next()?.parse().ok();
        if !line.trim().is_empty() {
            let code = said.and_then(number).unwrap_or(0);
            lines.push(Typed { line: line.trim().to_owned(), code });
        }
        begun.clear();
    }
    lines
}

/// Where a shell would see a comment begin.
fn comment_at(line: &str) -> usize {
    let (mut quote, mut before) = (None, ' ');
    for (at, letter) in line.char_indices() {
        match (letter, quote) {
            ('\'' | '"', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            ('#', None) if before.is_whitespace() => return at,
            _ => {}
        }
        before = letter;
    }
    line.len()
}
