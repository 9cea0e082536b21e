//! The `stampd` binary: parses, dispatches, and turns what comes of it into an exit code.

#[cfg(target_os = "linux")]
mod heap;

use std::process::ExitCode;

use clap::Parser as _;
use stampd::cli::{Cli, exit};

fn main() -> ExitCode {
    // Wrong usage ends here, with code 2 and a hint.
    let cli = Cli::parse();
    match cli.dispatch() {
        Ok(exit) => exit.into(),
        Err(error) => exit::report(&error).into(),
    }
}
