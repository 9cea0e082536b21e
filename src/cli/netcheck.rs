//! `stampd netcheck [kafka|postgres|bridge]`: the ladder to each road's far end, rung by rung.
//!
//! Looks and changes nothing. Exits 0 when every rung holds, 75 when the one that does not may hold
//! later, and 78 when it takes a person.

use serde::Serialize;

use super::exit::{Exit, failed};
use super::shell::{Format, Shell, block_on, print, print_json};
use super::table::{safe, table};
use crate::adapter::road;
use crate::config::{self, Config, Flags, Role};
use crate::model::class::Class;
use crate::model::rung::{Height, Rung, Step};
use crate::sink::Sink;
use crate::sink::bridge::Bridge;
use crate::sink::kafka;
use crate::sink::postgres::Postgres;
use crate::sync::probe;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this one [default: every road of the config]
    road: Option<Road>,
    /// As the adapter is configured, also by the variables of older services
    #[arg(long)]
    adapter: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Road {
    Kafka,
    Postgres,
    Bridge,
}

/// A road and its ladder.
#[derive(Serialize)]
pub(super) struct Ladder {
    pub(super) road: &'static str,
    holds: bool,
    rungs: Vec<Shown>,
    #[serde(skip)]
    pub(super) fallen: Option<Rung>,
}

#[derive(Serialize)]
struct Shown {
    rung: &'static str,
    holds: bool,
    text: String,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    roads: Vec<Ladder>,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let role = if args.adapter { Role::Adapter } else { Role::Agent };
    let config = config::load(&Flags { role, ..shell.flags() }, &shell.environment)?;
    let roads = block_on(climb(&config, args))??;
    if roads.is_empty() {
        let name = args.road.map_or("[kafka], [postgres] or [bridge]", Road::section);
        let text = format!("check a road: write {name} into the config first");
        return Err(failed(Exit::Config, text));
    }
    let fallen: Vec<Class> =
        roads.iter().filter_map(|road| road.fallen.as_ref()).map(|rung| rung.class).collect();
    match shell.format {
        Format::Human => print(&text(&roads))?,
        Format::Json => print_json(&Document { schema: "stampd.netcheck/v1", roads })?,
        Format::Jsonl => roads.iter().try_for_each(print_json)?,
    }
    Ok(match fallen.as_slice() {
        [] => Exit::Fine,
        some if some.contains(&Class::Park) => Exit::Config,
        _ => Exit::Temporary,
    })
}

/// Climbs every road of an agent's config.
pub(super) fn ladders(config: &Config) -> anyhow::Result<Vec<Ladder>> {
    block_on(climb(config, &Args { road: None, adapter: false }))?
}

impl Road {
    const fn section(self) -> &'static str {
        match self {
            Self::Kafka => "[kafka]",
            Self::Postgres => "[postgres]",
            Self::Bridge => "[bridge]",
        }
    }
}

async fn climb(config: &Config, args: &Args) -> anyhow::Result<Vec<Ladder>> {
    let is_asked = |road| args.road.is_none_or(|only| only == road);
    let mut ladders = Vec::new();
    if let Some(broker) = config.kafka.as_ref().filter(|_| is_asked(Road::Kafka)) {
        let mut steps = road::climb(broker).await;
        // The adapter reads; what it may not read, it says itself.
        if !args.adapter && steps.iter().all(|step| step.found.is_ok()) {
            steps.push(kafka::rights(broker).await);
        }
        ladders.push(Ladder::new("kafka", steps));
    }
    if let Some(postgres) = config.postgres.as_ref().filter(|_| is_asked(Road::Postgres)) {
        let sink = Postgres::new(postgres)?;
        ladders.push(Ladder::new("postgres", climb_to(sink, "the record").await));
    }
    if let Some(bridge) = config.bridge.as_ref().filter(|_| is_asked(Road::Bridge)) {
        let sink = Bridge::new(bridge)?;
        ladders.push(Ladder::new("bridge", climb_to(sink, "a bridge over the record").await));
    }
    Ok(ladders)
}

/// The rungs to a sink's first endpoint that holds, and the sink's own.
async fn climb_to(mut sink: impl Sink, what: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for endpoint in sink.endpoints() {
        steps = probe::steps(&endpoint).await;
        if steps.iter().all(|step| step.found.is_ok()) {
            break;
        }
    }
    if steps.iter().all(|step| step.found.is_ok()) {
        steps.push(match sink.probe().await {
            Ok(identity) => Step::holds(Height::Application, format!("{what} {}", identity.0)),
            Err(rung) => rung.into(),
        });
    }
    steps
}

impl Ladder {
    fn new(road: &'static str, steps: Vec<Step>) -> Self {
        let fallen = steps.iter().find_map(|step| step.found.clone().err());
        let shown = |step: Step| Shown {
            rung: step.height.as_str(),
            holds: step.found.is_ok(),
            text: step.found.unwrap_or_else(|rung| rung.text),
        };
        let rungs = steps.into_iter().map(shown).collect();
        Self { road, holds: fallen.is_none(), rungs, fallen }
    }
}

fn text(roads: &[Ladder]) -> String {
    let row = |road: &'static str| {
        move |rung: &Shown| {
            let held = if rung.holds { "holds" } else { "FAILS" };
            let cells = [road.to_owned(), rung.rung.to_owned(), held.to_owned(), safe(&rung.text)];
            cells.to_vec()
        }
    };
    let rows: Vec<_> =
        roads.iter().flat_map(|ladder| ladder.rungs.iter().map(row(ladder.road))).collect();
    table(&rows)
}
