//! The store: Postgres as the record of many agents. Every line of SQL for it is here and in
//! `migrations/postgres`.
//!
//! - `address` reads a URL and says which roads are safe; `tls` whom to trust on them;
//! - `session` is one connection, driven by whoever uses it;
//! - `streams` appends, the one way for the agent's own road, the bridge's and the adapter's;
//! - `stamps` is the stamping API's desk: a writer with group commit, and reads;
//! - `outbox` is what waits to be published;
//! - `operations` does what Kafka's events ask for, with `offsets` and `dead` letters in the same
//!   transaction;
//! - `queries` answers what may be asked about the tables;
//! - `pool` is a bounded number of sessions for reading;
//! - `ingest` appends for agents that come through a bridge, and `tokens` says who they are;
//! - `adopt` moves the rows of a table that another program made into ours;
//! - `migrate` makes the schema, and tells whether a database has the one we know;
//! - `error` says what is to be done about a failure.
//!
//! **Invariant**: nothing is confirmed before Postgres says that it is on disk. When to connect and
//! what to send is left to `sync` and the roles.

pub mod address;
pub mod adopt;
pub mod dead;
pub mod error;
pub mod ingest;
pub mod migrate;
pub mod offsets;
pub mod operations;
pub mod outbox;
pub mod pool;
pub mod queries;
pub mod session;
pub mod stamps;
pub mod streams;
mod tls;
pub mod tokens;

pub use address::Config;
pub use error::StoreError;
pub use session::Session;
