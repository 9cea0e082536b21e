//! The pause on disk: a small file in the state directory, so that it outlives the agent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::status::Pause;
use crate::runtime::whole;

const FILE: &str = "paused.json";

/// Why a pause cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// The file cannot be read, written or removed.
    #[error("keep the pause in {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// The file holds something else.
    #[error("read the pause in {}: remove the file, and pause again", .0.display())]
    Damaged(PathBuf, #[source] serde_json::Error),
}

/// The pause that was saved last and not cleared since.
pub(super) fn load(state_dir: &Path) -> Result<Option<Pause>, PauseError> {
    let path = state_dir.join(FILE);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| PauseError::Damaged(path, source)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PauseError::Io(path, source)),
    }
}

/// Makes a pause outlive the agent.
pub(super) fn save(state_dir: &Path, pause: &Pause) -> Result<(), PauseError> {
    let path = state_dir.join(FILE);
    let text = serde_json::to_vec(pause).expect("two times of day are JSON");
    whole::write(&path, &text, 0o600).map_err(|source| PauseError::Io(path, source))
}

/// Ends it.
pub(super) fn clear(state_dir: &Path) -> Result<(), PauseError> {
    let path = state_dir.join(FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(PauseError::Io(path, error)),
        _ => Ok(()),
    }
}

/// What `status` says of a repo while it lasts.
pub(super) const REASON: &str = "paused; `stampd resume` ends it and compares everything";
