//! Any text: it is read as a canonical body only where it is one.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../laws/body.rs"]
mod body;

fuzz_target!(|text: &str| body::hold(text));
