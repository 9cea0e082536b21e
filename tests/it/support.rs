//! What several test files share: servers, processes, trees and waiting.
//!
//! The servers' addresses come from the environment, which `make test` sets. Their absence fails a
//! test: nothing here skips.

#![allow(dead_code, reason = "a helper may be ahead of the first test that needs it")]

pub mod answering;
pub mod audit;
mod base;
pub mod bridge;
pub mod broker;
pub mod client;
pub mod cluster;
pub mod files;
pub mod guarded;
pub mod kafka;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod record;
pub mod schema;
pub mod terminal;
pub mod tree;
pub mod wait;
pub mod web;

pub use base::{bed, block_on, free_port, random_name};
