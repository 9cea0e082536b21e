//! The heap of the whole program, its C libraries included: jemalloc.
//!
//! Of the C library's, threads of a server wait for each other whenever one drops what another made; and what
//! the agent's first scan leaves behind is never given back. ADR 0114 has the figures.
#![expect(unsafe_code, reason = "jemalloc reads its options from a symbol with this name")]

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static HEAP: Jemalloc = Jemalloc;

/// Pages without content go back to the system within half a second, also when the thread that dropped them
/// sleeps. The form is that of jemalloc's TUNING.md; `MALLOC_CONF` in the environment has the last word.
#[unsafe(export_name = "malloc_conf")]
#[used]
static OPTIONS: &[u8; 59] = b"background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0\0";
