//! The spool: one SQLite file that holds the file index and the append-only streams of stamps.
