//! The command line: one file per command group, each from flags to the parts it needs.
//!
//! Data goes to stdout, everything else to stderr. JSON and exit codes are pinned for programs.
//! Errors end up in [`exit`], which knows the codes; every text says what to do next.

mod adapter;
mod ask;
mod bridge;
mod bugreport;
mod completions;
mod config;
mod contracts;
mod dlq;
mod doctor;
pub mod exit;
mod explain;
mod hash;
mod init;
mod log;
mod man;
pub mod migrate;
mod netcheck;
mod pause;
mod place;
mod progress;
mod repos;
mod rewrite;
mod role;
mod run;
mod service;
mod setup;
mod shell;
mod stamp;
mod status;
mod table;
mod token;
mod trust;
mod validate;
mod verify;
mod version;

use clap::{Parser, Subcommand};

use self::exit::Exit;
pub use self::shell::Global;
use self::shell::Shell;

/// Gives every file change a durable, provable stamp, offline or not.
#[derive(Debug, Parser)]
#[command(name = "stampd", version = crate::VERSION, max_term_width = 100)]
#[command(
    after_help = "Start with `stampd setup`, or try `stampd run --repo PATH` and ask `stampd status`."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a config, install and start the service, and look whether all is well
    Setup(setup::Args),
    /// Watch repos and stamp what changes, in the foreground
    Run(run::Args),
    /// Serve the stamping API over PostgreSQL, in the foreground
    Bridge(bridge::Args),
    /// Write the events on Kafka into PostgreSQL, in the foreground
    Adapter(adapter::Args),
    /// Make or renew the schema of the PostgreSQL database
    Migrate(migrate::Args),
    /// Say how the agent, its repos and its sinks are
    Status(status::Args),
    /// Watch a directory too, from now on
    Add(repos::AddArgs),
    /// Watch a repo no longer; its stamps stay
    Remove(repos::RemoveArgs),
    /// List the repos of the config
    List,
    /// Look at no repo until the pause ends; what is stamped is still delivered
    Pause(pause::Args),
    /// End the pause and compare everything
    Resume,
    /// Print the stamps of a path, newest first
    Log(log::LogArgs),
    /// Print every stamp of a content
    Show(log::ShowArgs),
    /// Read files again and compare them with their newest stamps
    Verify(verify::Args),
    /// Say whether a path is covered, and which rule says so
    Explain(explain::Args),
    /// Compare the disk with the record, now
    Scan(ask::ScanArgs),
    /// Deliver what is queued, now
    Sync(ask::SyncArgs),
    /// Print BLAKE3 digests in the format of b3sum, or check them
    Hash(hash::Args),
    /// Put a stamp into a text, as a line or a block of metadata
    Stamp(stamp::Args),
    /// Check the stamps inside texts
    Validate(validate::Args),
    /// List, print or retry what a sink or the adapter refused for good
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// Look at all that has to be right, and name what mends the rest
    Doctor,
    /// Pack logs, status and config for whoever helps, without secrets and paths
    Bugreport(bugreport::Args),
    /// Climb the ladder to Kafka, PostgreSQL or a bridge, and name the rung that fails
    Netcheck(netcheck::Args),
    /// Accept what a repo's own .stampd.toml asks for
    Trust(trust::Args),
    /// Write a commented .stampd.toml into a repository
    Init(init::Args),
    /// Issue, list or revoke the tokens by which a bridge knows agents
    #[command(subcommand)]
    Token(token::Command),
    /// Check, show or exemplify the config
    #[command(subcommand)]
    Config(config::Command),
    /// Hold contracts against this program, or lay them out
    #[command(subcommand)]
    Contracts(contracts::Command),
    /// Print, install, look at or remove the service
    #[command(subcommand)]
    Service(service::Command),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the manual page, or write one for every command into a directory
    Man(man::Args),
    /// Print the version
    Version,
}

impl Cli {
    /// Does what was asked.
    pub fn dispatch(self) -> anyhow::Result<Exit> {
        let shell = Shell::new(self.global);
        if !matches!(self.command, Command::Run(_) | Command::Bridge(_) | Command::Adapter(_)) {
            shell.log_warnings()?;
        }
        match self.command {
            Command::Setup(args) => setup::run(&shell, &args),
            Command::Run(args) => run::run(&shell, args),
            Command::Bridge(args) => bridge::run(&shell, args),
            Command::Adapter(args) => adapter::run(&shell, args),
            Command::Migrate(args) => migrate::dispatch(&shell, &args),
            Command::Status(args) => status::run(&shell, &args),
            Command::Add(args) => repos::add(&shell, &args),
            Command::Remove(args) => repos::remove(&shell, &args),
            Command::List => repos::list(&shell),
            Command::Pause(args) => pause::pause(&shell, &args),
            Command::Resume => pause::resume(&shell),
            Command::Log(args) => log::log(&shell, &args),
            Command::Show(args) => log::show(&shell, &args),
            Command::Verify(args) => verify::run(&shell, &args),
            Command::Explain(args) => explain::run(&shell, &args),
            Command::Scan(args) => ask::scan(&shell, &args),
            Command::Sync(args) => ask::sync(&shell, &args),
            Command::Hash(args) => hash::run(&shell, &args),
            Command::Stamp(args) => stamp::run(&shell, &args),
            Command::Validate(args) => validate::run(&shell, &args),
            Command::Dlq(command) => dlq::run(&shell, &command),
            Command::Doctor => doctor::run(&shell),
            Command::Bugreport(args) => bugreport::run(&shell, &args),
            Command::Netcheck(args) => netcheck::run(&shell, &args),
            Command::Trust(args) => trust::run(&shell, &args),
            Command::Init(args) => init::run(&shell, &args),
            Command::Token(command) => token::run(&shell, &command),
            Command::Config(command) => config::run(&shell, &command),
            Command::Contracts(command) => contracts::run(&shell, &command),
            Command::Service(command) => service::run(&shell, &command),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
            Command::Version => version::run(&shell),
        }
    }
}
