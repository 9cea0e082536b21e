//! `stampd doctor`: looks at all that has to be right for stamps to be taken and delivered.
//!
//! Each line is ok, warn or fail, with the command that mends it. Changes nothing. Exits 0 unless
//! something fails: a warning is for a person to judge, a failure means that stamps are not taken or
//! not delivered.

mod agent;
mod machine;

use serde::Serialize;

use super::exit::Exit;
use super::shell::{Format, Shell, print, print_json};
use super::table::{Ink, Palette, safe, table};
use crate::config::{Config, ConfigError, usual_place};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    level: Level,
    text: String,
    /// The command that mends it, or what to do where no command can.
    mend: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, text: text.into(), mend: None }
    }

    fn warn(check: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, text: text.into(), mend: Some(mend.into()) }
    }

    fn fail(check: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level: Level::Fail, ..Self::warn(check, text, mend) }
    }
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    findings: Vec<Finding>,
}

pub(super) fn run(shell: &Shell) -> anyhow::Result<Exit> {
    let findings = examine(shell)?;
    let worst = findings.iter().map(|finding| finding.level).max();
    match shell.format {
        Format::Human => print(&text(&findings, shell.palette()))?,
        Format::Json => print_json(&Document { schema: "stampd.doctor/v1", findings })?,
        Format::Jsonl => findings.iter().try_for_each(print_json)?,
    }
    Ok(if worst == Some(Level::Fail) { Exit::Degraded } else { Exit::Fine })
}

/// Looks at everything; a config that is wrong leaves nothing else to look at.
pub(super) fn examine(shell: &Shell) -> anyhow::Result<Vec<Finding>> {
    let config = match shell.config() {
        Ok(config) => config,
        Err(error) => {
            let text = match error.downcast_ref() {
                Some(ConfigError::Wrong(problems)) => {
                    let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
                    all.join("; ")
                }
                _ => format!("failed to {error:#}"),
            };
            return Ok(vec![Finding::fail("config", text, "stampd config check")]);
        }
    };
    let status = shell.status(&config, super::status::PATIENCE);
    let mut findings = of_config(shell, &config);
    findings.extend(machine::permissions(&config));
    findings.push(machine::watches(status.as_deref().ok()));
    findings.push(machine::clock(&config));
    findings.push(machine::disk(&config));
    findings.push(agent::service(shell, status.is_ok()));
    findings.extend(agent::state(status));
    findings.push(agent::spool(&config));
    findings.extend(agent::roads(&config)?);
    Ok(findings)
}

fn of_config(shell: &Shell, config: &Config) -> Vec<Finding> {
    const CHECK: &str = "config";
    let mut findings = Vec::new();
    if let Some(file) = &config.file {
        findings.push(Finding::ok(CHECK, file.display().to_string()));
    } else {
        let place = usual_place(&shell.environment).unwrap_or_default();
        let text = format!("there is none at {}; defaults are in force", place.display());
        findings.push(Finding::warn(CHECK, text, "stampd setup"));
    }
    if config.agent.repos.is_empty() {
        findings.push(Finding::warn("repos", "none is configured", "stampd add DIR"));
    }
    if let Err(ConfigError::Wrong(problems)) = config.check_places(true) {
        let wrong = |problem: &crate::config::Problem| {
            Finding::fail("repos", problem.to_string(), "stampd list; stampd remove NAME")
        };
        findings.extend(problems.iter().map(wrong));
    }
    findings
}

fn text(findings: &[Finding], palette: Palette) -> String {
    let row = |finding: &Finding| {
        let (ink, word) = match finding.level {
            Level::Ok => (Ink::Good, "ok"),
            Level::Warn => (Ink::Wary, "warn"),
            Level::Fail => (Ink::Bad, "fail"),
        };
        let mend = finding.mend.as_ref().map(|mend| format!(" → {}", safe(mend)));
        let told = safe(&finding.text) + &mend.unwrap_or_default();
        vec![palette.paint(ink, word), finding.check.to_owned(), told]
    };
    table(&findings.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_how_it_is_and_what_mends_it() {
        let findings = [
            Finding::ok("clock", "right"),
            Finding::warn("disk", "120.0 MiB are free", "df -h /s"),
            Finding::fail("state", "others may write\u{1b} to /s", "chmod 700 /s"),
        ];
        assert_eq!(
            text(&findings, Palette { coloured: false }),
            "\
ok    clock  right
warn  disk   120.0 MiB are free → df -h /s
fail  state  others may write\\u{1b} to /s → chmod 700 /s
"
        );
    }
}
