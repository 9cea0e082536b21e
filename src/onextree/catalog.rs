//! The catalog: the files of one repo in memory, in the order of their paths.
//!
//! Paths lie one after the other in one text, so that a query is a search in it and not a walk from
//! path to path. What changed since the text was made lies beside it, and is folded into it when it
//! has become much. Promises: an answer is in the order of the paths, whatever way they came.

use std::collections::BTreeMap;

use memchr::memmem::Finder;
use rustc_hash::FxHashMap;

use super::query::{Query, extension_of, name_of};
use crate::model::path::RepoPath;

/// Changes that lie beside the text until they are folded into it.
const NEWS_MAX: usize = 1_024;

/// What is told of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// In bytes.
    pub size: u64,
    /// Whether it is a symbolic link, which is never followed.
    pub is_link: bool,
}

/// The files of one repo.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    text: Text,
    /// What changed since; none where a file is gone.
    news: BTreeMap<RepoPath, Option<File>>,
    present: usize,
}

/// What a repo holds in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Files and links.
    pub files: u64,
    /// Directories that hold any, the root not counted.
    pub directories: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How many have which extension, in lower case.
    pub extensions: FxHashMap<String, u64>,
}

impl Sums {
    /// Adds what another repo holds.
    pub fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.directories += other.directories;
        self.bytes += other.bytes;
        for (extension, files) in &other.extensions {
            *self.extensions.entry(extension.clone()).or_default() += files;
        }
    }
}

/// An immediate child of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Child {
    /// A file, by its path.
    File(Vec<u8>, File),
    /// A directory, by its path.
    Directory(Vec<u8>),
}

/// Paths in order, each ended by a NUL, which is in none of them.
#[derive(Clone, Debug, Default)]
struct Text {
    paths: Vec<u8>,
    /// The same in lower case: the same letters at the same places.
    folded: Vec<u8>,
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    start: usize,
    file: File,
}

impl Text {
    /// Appends a path, which comes after all others.
    fn push(&mut self, path: &[u8], file: File) {
        self.slots.push(Slot { start: self.paths.len(), file });
        self.paths.extend_from_slice(path);
        self.paths.push(0);
        self.folded.extend(path.iter().map(u8::to_ascii_lowercase));
        self.folded.push(0);
    }

    fn end(&self, slot: usize) -> usize {
        self.slots.get(slot + 1).map_or(self.paths.len(), |next| next.start) - 1
    }

    fn entry(&self, slot: usize) -> (&[u8], File) {
        let Slot { start, file } = self.slots[slot];
        (&self.paths[start..self.end(slot)], file)
    }

    /// The first slot whose path is `path` or comes after it.
    fn position(&self, path: &[u8]) -> usize {
        self.slots.partition_point(|slot| {
            let rest = &self.paths[slot.start..];
            let length = memchr::memchr(0, rest).expect("every path is ended by a NUL");
            &rest[..length] < path
        })
    }

    fn get(&self, path: &[u8]) -> Option<File> {
        let slot = self.position(path);
        let (found, file) = (slot < self.slots.len()).then(|| self.entry(slot))?;
        (found == path).then_some(file)
    }

    fn from(&self, slot: usize) -> impl Iterator<Item = (&[u8], File)> {
        (slot..self.slots.len()).map(|slot| self.entry(slot))
    }

    /// The entries that a query finds, in order.
    fn find<'a, 'q>(&'a self, query: &'q Query) -> Hits<'a, 'q> {
        Hits { text: self, query, finder: Finder::new(query.needle()), slot: 0 }
    }
}

/// The entries of a text that a query finds.
struct Hits<'a, 'q> {
    text: &'a Text,
    query: &'q Query,
    finder: Finder<'q>,
    /// The first that was not looked at.
    slot: usize,
}

impl Hits<'_, '_> {
    /// The next slot that holds the needle.
    fn candidate(&mut self) -> Option<usize> {
        let from = self.text.slots.get(self.slot)?.start;
        let at = from + self.finder.find(&self.text.folded[from..])?;
        while self.text.end(self.slot) < at {
            self.slot += 1;
        }
        self.slot += 1;
        Some(self.slot - 1)
    }
}

impl<'a> Iterator for Hits<'a, '_> {
    type Item = (&'a [u8], File);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let slot = self.candidate()?;
            let (start, end) = (self.text.slots[slot].start, self.text.end(slot));
            if self.query.matches(&self.text.folded[start..end]) {
                return Some(self.text.entry(slot));
            }
        }
    }
}

impl Catalog {
    /// Takes the next file of a repo that is listed in the order of its paths.
    pub fn push(&mut self, path: &[u8], file: File) {
        debug_assert!(self.news.is_empty(), "a catalog is filled before it changes");
        self.text.push(path, file);
        self.present += 1;
    }

    /// Takes what became of a path.
    pub fn set(&mut self, path: RepoPath, file: Option<File>) {
        let before = self.get(path.as_bytes());
        self.present += usize::from(file.is_some());
        self.present -= usize::from(before.is_some());
        self.news.insert(path, file);
        if self.news.len() > NEWS_MAX {
            self.fold();
        }
    }

    fn fold(&mut self) {
        let mut text = Text::default();
        text.paths.reserve(self.text.paths.len());
        text.folded.reserve(self.text.paths.len());
        text.slots.reserve(self.present);
        for (path, file) in self.from(b"") {
            text.push(path, file);
        }
        (self.text, self.news) = (text, BTreeMap::new());
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.present
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// What is at a path.
    pub fn get(&self, path: &[u8]) -> Option<File> {
        match self.news.get(path) {
            Some(news) => *news,
            None => self.text.get(path),
        }
    }

    /// Whether a path is a directory that holds something.
    pub fn is_directory(&self, path: &[u8]) -> bool {
        let first = Below::of(path);
        self.from(first.prefix()).next().is_some_and(|(path, _)| first.holds(path))
    }

    /// The files that a query finds.
    pub fn find<'a>(&'a self, query: &Query) -> impl Iterator<Item = (&'a [u8], File)> {
        let found = self.text.find(query).filter(|(path, _)| !self.news.contains_key(*path));
        let news = self.news.iter().filter(|(path, file)| {
            file.is_some() && query.matches(&path.as_bytes().to_ascii_lowercase())
        });
        merged(found, news)
    }

    /// All files from a path on.
    pub fn from<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = (&'a [u8], File)> {
        let text = self.text.from(self.text.position(path));
        let kept = text.filter(|(path, _)| !self.news.contains_key(*path));
        let bounds = (std::ops::Bound::Included(path), std::ops::Bound::Unbounded);
        merged(kept, self.news.range::<[u8], _>(bounds).filter(|(_, file)| file.is_some()))
    }

    /// What lies in a directory, in order, at most `children_max`. What lies deeper is not walked.
    pub fn children(&self, directory: &[u8], children_max: usize) -> Vec<Child> {
        let below = Below::of(directory);
        let mut children = Vec::new();
        let mut next = below.prefix().to_vec();
        while children.len() < children_max {
            let Some((path, file)) = self.from(&next).next() else { break };
            if !below.holds(path) {
                break;
            }
            let rest = &path[below.prefix().len()..];
            match memchr::memchr(b'/', rest) {
                None => {
                    // The next path after this one.
                    next = [path, &[1]].concat();
                    children.push(Child::File(path.to_vec(), file));
                }
                Some(slash) => {
                    let child = &path[..below.prefix().len() + slash];
                    next = [child, &[b'/' + 1]].concat();
                    children.push(Child::Directory(child.to_vec()));
                }
            }
        }
        children
    }

    /// Counts everything.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        let mut last: &[u8] = b"";
        let mut extensions: FxHashMap<&[u8], u64> = FxHashMap::default();
        for (path, file) in self.from(b"") {
            sums.files += 1;
            sums.bytes += file.size;
            sums.directories += new_directories(last, path);
            *extensions.entry(extension_of(name_of(path)).unwrap_or_default()).or_default() += 1;
            last = path;
        }
        for (extension, files) in extensions {
            if !extension.is_empty() {
                let word = String::from_utf8_lossy(extension).to_ascii_lowercase();
                *sums.extensions.entry(word).or_default() += files;
            }
        }
        sums
    }
}

/// The paths below a directory.
struct Below(Vec<u8>);

impl Below {
    fn of(directory: &[u8]) -> Self {
        let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        Self([directory, separator].concat())
    }

    fn prefix(&self) -> &[u8] {
        &self.0
    }

    fn holds(&self, path: &[u8]) -> bool {
        path.starts_with(&self.0)
    }
}

/// How many directories a path is in that the one before it is not in.
fn new_directories(last: &[u8], path: &[u8]) -> u64 {
    let shared = last.iter().zip(path).take_while(|(one, other)| one == other).count();
    memchr::memchr_iter(b'/', &path[shared..]).count() as u64
}

/// Two orders as one.
fn merged<'a>(
    text: impl Iterator<Item = (&'a [u8], File)>,
    news: impl Iterator<Item = (&'a RepoPath, &'a Option<File>)>,
) -> impl Iterator<Item = (&'a [u8], File)> {
    let news = news.filter_map(|(path, file)| Some((path.as_bytes(), (*file)?)));
    let (mut text, mut news) = (text.peekable(), news.peekable());
    let path_of = |next: Option<&(&'a [u8], File)>| next.map(|(path, _)| *path);
    std::iter::from_fn(move || match (path_of(text.peek()), path_of(news.peek())) {
        (Some(one), Some(other)) if one < other => text.next(),
        (Some(_), None) => text.next(),
        _ => news.next(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::onextree::query::Kind;

    const FILE: File = File { size: 10, is_link: false };

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text.as_bytes()).expect("a path")
    }

    fn catalog(paths: &[&str]) -> Catalog {
        let mut catalog = Catalog::default();
        for path in paths {
            catalog.push(path.as_bytes(), FILE);
        }
        catalog
    }

    fn found(catalog: &Catalog, text: &str, kind: Kind) -> Vec<String> {
        let query = Query::parse(text, kind).expect("a query");
        catalog.find(&query).map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect()
    }

    #[test]
    fn changes_are_seen_at_once_and_in_order() {
        let mut catalog = catalog(&["a/one.rs", "a/two.rs", "b/one.rs"]);
        catalog.set(path("a/one.rs"), None);
        catalog.set(path("a/zero.rs"), Some(FILE));
        catalog.set(path("0.rs"), Some(FILE));
        catalog.set(path("gone.rs"), None);
        assert_eq!(
            found(&catalog, ".rs", Kind::Extension),
            ["0.rs", "a/two.rs", "a/zero.rs", "b/one.rs"]
        );
        assert_eq!(catalog.len(), 4);
    }

    #[test]
    fn directories_are_what_holds_something() {
        let mut catalog = catalog(&["a-b/x", "a/b/c", "a/b/d", "a/e", "f"]);
        let names = |children: Vec<Child>| {
            let name = |child| match child {
                Child::File(path, _) => String::from_utf8(path).expect("is text"),
                Child::Directory(path) => String::from_utf8(path).expect("is text") + "/",
            };
            children.into_iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(catalog.children(b"", 9)), ["a-b/", "a/", "f"]);
        assert_eq!(names(catalog.children(b"a", 9)), ["a/b/", "a/e"]);
        assert_eq!(names(catalog.children(b"a", 1)), ["a/b/"]);
        assert_eq!(names(catalog.children(b"f", 9)), [""; 0]);
        assert_eq!(catalog.sums().directories, 3);
        assert!(catalog.is_directory(b"") && catalog.is_directory(b"a/b"));
        catalog.set(path("a-b/x"), None);
        assert!(!catalog.is_directory(b"a-b") && !catalog.is_directory(b"f"));
        assert_eq!(catalog.sums().directories, 2);
    }

    proptest! {
        /// Whatever comes in whatever order, it is what a plain map would hold.
        #[test]
        fn it_holds_what_a_map_would(
            first in proptest::collection::btree_set("[ab]{1,2}(/[ab]{1,2}){0,2}\\.[rs]{1,2}", 0..20),
            then in proptest::collection::vec(
                ("[ab]{1,2}(/[ab]{1,2}){0,2}\\.[rs]{1,2}", any::<Option<u8>>()),
                0..40,
            ),
            fold_after in 0_usize..40,
        ) {
            let mut model: BTreeMap<String, File> =
                first.iter().map(|path| (path.clone(), FILE)).collect();
            let mut catalog = Catalog::default();
            for path in &first {
                catalog.push(path.as_bytes(), FILE);
            }
            for (n, (text, size)) in then.into_iter().enumerate() {
                let file = size.map(|size| File { size: size.into(), is_link: false });
                catalog.set(path(&text), file);
                match file {
                    Some(file) => drop(model.insert(text, file)),
                    None => drop(model.remove(&text)),
                }
                if n == fold_after {
                    catalog.fold();
                }
            }
            let all: Vec<_> = catalog.from(b"").map(|(path, file)| (path.to_vec(), file)).collect();
            let held: Vec<_> =
                model.iter().map(|(path, file)| (path.clone().into_bytes(), *file)).collect();
            prop_assert_eq!(&all, &held);
            prop_assert_eq!(catalog.len(), model.len());
            let sums = catalog.sums();
            let directories: std::collections::BTreeSet<&str> = model
                .keys()
                .flat_map(|path| path.match_indices('/').map(|(slash, _)| &path[..slash]))
                .collect();
            prop_assert_eq!(sums.directories, directories.len() as u64);
            for (text, kind) in [("a", Kind::Name), ("a/", Kind::Path), ("r", Kind::Extension)] {
                let query = Query::parse(text, kind).expect("a query");
                let fits = |path: &&String| query.matches(path.as_bytes());
                let expected: Vec<_> = model.keys().filter(fits).cloned().collect();
                prop_assert_eq!(found(&catalog, text, kind), expected, "{}", text);
            }
        }
    }
}
