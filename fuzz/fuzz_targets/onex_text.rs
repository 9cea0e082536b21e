//! Any text: stamps in it are found, removed and made by the laws.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../laws/onex_text.rs"]
mod onex_text;

fuzz_target!(|text: &str| onex_text::hold(text));
