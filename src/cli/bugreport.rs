//! `stampd bugreport`: logs, status and config in one archive, for whoever helps.
//!
//! Promises: nothing goes in that has not been through [`redact`]; what is inside is listed before it
//! is written; a file that is there is never written over. Works as far as it can without an agent
//! or a right config: what cannot be had, says so in its place.

mod logs;
mod redact;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::redact::Redactor;
use super::config::as_toml;
use super::doctor;
use super::exit::{Exit, failed};
use super::place::escaped;
use super::shell::{Format, Shell, print, print_json};
use super::table::{bytes, table};
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::runtime::clock::Clock;
use crate::runtime::{tar, whole};

const ABOUT: &str = "\
What stampd packed to have a fault looked into. Secrets, paths, addresses and the names of files,
repos, users and machines stand as <kind n>; the same n is the same thing throughout.
";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write the archive here [default: stampd-bugreport-TIME.tar in this directory]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only list what would be inside
    #[arg(long)]
    list: bool,
}

/// A file of the report.
struct Part {
    name: String,
    text: String,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    file: Option<PathBuf>,
    contents: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    bytes: usize,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let now = Clock::system().now();
    let seconds = u64::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(0);
    let file = args.output.clone().unwrap_or_else(|| {
        let time: String = now.to_string().chars().take(19).filter(char::is_ascii_digit).collect();
        PathBuf::from(format!("stampd-bugreport-{time}.tar"))
    });
    let file = shell.environment.directory().join(file);
    let parts = gather(shell);
    list(shell, &parts)?;
    if !args.list {
        let files = parts.iter().map(|part| (part.name.as_str(), part.text.as_bytes()));
        write(&file, &tar::archive(files, seconds))?;
        shell.note(&format!("wrote {}; look into it before you send it", file.display()));
    }
    if shell.format == Format::Json {
        let file = (!args.list).then_some(file);
        let contents = parts.into_iter().map(Listed::of).collect();
        print_json(&Document { schema: "stampd.bugreport/v1", file, contents })?;
    }
    Ok(Exit::Fine)
}

impl Listed {
    fn of(part: Part) -> Self {
        Self { name: part.name, bytes: part.text.len() }
    }
}

/// Tells what is inside, before it is written.
fn list(shell: &Shell, parts: &[Part]) -> anyhow::Result<()> {
    let row = |part: &Part| vec![part.name.clone(), bytes(part.text.len() as u64)];
    match shell.format {
        Format::Human => print(&table(&parts.iter().map(row).collect::<Vec<_>>())),
        Format::Json | Format::Jsonl => Ok(()),
    }
}

fn write(file: &Path, archive: &[u8]) -> anyhow::Result<()> {
    whole::write_new(file, archive, 0o600).map_err(|error| {
        let shown = escaped(file.as_os_str());
        let (exit, hint) = match error.kind() {
            io::ErrorKind::AlreadyExists => (Exit::Usage, "; say --output with another name"),
            io::ErrorKind::PermissionDenied => (Exit::Denied, "; say --output"),
            io::ErrorKind::NotFound => (Exit::NotFound, ": its directory is not there"),
            _ => (Exit::Unexpected, ""),
        };
        failed(exit, format!("write {shown}: {error}{hint}"))
    })
}

/// Everything, redacted.
fn gather(shell: &Shell) -> Vec<Part> {
    let config = shell.config();
    let mut redactor = Redactor::new(&shell.environment, config.as_ref().ok());
    let mut parts = Vec::new();
    let mut add = |name: &str, text: &str| {
        let text = redactor.text(text);
        parts.push(Part { name: format!("stampd-bugreport/{name}"), text });
    };
    add("about.txt", ABOUT);
    add("machine.txt", &machine());
    match &config {
        Ok(config) => {
            add("config.toml", &as_toml(&config.shown(), true));
            add("status.json", &status(shell, config));
            add("log.txt", &logs::newest(config));
        }
        Err(error) => add("config.toml", &format!("# failed to {error:#}\n")),
    }
    let findings = doctor::examine(shell);
    let told = findings.and_then(|findings| Ok(serde_json::to_string_pretty(&findings)?));
    add("doctor.json", &told.unwrap_or_else(|error| format!("failed to {error:#}\n")));
    parts
}

fn machine() -> String {
    let uname = rustix::system::uname();
    format!(
        "stampd {}\n{} {} {}\n",
        crate::VERSION,
        uname.sysname().to_string_lossy(),
        uname.release().to_string_lossy(),
        uname.machine().to_string_lossy()
    )
}

fn status(shell: &Shell, config: &Config) -> String {
    match shell.ask(config, &Request::Status, Some(super::status::PATIENCE)) {
        Ok(Reply::Status(status)) => serde_json::to_string_pretty(&status).unwrap_or_default(),
        Ok(_) => "the agent answered something else\n".to_owned(),
        Err(error) => format!("failed to {error:#}\n"),
    }
}
