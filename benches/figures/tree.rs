//! OnexTree beside a fresh walk of the same tree, and what enrichment costs while its service is away.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::corpus::Corpus;
use crate::local::{end, home_over, home_with, latencies, start};
use crate::measure::{Pairs, ROUNDS, Table, alternate, median, quantile, seconds};
use crate::support::client::Client;
use crate::support::process::Home;

/// Times that each query is asked in a round.
const TIMES: usize = 50;

/// Nobody listens there.
const AWAY: &str = "[intelligence]\nurl = \"http://127.0.0.1:9\"\n";

/// What is asked: few and many answers, none, part of a name, the whole of a path.
fn queries() -> [Value; 6] {
    [
        json!({"query": ".rs"}),
        json!({"query": "main", "query_type": "name"}),
        json!({"query": "no such file", "query_type": "name"}),
        json!({"query": "src/lib", "query_type": "path", "limit": 1000}),
        json!({"query": "**/tests/*mod*.rs", "query_type": "path"}),
        json!({"query": "[a-z]*_[0-9]?.toml", "query_type": "name"}),
    ]
}

/// P11: from a question to its reply over HTTP, beside a walk with a stat of every file.
pub fn queries_of(corpus: &Corpus, table: &mut Table) {
    let home = home_with(&corpus.root, "[onextree]\nlisten = \"127.0.0.1:0\"\n");
    let (agent, _) = start(&home);
    let mut client = Client::connect(&listen(&home));
    let first = seconds(|| ask(&mut client, &queries()[0]));
    let (mut pairs, mut all, mut ratios) = (Pairs::default(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let ours = || round_of(&mut client);
        let (ours, walk) = alternate(round, ours, || seconds(|| walk(&corpus.root)));
        let asked = median(&ours);
        pairs.push(asked, walk);
        ratios.push(asked / walk);
        all.extend(ours);
    }
    let resident = agent.resident() as f64 / 1e6;
    drop(client);
    end(agent);
    let figure = format!("{:.4} × (p99 {:.2} ms)", median(&ratios), 1e3 * quantile(&all, 0.99));
    let detail = format!(
        "p50 {:.2} ms, first {:.0} ms, {resident:.0} MB resident, {} queries, {ROUNDS} rounds",
        1e3 * median(&all),
        1e3 * first,
        all.len()
    );
    table.add("P11", "OnexTree query : fresh walk with stat", figure, detail, "≤0.02");
}

fn round_of(client: &mut Client) -> Vec<f64> {
    let mut took = Vec::new();
    for query in queries() {
        for _ in 0..TIMES {
            let asked = Instant::now();
            ask(client, &query);
            took.push(asked.elapsed().as_secs_f64());
        }
    }
    took
}

fn ask(client: &mut Client, query: &Value) {
    let (status, reply) = client.post("/query", query);
    assert_eq!(status, 200, "{reply}");
}

fn listen(home: &Home) -> String {
    let status = home.must(&["status", "--format", "json"]);
    let status: Value = serde_json::from_str(&status).expect("status prints JSON");
    status["onextree"]["listen"].as_str().expect("it listens").to_owned()
}

/// On both cores, with a stat of every file, as whoever has no index must.
fn walk(root: &Path) {
    let walk = ignore::WalkBuilder::new(root).standard_filters(false).threads(2).build_parallel();
    walk.run(|| {
        Box::new(|entry| {
            let entry = entry.expect("the corpus is readable");
            std::hint::black_box(entry.metadata().expect("an entry has metadata"));
            ignore::WalkState::Continue
        })
    });
}

/// P12: first stamping and latency with a service that is away, beside the same without the section.
pub fn enrichment_away(corpus: &Corpus, table: &mut Table) {
    let stamping = |home: Home| {
        let (agent, took) = start(&home);
        end(agent);
        took
    };
    let mut pairs = Pairs::default();
    for round in 0..ROUNDS {
        let ours = || stamping(home_with(&corpus.root, AWAY));
        let (ours, peer) = alternate(round, ours, || stamping(home_over(&corpus.root)));
        pairs.push(ours, peer);
    }
    table.add_pair("P12", "first stamping, enrichment away : without", &pairs, "1.0");
    let (with, without) = alternate(0, || latencies(AWAY), || latencies(""));
    let figure = format!("{:+.2} ms p50", median(&with) - median(&without));
    let detail = format!(
        "settle + {:.2} : {:.2} ms p50, + {:.2} : {:.2} ms p99",
        median(&with),
        median(&without),
        quantile(&with, 0.99),
        quantile(&without, 0.99)
    );
    table.add("P12", "close() → durable stamp, enrichment away − without", figure, detail, "0");
}
