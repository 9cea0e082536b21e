//! `stampd config check|show|example`.

use std::fmt::Write as _;

use serde::Serialize;

use super::exit::Exit;
use super::shell::{Format, Shell, print, print_json};
use crate::config::{Shown, example, usual_place};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say what is wrong with the config, or that nothing is
    Check,
    /// Print the values in force
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print an example with every key and its default
    Example,
}

pub(super) fn run(shell: &Shell, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Check => check(shell),
        Command::Show { origin } => show(shell, *origin),
        Command::Example => {
            print(&example())?;
            Ok(Exit::Fine)
        }
    }
}

fn check(shell: &Shell) -> anyhow::Result<Exit> {
    let config = shell.config()?;
    config.check_places(true)?;
    let file = config.file.as_ref().map_or_else(
        || "no config file; the defaults are in force".to_owned(),
        |file| format!("{} is right", file.display()),
    );
    shell.note(&file);
    if config.agent.repos.is_empty() {
        let place = config.file.or_else(|| usual_place(&shell.environment)).unwrap_or_default();
        shell.note(&format!("no repo is watched yet: add a [[repo]] to {}", place.display()));
    }
    Ok(Exit::Fine)
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    values: Vec<Shown>,
}

fn show(shell: &Shell, origin: bool) -> anyhow::Result<Exit> {
    let values = shell.config()?.shown();
    match shell.format {
        Format::Json => print_json(&Document { schema: "stampd.config/v1", values })?,
        Format::Jsonl => values.iter().try_for_each(print_json)?,
        Format::Human => print(&as_toml(&values, origin))?,
    }
    Ok(Exit::Fine)
}

/// The values as a config file that says the same.
pub(super) fn as_toml(values: &[Shown], origin: bool) -> String {
    let mut out = String::new();
    let mut section = "";
    for value in values {
        if value.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = &value.section;
            let header =
                if section.starts_with("repo.") { "[[repo]]" } else { &format!("[{section}]") };
            let _ = writeln!(out, "{gap}{header}");
        }
        let _ = write!(out, "{} = {}", value.key, value.value);
        let _ = if origin { writeln!(out, "  # {}", value.origin) } else { writeln!(out) };
    }
    out
}
