//! The words of stampd as types: paths, digests, stamps, streams, bodies, batches.
//!
//! Pure data and pure functions: no clock, no file system, no runtime. Values are valid by
//! construction; whoever reads them from outside parses them here.

pub mod batch;
pub mod body;
pub mod change;
pub mod class;
pub mod content;
pub mod digest;
pub mod envelope;
pub mod filetype;
pub mod identity;
pub mod intelligence;
pub mod namespace;
pub mod onex_text;
pub mod operation;
pub mod path;
pub mod piece;
pub mod repo_config;
pub mod rung;
pub mod stamp;
pub mod status;
pub mod stream;
