//! The routes, one file for each resource.

pub(super) mod batch;
pub(super) mod hash;
pub(super) mod health;
pub(super) mod metrics;
pub(super) mod namespace;
pub(super) mod protocol;
pub(super) mod root;
pub(super) mod stamp;
pub mod streams;
pub(super) mod validate;
