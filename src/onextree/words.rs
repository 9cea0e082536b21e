//! A question in words: the files whose paths the words tell of, the best first.
//!
//! No content is read and no meaning guessed: a word counts where it stands in a path, more in a name
//! than in a directory, most where it is the name.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::catalog::{Catalog, File};
use super::query::{Kind, Query, name_of, stem_of};

/// Words of a question that are looked for.
const WORDS_MAX: usize = 16;

/// Files that one word may bring: a word that is everywhere tells nothing.
const FILES_MAX: usize = 5_000;

/// Words that say nothing of a file.
const SILENT: [&str; 16] = [
    "the", "and", "for", "with", "from", "into", "that", "this", "what", "where", "which", "how",
    "are", "all", "file", "files",
];

/// A file that words tell of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked<'a> {
    /// The number of its catalog.
    pub repo: usize,
    /// Its path.
    pub path: &'a [u8],
    /// What is told of it.
    pub file: File,
    /// How well the words fit, from 0 to 1.
    pub score: f64,
}

/// What words found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer<'a> {
    /// The best files.
    pub files: Vec<Ranked<'a>>,
    /// Words that were looked for.
    pub words: usize,
    /// Words that stand in some path.
    pub met: usize,
}

/// The words of a text that are worth looking for, in lower case, each once.
pub fn words_of(text: &str) -> Vec<String> {
    let parts = text.split(|letter: char| !letter.is_alphanumeric() && !"_./-".contains(letter));
    let mut words: Vec<String> = Vec::new();
    for part in parts {
        let word = part.trim_matches(['.', '/', '-']).to_ascii_lowercase();
        let is_silent = word.len() < 2 || SILENT.contains(&word.as_str()) || words.contains(&word);
        if !is_silent && words.len() < WORDS_MAX {
            words.push(word);
        }
    }
    words
}

/// The best files of some catalogs, at most `files_max`.
pub fn rank<'a>(text: &str, catalogs: &[&'a Catalog], files_max: usize) -> Answer<'a> {
    let words = words_of(text);
    let mut weights: FxHashMap<(usize, &[u8]), (File, u32)> = FxHashMap::default();
    let mut met = 0;
    for word in &words {
        // What climbs is looked for nowhere.
        let Ok(query) = Query::parse(word, Kind::Path) else { continue };
        let mut found = 0;
        for (repo, catalog) in catalogs.iter().enumerate() {
            for (path, file) in catalog.find(&query).take(FILES_MAX) {
                weights.entry((repo, path)).or_insert((file, 0)).1 += weight(word, path);
                found += 1;
            }
        }
        met += usize::from(found > 0);
    }
    let most = WEIGHT_MAX * u32::try_from(words.len()).unwrap_or(1).max(1);
    let mut files: Vec<_> = weights.into_iter().collect();
    files.sort_unstable_by_key(|&(place, (_, weight))| (Reverse(weight), place));
    files.truncate(files_max);
    let ranked = |((repo, path), (file, weight))| {
        let score = f64::from(weight) / f64::from(most);
        Ranked { repo, path, file, score: (score * 100.0).round() / 100.0 }
    };
    Answer { files: files.into_iter().map(ranked).collect(), words: words.len(), met }
}

/// Of a word that is the name.
const WEIGHT_MAX: u32 = 4;

fn weight(word: &str, path: &[u8]) -> u32 {
    let path = path.to_ascii_lowercase();
    let name = name_of(&path);
    if name == word.as_bytes() || stem_of(name) == word.as_bytes() || path == word.as_bytes() {
        WEIGHT_MAX
    } else if memchr::memmem::find(name, word.as_bytes()).is_some() {
        2
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(paths: &[&str]) -> Catalog {
        let mut catalog = Catalog::default();
        for path in paths {
            catalog.push(path.as_bytes(), File { size: 1, is_link: false });
        }
        catalog
    }

    #[test]
    fn words_are_what_could_stand_in_a_path() {
        assert_eq!(
            words_of("Where is the Auth-Token, in src/auth.rs?"),
            ["is", "auth-token", "in", "src/auth.rs"]
        );
        assert_eq!(words_of("../../etc/passwd ... a"), ["etc/passwd"]);
        assert_eq!(words_of(&"word ".repeat(9)), ["word"]);
    }

    #[test]
    fn the_name_counts_more_than_what_it_is_part_of() {
        let first = catalog(&["auth/login.rs", "src/auth.rs", "src/auth_token.rs", "src/main.rs"]);
        let second = catalog(&["auth.md"]);
        let answer = rank("auth nonsense", &[&first, &second], 9);
        let paths: Vec<_> = answer.files.iter().map(|file| (file.repo, file.path)).collect();
        let expected: [(usize, &[u8]); 4] = [
            (0, b"src/auth.rs"),
            (1, b"auth.md"),
            (0, b"src/auth_token.rs"),
            (0, b"auth/login.rs"),
        ];
        assert_eq!(paths, expected);
        assert_eq!((answer.words, answer.met, answer.files[0].score), (2, 1, 0.5));
    }
}
