//! Figures: stampd beside its peers, in pairs within the same run, as medians in one table.
//!
//! `make bench` starts PostgreSQL and Kafka and runs everything; `make bench T=P1` a part. Nothing
//! here is a test: a ratio is told with its spread and held against its goal by whoever reads it.
//! The agent is the real binary in a process of its own; what it is compared with runs in the same
//! round, in alternating order, over the same warm files.

#![allow(
    clippy::cast_precision_loss,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a benchmark counts in f64, speaks on stdout and stops where it cannot measure"
)]

mod backlog;
mod by_hand;
mod corpus;
mod delivery;
mod intake;
mod load;
mod local;
mod measure;
mod peers;
mod stamping;
mod support;
mod tree;

use std::path::PathBuf;

use measure::Table;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let corpus = corpus::prepare(&scratch());
    let mut table = Table::new(&corpus);
    if wants("P1") {
        local::first_stamping(&corpus, &mut table);
    }
    if wants("P2") {
        local::rescan(&corpus, &mut table);
        local::cold_start(&corpus, &mut table);
    }
    if wants("P4") {
        local::latency(&mut table);
    }
    if wants("P6") {
        local::idle(&corpus, &mut table);
    }
    if wants("P7") {
        delivery::postgres(&corpus, &mut table);
    }
    if wants("P8") {
        delivery::kafka(&corpus, &mut table);
    }
    if wants("P9") || wants("P9-agent") {
        stamping::agent(&scratch(), &mut table);
    }
    if wants("P9") || wants("P9-bridge") {
        stamping::bridge(&scratch(), &mut table);
    }
    if wants("P9") || wants("P9-events") {
        stamping::events(&scratch(), &mut table);
    }
    if wants("P9") || wants("P9-batch") {
        stamping::batches(&mut table);
    }
    if wants("P9") || wants("P9-ingest") {
        delivery::ingest(&corpus, &mut table);
    }
    if wants("P10") {
        intake::adapter(&mut table);
    }
    if wants("P10-backlog") {
        backlog::drain(&mut table);
    }
    if wants("P11") {
        tree::queries_of(&corpus, &mut table);
    }
    if wants("P12") {
        tree::enrichment_away(&corpus, &mut table);
    }
    print!("{table}");
}

/// `target/bench`, kept between runs.
fn scratch() -> PathBuf {
    let target = option_env!("CARGO_TARGET_DIR").unwrap_or("target");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(target).join("bench")
}
