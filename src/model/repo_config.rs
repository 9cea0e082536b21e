//! A repo as the user's config has it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::namespace::Namespace;

/// One watched repo. Its texts come from a config in TOML, so its path is UTF-8 too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoConfig {
    /// Its name in stamps, status and commands; unique.
    pub name: String,
    /// Its root, absolute.
    pub path: PathBuf,
    /// The tenant of its stamps.
    pub namespace: Namespace,
    /// The user's own exclusions, in gitignore syntax; nothing overrides them.
    pub exclude: Vec<String>,
    /// Patterns that un-ignore what the repo's rules ignore.
    pub include: Vec<String>,
    /// Instead of `[hash] max_file_size`, in bytes.
    pub max_file_size: Option<u64>,
}
