//! The command line: one file per command group, each from flags to the parts it needs.
//!
//! Data goes to stdout, everything else to stderr. JSON and exit codes are pinned for programs.
//! Errors end up in [`exit`], which knows the codes; every text says what to do next.

mod completions;
mod config;
pub mod exit;
pub mod migrate;
mod shell;
mod version;

use clap::{Parser, Subcommand};

use self::exit::Exit;
pub use self::shell::Global;
use self::shell::Shell;

/// Gives every file change a durable, provable stamp, offline or not.
#[derive(Debug, Parser)]
#[command(name = "stampd", version = crate::VERSION, max_term_width = 100)]
#[command(after_help = "Start with `stampd run --repo PATH`, then ask `stampd status`.")]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check, show or explain the config
    #[command(subcommand)]
    Config(config::Command),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the version
    Version,
}

impl Cli {
    /// Does what was asked.
    pub fn dispatch(self) -> anyhow::Result<Exit> {
        let shell = Shell::new(self.global);
        match self.command {
            Command::Config(command) => config::run(&shell, &command),
            Command::Completions(args) => completions::run(&args),
            Command::Version => version::run(&shell),
        }
    }
}
