//! `stampd dlq ls|show|retry|export`: what was refused for good, and trying it again.
//!
//! `agent` has the stamps that a sink refused, which lie in the spool; `adapter` the records that the
//! adapter refused, which lie in the database. Which of the two is meant is said by `--adapter`.

mod adapter;
mod agent;

use std::path::PathBuf;
use std::str::FromStr;

use self::adapter::Letters;
use self::agent::{Place, SINKS};
use super::exit::{Exit, failed};
use super::shell::Shell;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List them
    Ls(Which),
    /// Print one with all that is known of it
    Show {
        /// Which one, as `ls` prints it: STREAM/SEQ, or a number with --adapter
        #[arg(value_name = "NAME")]
        name: Name,
        #[command(flatten)]
        which: Which,
    },
    /// Offer them again: stamps to their sinks, through the running agent; records to the database
    Retry {
        /// Which one, as `ls` prints it: STREAM/SEQ, or a number with --adapter
        #[arg(value_name = "NAME", required_unless_present = "all")]
        name: Option<Name>,
        /// All of them
        #[arg(long, conflicts_with_all = ["name", "value"])]
        all: bool,
        /// With --adapter: as if this file had been the record's value
        #[arg(long, value_name = "FILE", requires = "adapter")]
        value: Option<PathBuf>,
        #[command(flatten)]
        which: Which,
    },
    /// Print all of them whole, one JSON document per line
    Export(Which),
}

#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Records that the adapter refused, instead of stamps that a sink refused
    #[arg(long)]
    adapter: bool,
    /// With --adapter: also those that a retry has taken
    #[arg(long, requires = "adapter")]
    taken: bool,
    /// Only stamps of this sink
    #[arg(long, value_parser = SINKS, conflicts_with = "adapter")]
    sink: Option<String>,
}

/// What one of them is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A stamp.
    Stamp(Place),
    /// A letter of the adapter's.
    Letter(i64),
}

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        text.parse().map(Self::Letter).or_else(|_| text.parse().map(Self::Stamp))
    }
}

impl Name {
    fn stamp(self) -> anyhow::Result<Place> {
        match self {
            Self::Stamp(place) => Ok(place),
            Self::Letter(number) => {
                let text = format!("find the stamp {number}: write STREAM/SEQ, or add --adapter");
                Err(failed(Exit::Usage, text))
            }
        }
    }

    fn letter(self) -> anyhow::Result<i64> {
        match self {
            Self::Letter(number) => Ok(number),
            Self::Stamp(_) => {
                let text = "find the dead letter: those of the adapter have numbers; see `stampd dlq \
                            ls --adapter`";
                Err(failed(Exit::Usage, text))
            }
        }
    }
}

pub(super) fn run(shell: &Shell, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Ls(which) if which.adapter => Letters::open(shell)?.list(which.taken),
        Command::Ls(which) => agent::list(shell, which),
        Command::Show { name, which } if which.adapter => {
            Letters::open(shell)?.show(name.letter()?)
        }
        Command::Show { name, which } => agent::show(shell, name.stamp()?, which),
        Command::Retry { name, value, which, all: _ } if which.adapter => {
            let number = name.map(Name::letter).transpose()?;
            Letters::open(shell)?.retry(number, value.as_deref())
        }
        Command::Retry { name, which, .. } => {
            agent::retry(shell, name.map(Name::stamp).transpose()?, which)
        }
        Command::Export(which) if which.adapter => Letters::open(shell)?.export(which.taken),
        Command::Export(which) => agent::export(shell, which),
    }
}
