//! What every command is given: the global flags, the environment, and ways to write and to ask.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::exit::{Exit, failed};
use super::table::Palette;
use crate::config::{self, Config, Environment, Flags};
use crate::control::{self, Refusal, Reply, Request, socket_path};
use crate::model::status::Status;
use crate::runtime::telemetry::{self, Style};
use crate::runtime::units::HumanDuration;

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Read this config file [default: stampd.toml in the user's config directory]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Speak to the agent at this socket [default: stampd.sock in the runtime directory]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Keep state here, instead of [agent] state_dir
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<String>,
    /// Print for people, as one JSON document, or as one JSON document per line
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Format,
    /// Use colours
    #[arg(long, global = true, value_enum, default_value_t)]
    color: Color,
    /// Only print data and errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Log more; twice for everything
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Wait no longer than this for the agent, such as 30s
    #[arg(long, global = true, value_name = "DURATION")]
    timeout: Option<HumanDuration>,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    #[default]
    Human,
    Json,
    Jsonl,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// The global flags and the environment, resolved.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) environment: Environment,
    pub(super) format: Format,
    global: Global,
}

impl Shell {
    pub(super) fn new(global: Global) -> Self {
        Self { environment: Environment::read(), format: global.format, global }
    }

    /// The flags as the config takes them.
    pub(super) fn flags(&self) -> Flags {
        let level = match (self.global.quiet, self.global.verbose) {
            (true, _) => Some("error"),
            (false, 0) => None,
            (false, 1) => Some("debug"),
            (false, _) => Some("trace"),
        };
        Flags {
            config: self.global.config.clone(),
            state_dir: self.global.state_dir.clone(),
            log_level: level.map(str::to_owned),
            ..Flags::default()
        }
    }

    /// Loads the config.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        Ok(config::load(&self.flags(), &self.environment)?)
    }

    /// Where the agent listens.
    pub(super) fn socket(&self, config: &Config) -> PathBuf {
        let asked = self.global.socket.as_ref();
        asked.map_or_else(
            || socket_path(&config.agent.runtime_dir),
            |path| self.environment.directory().join(path),
        )
    }

    /// `--timeout`.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.global.timeout.map(|HumanDuration(timeout)| timeout)
    }

    /// Asks the agent, waiting for `--timeout`, or else for `patience`.
    pub(super) fn ask(
        &self,
        config: &Config,
        request: &Request,
        patience: Option<Duration>,
    ) -> anyhow::Result<Reply> {
        let socket = self.socket(config);
        heard(block_on(control::call(&socket, request, self.timeout().or(patience)))??)
    }

    /// What the agent says of itself.
    pub(super) fn status(
        &self,
        config: &Config,
        patience: Duration,
    ) -> anyhow::Result<Box<Status>> {
        match self.ask(config, &Request::Status, Some(patience))? {
            Reply::Status(status) => Ok(status),
            reply => Err(unexpected("read the status", reply)),
        }
    }

    /// Tells the agent, and waits only until it has taken the request or refused it.
    pub(super) fn nudge(&self, config: &Config, request: &Request) -> anyhow::Result<Reply> {
        heard(block_on(control::nudge(&self.socket(config), request))??)
    }

    /// Whether notes and progress are wanted on stderr.
    pub(super) fn is_quiet(&self) -> bool {
        self.global.quiet
    }

    /// Tells something that is no data.
    pub(super) fn note(&self, text: &str) {
        if !self.is_quiet() {
            // Without stderr there is nobody to tell.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Whether stderr is a terminal on which a moving bar makes sense.
    pub(super) fn shows_progress(&self) -> bool {
        !self.is_quiet() && io::stderr().is_terminal()
    }

    /// The colours of what goes to stdout.
    pub(super) fn palette(&self) -> Palette {
        Palette { coloured: self.coloured(&io::stdout()) }
    }

    /// Whether what goes to `stream` is coloured.
    fn coloured(&self, stream: &impl io::IsTerminal) -> bool {
        match self.global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stream.is_terminal() && self.environment.get("NO_COLOR").is_none(),
        }
    }

    /// Sends what libraries of ours have to say to stderr: warnings, or more with `-v`. `run` does
    /// this for itself, since its logs are configured.
    pub(super) fn log_warnings(&self) -> anyhow::Result<()> {
        let level = self.flags().log_level.unwrap_or_else(|| "warn".to_owned());
        let config = telemetry::Config { level, ..telemetry::Config::default() };
        Ok(telemetry::init(&config, self.log_style())?)
    }

    /// How logs are written.
    pub(super) fn log_style(&self) -> Style {
        let stream = self.environment.get("JOURNAL_STREAM").unwrap_or_default();
        if telemetry::is_journal(io::stderr(), stream) {
            Style::Journal
        } else if self.coloured(&io::stderr()) {
            Style::Coloured
        } else {
            Style::Plain
        }
    }
}

/// A refusal as the error it is.
pub(super) fn heard(reply: Reply) -> anyhow::Result<Reply> {
    match reply {
        Reply::Refused { kind, reason } => {
            let exit = match kind {
                Refusal::NotFound => Exit::NotFound,
                Refusal::Unavailable => Exit::Temporary,
                Refusal::Wrong => Exit::Unexpected,
            };
            Err(failed(exit, format!("be heard: {reason}")))
        }
        reply => Ok(reply),
    }
}

/// The error that a reply is to whoever wanted another one.
pub(super) fn unexpected(what: &str, reply: Reply) -> anyhow::Error {
    match reply {
        Reply::Unfinished { reason } => failed(Exit::Temporary, format!("{what}: {reason}")),
        Reply::Status(_) | Reply::Done | Reply::Refused { .. } => {
            failed(Exit::Unexpected, format!("{what}: the agent answered something else"))
        }
    }
}

/// Prints one JSON document on a line.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(value).context("write JSON")?;
    text.push('\n');
    print(&text)
}

/// Prints data. Stdout is flushed, so that a failing disk or pipe is noticed.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to standard output")
}

/// Stdout for many lines, buffered.
pub(super) struct Printer(io::BufWriter<io::StdoutLock<'static>>);

impl Printer {
    pub(super) fn new() -> Self {
        Self(io::BufWriter::new(io::stdout().lock()))
    }

    pub(super) fn line(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.0, "{line}").context("write to standard output")
    }

    /// Writes what is left; a failing disk or pipe is noticed here at the latest.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.0.flush().context("write to standard output")
    }
}

/// Runs a future to its end: commands are plain functions, and few of them speak to anyone.
pub(super) fn block_on<F: Future>(future: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("start a runtime")?.block_on(future))
}
