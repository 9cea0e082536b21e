//! Scanning: walks a repo and compares what it finds with the file index.
//!
//! Events are hints; the disk and the index are the truth. A walk arms every directory before it
//! lists it, and only true differences go on to be hashed. When to walk is the agent's decision.

pub mod examine;
pub mod pair;
pub mod walk;
