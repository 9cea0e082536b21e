//! The `stampd` binary.

fn main() {}
