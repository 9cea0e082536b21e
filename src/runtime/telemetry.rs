//! Logs: to stderr, readable on a terminal and by the journal, and to daily files where configured.
//!
//! Levels say what an operator must do: `error` act now, `warn` look today, `info` nothing, `debug`
//! and `trace` only when looking for a fault. Paths are shown relative to their repo, secrets never.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use tracing::{Level, Metadata, Subscriber};
use tracing_appender::rolling::{InitError, RollingFileAppender, Rotation};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

/// What is logged, and where to beside stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A level, or directives such as `info,stampd::sync=debug`.
    pub level: String,
    /// A directory for daily files; without it there are none.
    pub directory: Option<PathBuf>,
    /// How many daily files are kept.
    pub files_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: "info".to_owned(), directory: None, files_max: 14 }
    }
}

/// How stderr is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A terminal that takes colours.
    Coloured,
    /// A file, a pipe, or a terminal without colours.
    Plain,
    /// The journal: it has the time itself and takes the level as a prefix.
    Journal,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is neither a level nor directives.
    #[error("understand the log level {0:?}: write error, warn, info, debug or trace")]
    Level(String, #[source] ParseError),
    /// The daily files cannot be written.
    #[error("write logs to {0}: make the directory writable or remove [telemetry] log_dir")]
    Directory(PathBuf, #[source] InitError),
    /// Something else in this process logs already.
    #[error("set up logging")]
    Twice(#[from] TryInitError),
}

/// Sends this process's logs to stderr, and to daily files if configured.
pub fn init(config: &Config, style: Style) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&config.level)
        .map_err(|source| TelemetryError::Level(config.level.clone(), source))?;
    let files = config.directory.as_ref().map(|directory| daily_files(directory, config.files_max));
    Registry::default()
        .with(filter)
        .with(stderr_layer(style))
        .with(files.transpose()?.map(|files| fmt::layer().with_ansi(false).with_writer(files)))
        .try_init()?;
    Ok(())
}

/// Checks a level or directives without setting anything up.
pub fn check_level(level: &str) -> Result<(), TelemetryError> {
    EnvFilter::try_new(level)
        .map(drop)
        .map_err(|source| TelemetryError::Level(level.to_owned(), source))
}

/// Whether stderr is the journal's, which `JOURNAL_STREAM` names as `device:inode`. The variable
/// alone says nothing: children of a service inherit it whatever their stderr is.
pub fn is_journal(stderr: impl AsFd, journal_stream: &str) -> bool {
    rustix::fs::fstat(stderr)
        .is_ok_and(|stat| journal_stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn stderr_layer<S>(style: Style) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    match style {
        Style::Coloured => fmt::layer().with_target(false).with_writer(io::stderr).boxed(),
        Style::Plain => {
            fmt::layer().with_target(false).with_ansi(false).with_writer(io::stderr).boxed()
        }
        Style::Journal => fmt::layer()
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_writer(JournalWriter)
            .boxed(),
    }
}

fn daily_files(
    directory: &PathBuf,
    files_max: usize,
) -> Result<RollingFileAppender, TelemetryError> {
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("stampd")
        .filename_suffix("log")
        .max_log_files(files_max)
        .build(directory)
        .map_err(|source| TelemetryError::Directory(directory.clone(), source))
}

/// Puts the level in front of each event, as the journal reads it from a line of stderr.
struct JournalWriter;

impl<'a> MakeWriter<'a> for JournalWriter {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event { priority: "<6>" }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Event {
        let priority = match *meta.level() {
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            Level::DEBUG | Level::TRACE => "<7>",
        };
        Event { priority }
    }
}

struct Event {
    priority: &'static str,
}

impl Write for Event {
    /// The formatter writes each event in one call.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut line = Vec::with_capacity(self.priority.len() + event.len());
        line.extend_from_slice(self.priority.as_bytes());
        line.extend_from_slice(event);
        io::stderr().write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_level_that_is_none_is_refused_with_the_levels_there_are() {
        for good in ["info", "warn,stampd::sync=debug", "off"] {
            assert!(check_level(good).is_ok(), "{good}");
        }
        let error = check_level("stampd=loud").unwrap_err().to_string();
        assert!(error.contains("write error, warn, info, debug or trace"), "{error}");
    }

    #[test]
    fn only_the_stream_that_the_variable_names_is_the_journal() {
        let file = tempfile::tempfile().unwrap();
        let meta = file.metadata().unwrap();
        assert!(is_journal(&file, &format!("{}:{}", meta.dev(), meta.ino())));
        assert!(!is_journal(&file, &format!("{}:{}", meta.dev(), meta.ino() + 1)));
        assert!(!is_journal(&file, ""));
    }

    #[test]
    fn daily_files_need_a_directory_that_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = daily_files(&file.join("logs"), 3).unwrap_err();
        assert!(matches!(error, TelemetryError::Directory(..)));
        assert!(daily_files(&dir.path().join("logs"), 3).is_ok());
    }
}
