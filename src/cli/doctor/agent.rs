//! What runs: the service, the agent, its spool, and the roads from here.

use super::Finding;
use crate::cli::netcheck;
use crate::cli::service;
use crate::cli::shell::Shell;
use crate::config::Config;
use crate::control::ControlError;
use crate::model::class::Class;
use crate::model::status::{AgentState, Status};
use crate::spool::{SpoolError, open_read_only};

/// Whether the agent is a service, or need not be one.
pub(super) fn service(shell: &Shell, runs: bool) -> Finding {
    const CHECK: &str = "service";
    let (is_installed, shown) = match service::look_at_own(shell) {
        Ok(found) => found,
        Err(_) if runs => return Finding::ok(CHECK, "none; an agent runs by other means"),
        Err(error) => {
            let text = format!("there is no service manager: failed to {error}");
            return Finding::warn(CHECK, text, "stampd run");
        }
    };
    match (is_installed, shown.is_active()) {
        (true, true) if shown.is_enabled() => Finding::ok(CHECK, "it is installed and runs"),
        (true, true) => {
            let text = "it runs, and does not start by itself";
            Finding::warn(CHECK, text, "stampd service install --user")
        }
        (true, false) => {
            let text = format!("it is installed and {}", shown.active);
            Finding::fail(CHECK, text, "stampd service logs --user")
        }
        (false, _) if runs => Finding::ok(CHECK, "none; an agent runs by other means"),
        (false, _) => Finding::warn(CHECK, "it is not installed", "stampd service install --user"),
    }
}

/// How the agent is, and whether it is of this version.
pub(super) fn state(status: anyhow::Result<Box<Status>>) -> Vec<Finding> {
    const CHECK: &str = "agent";
    let status = match status {
        Ok(status) => status,
        Err(error) if matches!(error.downcast_ref(), Some(ControlError::NotRunning(_))) => {
            return vec![Finding::fail(CHECK, "none is running", "stampd run")];
        }
        Err(error) => {
            return vec![Finding::fail(CHECK, format!("failed to {error:#}"), "stampd status")];
        }
    };
    let mut findings = vec![match status.state {
        _ if status.paused.is_some() => {
            Finding::warn(CHECK, "it is paused: nothing is stamped", "stampd resume")
        }
        AgentState::Healthy => Finding::ok(CHECK, "it is healthy"),
        AgentState::Starting => Finding::ok(CHECK, "it compares the disk for the first time"),
        AgentState::Degraded => Finding::warn(CHECK, "not all is seen", "stampd status"),
        AgentState::Parked => Finding::fail(CHECK, "a sink needs a person", "stampd status"),
    }];
    findings.push(if status.version == crate::VERSION {
        Finding::ok("version", format!("agent and tools are {}", crate::VERSION))
    } else {
        let text = format!("the agent is {}, this is {}", status.version, crate::VERSION);
        Finding::warn("version", text, "stampd service install --user")
    });
    findings
}

/// Whether this version can read the spool.
pub(super) fn spool(config: &Config) -> Finding {
    const CHECK: &str = "spool";
    match open_read_only(&config.spool.state_dir).and_then(|reader| reader.totals()) {
        Ok(totals) => Finding::ok(CHECK, format!("{} stamps are in it", totals.stamps)),
        Err(SpoolError::Missing { .. }) => Finding::ok(CHECK, "there is none yet"),
        Err(error @ SpoolError::Older { .. }) => {
            Finding::warn(CHECK, format!("failed to {error}"), "stampd run")
        }
        Err(error) => Finding::fail(CHECK, format!("failed to {error}"), "stampd status"),
    }
}

/// Every road of the config, climbed to its far end.
pub(super) fn roads(config: &Config) -> anyhow::Result<Vec<Finding>> {
    const CHECK: &str = "road";
    let of_road = |ladder: netcheck::Ladder| {
        let name = ladder.road;
        match ladder.fallen {
            None => Finding::ok(CHECK, format!("{name}: every rung holds")),
            Some(rung) => {
                let text = format!("{name}: {}", rung.text);
                let mend = format!("stampd netcheck {name}");
                match rung.class {
                    Class::Park => Finding::fail(CHECK, text, mend),
                    // Offline is a normal state.
                    _ => Finding::warn(CHECK, text, mend),
                }
            }
        }
    };
    Ok(netcheck::ladders(config)?.into_iter().map(of_road).collect())
}
