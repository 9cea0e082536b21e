//! The store: every line of SQL for Postgres.
