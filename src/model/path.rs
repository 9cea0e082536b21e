//! Paths inside a repo: bytes relative to the root, `/` between names, as the kernel gives them.
//!
//! Holds the type and how it is shown. Opening one is `runtime::rooted`'s work.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A path relative to a repo's root; the root itself is the empty path.
///
/// Invariant: no empty, `.` or `..` component, no NUL, no leading or trailing `/`. Any other bytes
/// are allowed, as on the file system.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(Arc<[u8]>);

/// Makes the paths of one directory's entries without an allocation for each.
#[derive(Debug)]
pub struct Below {
    bytes: Vec<u8>,
    /// Bytes before the name.
    above: usize,
}

impl Below {
    /// The bytes of the path of `name`, one component as the kernel listed it.
    pub fn join(&mut self, name: &[u8]) -> &[u8] {
        self.bytes.truncate(self.above);
        self.bytes.extend_from_slice(name);
        &self.bytes
    }
}

impl RepoPath {
    /// The root.
    pub fn root() -> Self {
        Self(Arc::from([]))
    }

    /// Takes bytes that keep the invariant; `None` when they do not.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let well_formed = bytes.is_empty()
            || bytes
                .split(|&byte| byte == b'/')
                .all(|name| !matches!(name, b"" | b"." | b"..") && !name.contains(&0));
        well_formed.then(|| Self(Arc::from(bytes)))
    }

    /// The path of `name` below this one. `name` is one component as the kernel listed it.
    pub fn join(&self, name: &[u8]) -> Self {
        debug_assert!(!name.is_empty() && !name.contains(&b'/'), "a listed name is one component");
        Self(Arc::from(self.below().join(name)))
    }

    /// For the bytes of many paths below this one, in one buffer.
    pub fn below(&self) -> Below {
        /// Most names fit.
        const NAME_BYTES: usize = 48;
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + NAME_BYTES);
        bytes.extend_from_slice(&self.0);
        if !self.is_root() {
            bytes.push(b'/');
        }
        Below { above: bytes.len(), bytes }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the repo's root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(Arc::from(&self.0[..end])))
    }

    /// The directories that hold this path, the nearest first, the root last.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        &self.0[start..]
    }

    /// Whether this path is `dir` or lies below it.
    pub fn is_within(&self, dir: &Self) -> bool {
        dir.is_root()
            || self
                .0
                .strip_prefix(dir.as_bytes())
                .is_some_and(|rest| rest.first().is_none_or(|&byte| byte == b'/'))
    }

    /// For people and JSON: invalid UTF-8 becomes U+FFFD.
    pub fn to_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The truth beside [`to_lossy`](Self::to_lossy): base64, exactly when the bytes are not UTF-8.
    pub fn to_base64(&self) -> Option<String> {
        std::str::from_utf8(&self.0).is_err().then(|| STANDARD.encode(&self.0))
    }
}

/// Orders and hashes as the bytes do, so that maps can be asked by bytes, and for ranges of them.
impl Borrow<[u8]> for RepoPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.to_lossy())
    }
}

impl fmt::Display for RepoPath {
    /// Writes the path for a terminal or a log: control characters, bidi controls and invalid bytes
    /// are escaped, so that a file name can neither move the cursor nor reorder a line.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return out.write_str(".");
        }
        write_escaped(out, &self.0)
    }
}

/// Writes bytes as text in which nothing steers a terminal. `\` is doubled, so it can be read back.
pub fn write_escaped(out: &mut dyn fmt::Write, bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => out.write_str("\\\\")?,
                letter if steers_terminal(letter) => write!(out, "{}", letter.escape_default())?,
                letter => out.write_char(letter)?,
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// C0, C1 and DEL, line and paragraph separators, zero-width and bidirectional controls.
pub fn steers_terminal(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_paths_that_could_leave_the_root() {
        for bad in ["/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0b"] {
            assert_eq!(RepoPath::new(bad.as_bytes()), None, "{bad:?}");
        }
        for good in ["", "a", "a/b", "...", ".git", "a b\n"] {
            assert!(RepoPath::new(good.as_bytes()).is_some(), "{good:?}");
        }
    }

    #[test]
    fn parent_name_and_containment_agree() {
        let path = RepoPath::root().join(b"src").join(b"main.rs");
        assert_eq!(path.as_bytes(), b"src/main.rs");
        assert_eq!(path.name(), b"main.rs");
        let src = path.parent().expect("not the root");
        assert_eq!(src.parent(), Some(RepoPath::root()));
        assert_eq!(path.ancestors().collect::<Vec<_>>(), [src.clone(), RepoPath::root()]);
        assert!(path.is_within(&src) && path.is_within(&RepoPath::root()) && src.is_within(&src));
        assert!(!RepoPath::root().join(b"src2").is_within(&src));
    }

    #[test]
    fn a_name_never_steers_the_terminal() {
        let path = RepoPath::new(b"a\x1b[2J\nb\xff\\\xe2\x80\xae").expect("well-formed");
        assert_eq!(path.to_string(), "a\\u{1b}[2J\\nb\\xff\\\\\\u{202e}");
        assert_eq!(path.to_base64().as_deref(), Some("YRtbMkoKYv9c4oCu"));
    }
}
