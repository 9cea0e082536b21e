//! Chance, for waits that shall not end in step with those of others. No secret is made of it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A number drawn evenly from all of `u32`.
pub fn random() -> u32 {
    // Each state has keys of its own.
    RandomState::new().build_hasher().finish() as u32
}
