//! Stamps that a sink refused for good, in the agent's spool.

use serde::Serialize;
use serde_json::value::RawValue;

use super::Which;
use crate::cli::exit::{Exit, failed};
use crate::cli::place::Record;
use crate::cli::shell::{Format, Printer, Shell, print, print_json};
use crate::cli::table::{local, safe, table};
use crate::control::{Reply, Request};
use crate::model::batch::Entry;
use crate::model::stream::StreamId;
use crate::runtime::clock::Clock;
use crate::runtime::time::Timestamp;
use crate::spool::DeadStamp;

/// The sinks there can be.
pub(super) const SINKS: [&str; 3] = ["postgres", "kafka", "bridge"];

/// The identity of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Place {
    stream: StreamId,
    seq: u64,
}

impl std::str::FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "write STREAM/SEQ, as `stampd dlq ls` prints it";
        let (stream, seq) = text.split_once('/').ok_or(WRONG)?;
        let (stream, seq) = (stream.parse().map_err(|_| WRONG)?, seq.parse().map_err(|_| WRONG)?);
        Ok(Self { stream, seq })
    }
}

/// A dead letter, and whose.
#[derive(Debug)]
struct Dead {
    sink: &'static str,
    stamp: DeadStamp,
}

#[derive(Serialize)]
struct Shown<'a> {
    sink: &'a str,
    stream: StreamId,
    seq: u64,
    class: &'a str,
    code: &'a str,
    reason: &'a str,
    attempts: u64,
    since: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    dead_letters: Vec<Shown<'a>>,
}

fn letters(record: &Record, which: &Which) -> anyhow::Result<Vec<Dead>> {
    let mut letters = Vec::new();
    for sink in
        SINKS.into_iter().filter(|sink| which.sink.as_deref().is_none_or(|one| one == *sink))
    {
        letters.extend(record.reader.dead(sink)?.into_iter().map(|stamp| Dead { sink, stamp }));
    }
    Ok(letters)
}

fn find(record: &Record, place: Place, which: &Which) -> anyhow::Result<Vec<Dead>> {
    let mut letters = letters(record, which)?;
    letters.retain(|dead| dead.stamp.stream == place.stream && dead.stamp.seq == place.seq);
    if letters.is_empty() {
        let text = format!(
            "find the dead letter {}/{}: see `stampd dlq ls` for those there are",
            place.stream, place.seq
        );
        return Err(failed(Exit::NotFound, text));
    }
    Ok(letters)
}

impl Dead {
    fn shown(&self, stamp: Option<Box<RawValue>>) -> Shown<'_> {
        let Self { sink, stamp: dead } = self;
        Shown {
            sink,
            stream: dead.stream,
            seq: dead.seq,
            class: &dead.letter.class,
            code: &dead.letter.code,
            reason: &dead.letter.reason,
            attempts: dead.attempts,
            since: dead.since,
            stamp,
        }
    }
}

pub(super) fn list(shell: &Shell, which: &Which) -> anyhow::Result<Exit> {
    let record = Record::open(&shell.config()?)?;
    let letters = letters(&record, which)?;
    let shown = letters.iter().map(|dead| dead.shown(None));
    match shell.format {
        Format::Json => {
            print_json(&Document { schema: "stampd.dlq/v1", dead_letters: shown.collect() })?;
        }
        Format::Jsonl => shown.into_iter().try_for_each(|one| print_json(&one))?,
        Format::Human if letters.is_empty() => shell.note("there are no dead letters"),
        Format::Human => print(&as_table(&letters))?,
    }
    Ok(Exit::Fine)
}

fn as_table(letters: &[Dead]) -> String {
    let now = Clock::system().now();
    let head = ["SINK", "STAMP", "SINCE", "CODE", "REASON"].map(str::to_owned).to_vec();
    let row = |dead: &Dead| {
        let stamp = &dead.stamp;
        vec![
            dead.sink.to_owned(),
            format!("{}/{}", stamp.stream, stamp.seq),
            local(stamp.since, now),
            safe(&stamp.letter.code),
            safe(&stamp.letter.reason),
        ]
    };
    table(&std::iter::once(head).chain(letters.iter().map(row)).collect::<Vec<_>>())
}

pub(super) fn show(shell: &Shell, place: Place, which: &Which) -> anyhow::Result<Exit> {
    let record = Record::open(&shell.config()?)?;
    let letters = find(&record, place, which)?;
    let body = body(&record, place)?;
    let mut shown: Vec<_> = letters.iter().map(|dead| dead.shown(body.clone())).collect();
    match shell.format {
        Format::Json => {
            print_json(&Document { schema: "stampd.dlq/v1", dead_letters: shown })?;
        }
        Format::Jsonl => shown.drain(..).try_for_each(|one| print_json(&one))?,
        Format::Human => {
            let mut out = Printer::new();
            for dead in &letters {
                let letter = &dead.stamp.letter;
                out.line(&format!("sink      {}", dead.sink))?;
                out.line(&format!("code      {} ({})", safe(&letter.code), letter.class))?;
                out.line(&format!("reason    {}", safe(&letter.reason)))?;
                out.line(&format!("attempts  {}", dead.stamp.attempts))?;
                out.line(&format!("since     {}", dead.stamp.since))?;
            }
            let body = body.as_ref().map_or("(purged; only its leaf is kept)", |body| body.get());
            out.line(&format!("stamp     {body}"))?;
            out.finish()?;
        }
    }
    Ok(Exit::Fine)
}

/// Prints all of them with their bodies, one JSON document per line.
pub(super) fn export(shell: &Shell, which: &Which) -> anyhow::Result<Exit> {
    let record = Record::open(&shell.config()?)?;
    let mut out = Printer::new();
    for dead in letters(&record, which)? {
        let place = Place { stream: dead.stamp.stream, seq: dead.stamp.seq };
        out.line(&serde_json::to_string(&dead.shown(body(&record, place)?))?)?;
    }
    out.finish()?;
    Ok(Exit::Fine)
}

/// The body of a stamp, unless it was purged.
fn body(record: &Record, place: Place) -> anyhow::Result<Option<Box<RawValue>>> {
    let batch = record.reader.batch(place.stream, place.seq, 1, usize::MAX)?;
    Ok(match batch.entries.into_iter().next() {
        Some(Entry::Stamp(sealed)) => Some(RawValue::from_string(sealed.body)?),
        Some(Entry::Withheld { .. }) | None => None,
    })
}

pub(super) fn retry(shell: &Shell, place: Option<Place>, which: &Which) -> anyhow::Result<Exit> {
    let config = shell.config()?;
    let record = Record::open(&config)?;
    let letters = match place {
        Some(place) => find(&record, place, which)?,
        None => letters(&record, which)?,
    };
    if letters.is_empty() {
        shell.note("there are no dead letters");
    }
    for dead in &letters {
        let (stream, seq) = (dead.stamp.stream, dead.stamp.seq);
        let request = Request::DlqRetry { sink: dead.sink.to_owned(), stream, seq };
        match shell.ask(&config, &request, None)? {
            Reply::Done => shell.note(&format!("{} took {stream}/{seq}", dead.sink)),
            Reply::Unfinished { reason } => {
                let text = format!("deliver {stream}/{seq} to {}: {reason}", dead.sink);
                return Err(failed(Exit::Temporary, text));
            }
            Reply::Status(_) | Reply::Refused { .. } => {
                let text = "retry: the agent answered something else";
                return Err(failed(Exit::Unexpected, text));
            }
        }
    }
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_named_as_it_is_printed() {
        let text = "0193f0a2-0000-7000-8000-000000000001/42";
        let place: Place = text.parse().unwrap();
        assert_eq!(format!("{}/{}", place.stream, place.seq), text);
        for bad in ["", "42", "x/42", "0193f0a2-0000-7000-8000-000000000001/-1"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
