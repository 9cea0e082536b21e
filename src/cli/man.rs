//! `stampd man [DIR]`: manual pages from the same definitions as the help.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::Cli;
use super::exit::Exit;
use super::shell::print;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write stampd.1 and a page for every command into this directory
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    // One that only says where the help is.
    let command = Cli::command().disable_help_subcommand(true);
    if let Some(dir) = &args.dir {
        let context = || format!("write manual pages into {}", dir.display());
        std::fs::create_dir_all(dir).with_context(context)?;
        clap_mangen::generate_to(command, dir).with_context(context)?;
        return Ok(Exit::Fine);
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page).context("render the manual page")?;
    print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Fine)
}
