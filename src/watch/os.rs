//! The operating system's side of watching: one module per platform, all with the same `Source`.
//!
//! A `Source` gives a watch for an open directory, takes watches back, and feeds the events of both
//! to [`decode`](super::decode) from a thread of its own.

use std::io;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
pub(super) use self::linux::Source;
#[cfg(target_os = "linux")]
pub use self::linux::{RawEvent, Tap};
#[cfg(target_os = "macos")]
pub(super) use self::macos::Source;

/// Why a directory got no watch.
#[derive(Debug)]
#[cfg_attr(target_os = "macos", expect(dead_code, reason = "FSEvents covers every directory"))]
pub(super) enum AddError {
    /// The user has none left.
    LimitReached,
    /// Anything else.
    Failed(io::Error),
}
