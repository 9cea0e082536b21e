//! stampd gives every file change on a developer's machine a durable, provable stamp.

pub mod adapter;
pub mod agent;
pub mod api;
pub mod bridge;
pub mod cli;
pub mod config;
pub mod control;
pub mod enrich;
pub mod hash;
pub mod model;
pub mod onextree;
pub mod outbox;
pub mod repo;
pub mod runtime;
pub mod scan;
pub mod settle;
pub mod sink;
pub mod spool;
pub mod store;
pub mod sync;
pub mod watch;

/// The version of this program, as it stands in stamps and in `stampd version`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
