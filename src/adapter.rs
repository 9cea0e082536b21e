//! The adapter: events on Kafka become rows in Postgres.
//!
//! - `route` says which topics are read, and what kind of event each carries;
//! - `decode` makes an operation of a record, or says why there is none.
//!
//! **Invariant**: both are pure. What an operation does to the rows is `store::operations`'s.

pub mod decode;
pub mod route;
