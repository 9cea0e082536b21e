//! Failpoints: places by name at which a test has the process killed.
//!
//! A variable of the environment says at which one, and the how manieth passing: the process ends there
//! as by `kill -9`, with nothing flushed and nothing said. In a build without debug assertions there are
//! none: a passing is no code, and nothing can be armed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// The variable that says where: `NAME`, or `NAME:N` for the Nth passing.
pub const VARIABLE: &str = "STAMPD_FAILPOINT";

static ARMED: OnceLock<Armed> = OnceLock::new();

struct Armed {
    name: String,
    /// Passings that are left, the last of which is the end.
    left: AtomicU32,
}

/// Arms what `text` names, once in the life of a process.
pub fn arm(text: &str) {
    if cfg!(debug_assertions) {
        let (name, passings) = text.split_once(':').unwrap_or((text, "1"));
        let left = AtomicU32::new(passings.parse().unwrap_or(1));
        tracing::warn!(name, passings, "this process will be killed at a failpoint");
        ARMED.get_or_init(|| Armed { name: name.to_owned(), left });
    }
}

/// Passes a failpoint, or ends there.
pub fn pass(name: &'static str) {
    if cfg!(debug_assertions)
        && let Some(armed) = ARMED.get().filter(|armed| armed.name == name)
        && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // Nobody can refuse to kill itself; and there is no way on from here.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
