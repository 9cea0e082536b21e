//! Records that the adapter refused, in the database: as the adapter is configured, also by the
//! variables of older services.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::adapter::letters::Document;
use crate::adapter::retry::{Outcome, retry};
use crate::adapter::route::Topics;
use crate::cli::adapter;
use crate::cli::exit::{Exit, failed};
use crate::cli::shell::{Format, Printer, Shell, block_on, print, print_json};
use crate::cli::table::{local, safe, table};
use crate::config::{self, Flags, Role};
use crate::runtime::clock::Clock;
use crate::store::StoreError;
use crate::store::address::Address;
use crate::store::dead::{self, Letter, Which};
use crate::store::operations::Intake;

/// Letters fetched at once.
const FETCH: u32 = 100;

/// The letters of one database.
pub(super) struct Letters<'s> {
    shell: &'s Shell,
    topics: Topics,
    address: Address,
}

#[derive(Serialize)]
struct Shown<'l> {
    id: i64,
    published: bool,
    taken: bool,
    key: Option<String>,
    headers: Map<String, Value>,
    #[serde(flatten)]
    document: Document<'l>,
}

#[derive(Serialize)]
struct List<'l> {
    schema: &'static str,
    dead_letters: Vec<Shown<'l>>,
}

impl<'l> List<'l> {
    fn of(letters: &'l [Letter]) -> Self {
        Self { schema: "stampd.dlq.adapter/v1", dead_letters: letters.iter().map(shown).collect() }
    }
}

impl<'s> Letters<'s> {
    pub(super) fn open(shell: &'s Shell) -> anyhow::Result<Self> {
        let flags = Flags { role: Role::Adapter, ..shell.flags() };
        let config = config::load(&flags, &shell.environment)?;
        let adapter = adapter::of(&config)?;
        let address = Address::parse(&adapter.database).map_err(StoreError::from)?;
        Ok(Self { shell, topics: adapter.topics.clone(), address })
    }

    pub(super) fn list(&self, taken: bool) -> anyhow::Result<Exit> {
        let letters = block_on(self.fetch(taken))??;
        match self.shell.format {
            Format::Json => print_json(&List::of(&letters))?,
            Format::Jsonl => letters.iter().map(shown).try_for_each(|one| print_json(&one))?,
            Format::Human if letters.is_empty() => self.shell.note("there are no dead letters"),
            Format::Human => print(&as_table(&letters))?,
        }
        Ok(Exit::Fine)
    }

    pub(super) fn export(&self, taken: bool) -> anyhow::Result<Exit> {
        let mut out = Printer::new();
        for letter in block_on(self.fetch(taken))?? {
            out.line(&serde_json::to_string(&shown(&letter))?)?;
        }
        out.finish()?;
        Ok(Exit::Fine)
    }

    pub(super) fn show(&self, number: i64) -> anyhow::Result<Exit> {
        let letter = block_on(self.find(number))??;
        match self.shell.format {
            Format::Json => print_json(&List::of(&[letter]))?,
            Format::Jsonl => print_json(&shown(&letter))?,
            Format::Human => describe(&letter)?,
        }
        Ok(Exit::Fine)
    }

    pub(super) fn retry(&self, number: Option<i64>, value: Option<&Path>) -> anyhow::Result<Exit> {
        let value = value.map(|path| {
            std::fs::read(path).with_context(|| format!("read the value {}", path.display()))
        });
        let value = value.transpose()?;
        block_on(async {
            let mut letters = match number {
                Some(number) => vec![self.find(number).await?],
                None => self.fetch(false).await?,
            };
            if let (Some(value), [letter]) = (value, letters.as_mut_slice()) {
                letter.record.value = Some(value);
            }
            self.retry_each(&letters).await
        })?
    }

    /// Tries each; what is refused again is told, and does not stop the others.
    async fn retry_each(&self, letters: &[Letter]) -> anyhow::Result<Exit> {
        let mut intake = Intake::open(&self.address).await?;
        let mut refused = 0;
        for letter in letters {
            let text = match retry(&mut intake, &self.topics, letter).await? {
                Outcome::Taken => format!("{} is in effect", letter.id),
                Outcome::Refused(reason) => {
                    refused += 1;
                    format!("{} is refused again: {}", letter.id, safe(&reason.error_message))
                }
                Outcome::Foreign => {
                    refused += 1;
                    let topic = safe(&letter.record.topic);
                    format!("{} is of {topic}, which this config does not read", letter.id)
                }
            };
            self.shell.note(&text);
        }
        if letters.is_empty() {
            self.shell.note("there are no dead letters");
        }
        if refused > 0 {
            let text = format!("retry {refused} of {} dead letters: see above", letters.len());
            return Err(failed(Exit::Degraded, text));
        }
        Ok(Exit::Fine)
    }

    async fn find(&self, number: i64) -> anyhow::Result<Letter> {
        let mut intake = Intake::open(&self.address).await?;
        let found = dead::fetch(intake.session(), Which::Every, number - 1, 1).await?;
        found.into_iter().find(|letter| letter.id == number).ok_or_else(|| {
            let text = format!(
                "find the dead letter {number}: see `stampd dlq ls --adapter` for those there are"
            );
            failed(Exit::NotFound, text)
        })
    }

    async fn fetch(&self, taken: bool) -> anyhow::Result<Vec<Letter>> {
        let which = if taken { Which::Every } else { Which::Open };
        let mut intake = Intake::open(&self.address).await?;
        let mut letters: Vec<Letter> = Vec::new();
        loop {
            let after = letters.last().map_or(0, |letter| letter.id);
            let more = dead::fetch(intake.session(), which, after, FETCH).await?;
            let is_last = more.len() < FETCH as usize;
            letters.extend(more);
            if is_last {
                return Ok(letters);
            }
        }
    }
}

fn shown(letter: &Letter) -> Shown<'_> {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let headers = letter.record.headers.iter();
    Shown {
        id: letter.id,
        published: letter.published,
        taken: letter.resolved,
        key: letter.record.key.as_ref().map(text),
        headers: headers
            .map(|(name, value)| (name.clone(), value.as_ref().map(text).into()))
            .collect(),
        document: Document::of(letter),
    }
}

/// Prints one letter with all that is known of it.
fn describe(letter: &Letter) -> anyhow::Result<()> {
    let (record, reason) = (&letter.record, &letter.reason);
    let mut out = Printer::new();
    let topic = safe(&record.topic);
    out.line(&format!("record    {topic}/{}/{}", record.partition, record.offset))?;
    out.line(&format!("sent      {}", record.sent))?;
    out.line(&format!("failed    {}, tried again {} times", letter.failed_at, letter.retry_count))?;
    out.line(&format!("reason    {} ({})", safe(&reason.error_message), reason.error_type))?;
    out.line(&format!("context   {}", safe(&reason.error_context.to_string())))?;
    if let Some(key) = &record.key {
        out.line(&format!("key       {}", safe(&String::from_utf8_lossy(key))))?;
    }
    for (name, value) in &record.headers {
        let value = String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
        out.line(&format!("header    {}: {}", safe(name), safe(&value)))?;
    }
    let value = record.value.as_deref().map(String::from_utf8_lossy);
    let value = value.map_or_else(|| "(none)".to_owned(), |value| safe(&value));
    out.line(&format!("value     {value}"))?;
    out.finish()
}

fn as_table(letters: &[Letter]) -> String {
    let now = Clock::system().now();
    let head = ["NUMBER", "RECORD", "FAILED", "TYPE", "REASON"].map(str::to_owned).to_vec();
    let row = |letter: &Letter| {
        let record = &letter.record;
        vec![
            letter.id.to_string(),
            format!("{}/{}/{}", safe(&record.topic), record.partition, record.offset),
            local(letter.failed_at, now),
            safe(&letter.reason.error_type),
            safe(&letter.reason.error_message),
        ]
    };
    table(&std::iter::once(head).chain(letters.iter().map(row)).collect::<Vec<_>>())
}
