//! `stampd status`: how everything is, for a person and for programs.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use super::exit::Exit;
use super::shell::{Format, Shell, print, print_json};
use super::table::{Ink, Palette, age, bytes, count, local, safe, span, table, uptime};
use crate::config::Config;
use crate::model::status::{
    AgentState, IntelligenceState, Pause, ReachState, RepoState, RepoStatus, SinkStatus, Status,
};
use crate::runtime::clock::Clock;
use crate::runtime::time::Timestamp;

/// A live agent answers at once; a stuck one shall not hang a script.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show it anew every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let config = shell.config()?;
    if !args.watch {
        return show(shell, &config, "");
    }
    let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    loop {
        show(shell, &config, clear)?;
        std::thread::sleep(EVERY);
    }
}

fn show(shell: &Shell, config: &Config, before: &str) -> anyhow::Result<Exit> {
    let status = shell.status(config, PATIENCE)?;
    match shell.format {
        Format::Human => {
            let text = render(&status, Clock::system().now(), shell.palette());
            print(&[before, &text].concat())?;
        }
        Format::Json | Format::Jsonl => print_json(&status)?,
    }
    Ok(match status.state {
        AgentState::Healthy | AgentState::Starting => Exit::Fine,
        AgentState::Degraded | AgentState::Parked => Exit::Degraded,
    })
}

fn render(status: &Status, now: Timestamp, palette: Palette) -> String {
    let mut out = format!(
        "stampd {}  agent up {}  {}\n",
        status.version,
        uptime(status.uptime_s),
        state_word(status.state, palette)
    );
    if let Some(pause) = &status.paused {
        out.push_str(&["paused ", &pause_span(pause, now), " → stampd resume\n"].concat());
    }
    let head = ["REPO", "FILES", "STAMPED", "LAST CHANGE", "COVERAGE"].map(str::to_owned).to_vec();
    let rows = status.repos.iter().map(|repo| repo_row(repo, now, palette));
    out.push_str(&table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    if !status.sinks.is_empty() {
        let head = ["SINK", "STATE", "CONFIRMED UP TO", "QUEUED", "OLDEST"].map(str::to_owned);
        let rows = status.sinks.iter().map(|sink| sink_row(sink, now, palette));
        out.push_str(&table(&std::iter::once(head.to_vec()).chain(rows).collect::<Vec<_>>()));
    }
    let spool = &status.spool;
    let size = bytes(spool.bytes);
    out.push_str(&["SPOOL  ", &count(spool.stamps), " stamps, ", &size, "\n"].concat());
    if let Some(api) = &status.api {
        let contents = count(api.contents);
        out.push_str(&["API    ", &api.listen, ", ", &contents, " contents stamped\n"].concat());
    }
    if let Some(onextree) = &status.onextree {
        out.push_str(&["ONEXTREE  ", &onextree.listen, "\n"].concat());
    }
    if let Some(intelligence) = &status.intelligence {
        let said = match intelligence.state {
            IntelligenceState::Healthy => "healthy",
            IntelligenceState::Degraded => "degraded: stamps go without it for now",
        };
        out.push_str(&["INTELLIGENCE  ", said, "\n"].concat());
    }
    for note in notes(status) {
        out.push_str(&["\n", &note, "\n"].concat());
    }
    out
}

/// Since when, and until when.
pub(super) fn pause_span(pause: &Pause, now: Timestamp) -> String {
    let since = format!("since {}", local(pause.since, now));
    let until = pause.until.map(|until| format!(" until {}", local(until, now)));
    since + &until.unwrap_or_default()
}

fn state_word(state: AgentState, palette: Palette) -> String {
    let (ink, word) = match state {
        AgentState::Healthy => (Ink::Good, "healthy"),
        AgentState::Degraded => (Ink::Wary, "degraded"),
        AgentState::Parked => (Ink::Bad, "parked"),
        AgentState::Starting => (Ink::Wary, "starting"),
    };
    palette.paint(ink, word)
}

fn repo_row(repo: &RepoStatus, now: Timestamp, palette: Palette) -> Vec<String> {
    let last = repo.last_change.map_or_else(|| "-".to_owned(), |time| age(time, now));
    vec![
        safe(&repo.name),
        count(repo.files),
        count(repo.files.saturating_sub(repo.pending)),
        last,
        coverage(repo, palette),
    ]
}

fn coverage(repo: &RepoStatus, palette: Palette) -> String {
    let state = match repo.state {
        RepoState::Starting => return palette.paint(Ink::Wary, "starting"),
        RepoState::Absent => return palette.paint(Ink::Bad, "absent"),
        RepoState::Watching => String::new(),
        RepoState::Degraded => format!(", {}", palette.paint(Ink::Wary, "degraded")),
    };
    let seen = &repo.coverage;
    let all = repo.files + seen.excluded + seen.unreadable;
    let permille = (repo.files * 1_000).checked_div(all).unwrap_or(1_000);
    let mut parts = vec![format!("{} excluded", count(seen.excluded))];
    if seen.unreadable > 0 {
        parts.push(format!("{} unreadable", count(seen.unreadable)));
    }
    if seen.directories_polled > 0 {
        parts.push(format!("{} directories polled", count(seen.directories_polled)));
    }
    format!("{}.{} % ({}){state}", permille / 10, permille % 10, parts.join(", "))
}

fn sink_row(sink: &SinkStatus, now: Timestamp, palette: Palette) -> Vec<String> {
    let confirmed = |time| format!("{} ({})", local(time, now), age(time, now));
    let oldest = sink.oldest.map_or_else(|| "-".to_owned(), |time| span(now.since(time)));
    vec![
        sink.name.clone(),
        reach_word(sink.state, palette),
        sink.confirmed_at.map_or_else(|| "-".to_owned(), confirmed),
        count(sink.queued),
        oldest,
        sink.reason.as_deref().map(safe).unwrap_or_default(),
    ]
}

fn reach_word(state: ReachState, palette: Palette) -> String {
    let (ink, word) = match state {
        ReachState::Disabled => return "disabled".to_owned(),
        ReachState::Offline => (Ink::Wary, "offline"),
        ReachState::Probing => (Ink::Wary, "probing"),
        ReachState::HalfOpen => (Ink::Wary, "half open"),
        ReachState::Online => (Ink::Good, "online"),
        ReachState::Degraded => (Ink::Wary, "degraded"),
        ReachState::Parked => (Ink::Bad, "parked"),
    };
    palette.paint(ink, word)
}

/// What needs a person, each with what to do.
fn notes(status: &Status) -> Vec<String> {
    let of_repo = |repo: &RepoStatus| {
        let reason = repo.reason.as_deref()?;
        Some(format!("{}: {}", safe(&repo.name), safe(reason)))
    };
    let of_sink = |sink: &SinkStatus| {
        let dead = sink.dead_letters;
        let plural = if dead == 1 { "" } else { "s" };
        let letters = format!("{dead} dead letter{plural} → stampd dlq ls --sink {}", sink.name);
        (dead > 0).then(|| format!("{}: {letters}", sink.name))
    };
    let repos = status.repos.iter().filter_map(of_repo);
    repos.chain(status.sinks.iter().filter_map(of_sink)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::{
        ApiStatus, Coverage, IntelligenceStatus, OnexTreeStatus, SCHEMA, SpoolStatus,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn sink(name: &str, state: ReachState) -> SinkStatus {
        SinkStatus {
            name: name.to_owned(),
            state,
            queued: 0,
            oldest: None,
            confirmed_at: None,
            reason: None,
            dead_letters: 0,
        }
    }

    #[test]
    fn a_person_sees_what_is_well_and_what_to_do_about_the_rest() {
        let status = Status {
            schema: SCHEMA.to_owned(),
            version: "0.3.0".to_owned(),
            state: AgentState::Healthy,
            uptime_s: 273_600,
            repos: vec![RepoStatus {
                name: "app\u{1b}[2J".to_owned(),
                path: "/src/app".to_owned(),
                namespace: "a.b.c".parse().unwrap(),
                state: RepoState::Watching,
                reason: None,
                files: 12_408,
                pending: 0,
                at: None,
                stamps: 40_000,
                last_change: Some(at(1_000 - 8)),
                coverage: Coverage { excluded: 214, ..Coverage::default() },
            }],
            sinks: vec![
                sink("postgres", ReachState::Online),
                SinkStatus {
                    queued: 1_204,
                    oldest: Some(at(1_000 - 1_320)),
                    reason: Some("certificate expired → stampd netcheck kafka".to_owned()),
                    dead_letters: 2,
                    ..sink("kafka", ReachState::Offline)
                },
            ],
            spool: SpoolStatus { stamps: 40_010, bytes: 9 << 20 },
            api: Some(ApiStatus { listen: "127.0.0.1:8057".to_owned(), contents: 1_250 }),
            intelligence: Some(IntelligenceStatus { state: IntelligenceState::Degraded }),
            onextree: Some(OnexTreeStatus { listen: "127.0.0.1:8058".to_owned() }),
            paused: None,
        };
        assert_eq!(
            render(&status, at(1_000), Palette { coloured: false }),
            "\
stampd 0.3.0  agent up 3d 4h  healthy
REPO          FILES   STAMPED  LAST CHANGE  COVERAGE
app\\u{1b}[2J  12 408  12 408   8 s ago      98.3 % (214 excluded)
SINK      STATE    CONFIRMED UP TO  QUEUED  OLDEST
postgres  online   -                0       -
kafka     offline  -                1 204   22 min  certificate expired → stampd netcheck kafka
SPOOL  40 010 stamps, 9.0 MiB
API    127.0.0.1:8057, 1 250 contents stamped
ONEXTREE  127.0.0.1:8058
INTELLIGENCE  degraded: stamps go without it for now

kafka: 2 dead letters → stampd dlq ls --sink kafka
"
        );
    }
}
