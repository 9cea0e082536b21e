//! Servers, topics and agent processes, as the tests have them.

#![allow(dead_code, reason = "the tests need more of it than the figures")]

#[path = "../../tests/it/support/base.rs"]
mod base;
#[path = "../../tests/it/support/client.rs"]
pub mod client;
#[path = "../../tests/it/support/kafka.rs"]
pub mod kafka;
#[path = "../../tests/it/support/postgres.rs"]
pub mod postgres;
#[path = "../../tests/it/support/process.rs"]
pub mod process;
#[path = "../../tests/it/support/record.rs"]
pub mod record;
#[path = "../../tests/it/support/schema.rs"]
pub mod schema;
#[path = "../../tests/it/support/wait.rs"]
pub mod wait;

pub use base::{bed, block_on, random_name};
