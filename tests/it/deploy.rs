//! The deployment: what `packaging/compose.yaml` and the Dockerfile say is taken by the program, and
//! the services start in its order, with its environment, over real servers. Containers are not had
//! here: names and ports of the file stand for those of the test bed.

mod compose;
mod dockerfile;
mod watching;

use std::path::{Path, PathBuf};

/// A file of the repository.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
