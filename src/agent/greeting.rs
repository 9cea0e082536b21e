//! The greeting: for a person who starts the agent by hand, what is watched, the first stamps and
//! what to type next. Goes to stderr; a service never prints it.

use std::convert::Infallible;
use std::io::{self, Write as _};

use super::roster::{Roster, Tracked};
use super::upkeep::all_compared;
use crate::model::batch::Entry;
use crate::model::path::write_escaped;
use crate::model::stamp::Sealed;
use crate::model::status::RepoState;
use crate::model::stream::StreamId;
use crate::runtime::supervisor::Supervisor;
use crate::spool::{Reader, Spool, SpoolError};

/// How many stamps are shown of the first comparison, and how many after it.
const FIRST_SHOWN: usize = 5;
const LIVE_SHOWN: usize = 20;

/// The most that is read at a time.
const ROWS_MAX: usize = 64;
const BYTES_MAX: usize = 1 << 20;

const NEXT: &str = "
Edit a file and see its stamp here. In another terminal:
  stampd status        how everything is
  stampd log PATH      what happened to a file
  stampd verify        whether the files are as stamped
Ctrl-C ends.

";

pub(super) fn start(
    roster: &Roster,
    spool: &Spool,
    supervisor: &mut Supervisor,
) -> Result<(), SpoolError> {
    let (roster, reader, token) = (roster.clone(), spool.reader()?, supervisor.token());
    let mut commits = spool.commits();
    supervisor.spawn_short("greeting", async move {
        let greeting = async {
            all_compared(roster.clone()).await;
            let mut shown = Shown::greet(&roster.tracked(), reader);
            while shown.left > 0 && commits.changed().await.is_ok() {
                shown.show_new();
            }
        };
        token.run_until_cancelled(greeting).await;
        Ok::<_, Infallible>(())
    });
    Ok(())
}

/// What has been shown so far.
struct Shown {
    reader: Reader,
    /// The newest stream of each repo, with how many of its stamps were taken before.
    streams: Vec<(StreamId, u64)>,
    left: usize,
}

impl Shown {
    fn greet(repos: &[Tracked], reader: Reader) -> Self {
        let heads = reader.streams().unwrap_or_default();
        let mut lines = String::new();
        let mut streams = Vec::new();
        for repo in repos {
            lines.push_str(&introduce(repo));
            let Some(head) = heads.iter().rfind(|head| head.repo == repo.repo) else { continue };
            let from = head.size.saturating_sub(4 * FIRST_SHOWN as u64);
            let newest = stamps(&reader, head.stream, from);
            let of_paths = newest.iter().rev().filter(|sealed| sealed.stamp.path.is_some());
            lines.extend(of_paths.take(FIRST_SHOWN).map(line));
            streams.push((head.stream, head.size));
        }
        lines.push_str(NEXT);
        print(&lines);
        Self { reader, streams, left: LIVE_SHOWN }
    }

    fn show_new(&mut self) {
        for (stream, taken) in &mut self.streams {
            let fresh = stamps(&self.reader, *stream, *taken);
            *taken += fresh.len() as u64;
            for sealed in fresh.iter().take(self.left) {
                self.left -= 1;
                print(&line(sealed));
            }
        }
        if self.left == 0 {
            print("Further stamps are not shown here; see `stampd log --all`.\n");
        }
    }
}

/// The stamps of a stream from `from` on, at most a screenful. What cannot be read is not shown: the
/// greeting is no place for errors.
fn stamps(reader: &Reader, stream: StreamId, from: u64) -> Vec<Sealed> {
    let batch = reader.batch(stream, from, ROWS_MAX, BYTES_MAX);
    let entries = batch.map(|batch| batch.entries).unwrap_or_default();
    let sealed = entries.into_iter().filter_map(|entry| match entry {
        Entry::Stamp(sealed) => Some(*sealed),
        Entry::Withheld { .. } => None,
    });
    sealed.collect()
}

fn introduce(repo: &Tracked) -> String {
    let shown = repo.view.snapshot();
    let path = repo.config.path.display();
    match shown.state {
        RepoState::Absent => {
            let reason = shown.reason.unwrap_or_default();
            format!("{} is absent: {reason}\n", repo.config.name)
        }
        _ => format!(
            "{} watches {path}: {} files in {} directories ({} excluded), as {}\n",
            repo.config.name,
            shown.files,
            shown.coverage.directories_watched,
            shown.coverage.excluded,
            repo.config.namespace,
        ),
    }
}

/// One stamp for a person: kind, the start of the digest, path.
fn line(sealed: &Sealed) -> String {
    let stamp = &sealed.stamp;
    let digest = stamp.digest.map(|digest| digest.to_string()).unwrap_or_default();
    let kind = stamp.kind.as_str();
    let mut text = format!("  {kind:<10} {:<16} ", digest.get(..16).unwrap_or("-"));
    if let Some(path) = &stamp.path {
        write_escaped(&mut text, path.as_bytes()).expect("writing to memory cannot fail");
    }
    text.push('\n');
    text
}

fn print(text: &str) {
    // A terminal that was closed takes no greeting, and that is no reason to stop.
    let _ = io::stderr().write_all(text.as_bytes());
}
