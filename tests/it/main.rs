//! Integration tests, one module per capability.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "all of this crate is tests, also what is not itself a #[test]"
)]

mod adapter;
mod adopt;
mod agent;
mod api;
mod architecture;
mod bed;
mod bridge;
mod cli;
mod config;
mod conformance;
mod contracts;
mod control;
mod deploy;
mod diagnose;
mod enrich;
mod fuzz;
mod hash;
mod hash_command;
mod http;
mod ignore;
mod ingest;
mod migrate;
mod netcheck;
mod onex_text;
mod onextree;
mod operations;
mod outbox;
mod packages;
mod pages;
mod postgres;
mod rooted;
mod schemas;
mod service;
mod settle;
mod setup;
mod spool;
mod spool_contents;
mod spool_golden;
mod spool_model;
mod stamps;
mod store;
mod support;
mod sync;
mod sync_bridge;
mod sync_kafka;
mod sync_postgres;
mod system;
mod terminal;
mod trust;
mod watch_kernel;
