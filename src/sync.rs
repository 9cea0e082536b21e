//! Sync: one task per sink that delivers every stream to it.

pub mod backoff;
pub mod plan;
pub mod reach;
