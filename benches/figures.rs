//! Figures: stampd beside its peers.

fn main() {}
