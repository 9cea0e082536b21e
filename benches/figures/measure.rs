//! Medians of pairs, and the table they end in.

use std::fmt;
use std::time::{Duration, Instant};

use crate::corpus::Corpus;

/// Rounds of a pair that takes seconds.
pub const ROUNDS: usize = 7;

/// Lines of the one table.
pub struct Table {
    head: String,
    rows: Vec<[String; 5]>,
}

impl Table {
    /// An empty table over a corpus.
    pub fn new(corpus: &Corpus) -> Self {
        let head = format!(
            "corpus: {} files, {} directories, {} MB; ratios are medians of pairs (min–max), smaller \
             is faster unless it says rate\n",
            corpus.files,
            corpus.dirs,
            corpus.bytes / 1_000_000
        );
        Self { head, rows: Vec::new() }
    }

    /// Adds a row and shows it at once, since a whole run takes minutes.
    pub fn add(&mut self, number: &str, what: &str, figure: String, detail: String, goal: &str) {
        eprintln!("{number} {what}: {figure} ({detail}), goal {goal}");
        self.rows.push([number.to_owned(), what.to_owned(), figure, goal.to_owned(), detail]);
    }

    /// Adds the ratio of pairs.
    pub fn add_pair(&mut self, number: &str, what: &str, pairs: &Pairs, goal: &str) {
        self.add(number, what, pairs.to_string(), pairs.detail(), goal);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.head)?;
        writeln!(out, "| # | what | figure | goal | medians, rounds |\n|---|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(out, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

/// What both sides of each round came to, in seconds or per second.
#[derive(Default)]
pub struct Pairs {
    ours: Vec<f64>,
    peers: Vec<f64>,
}

impl Pairs {
    /// Adds a round.
    pub fn push(&mut self, ours: f64, peer: f64) {
        self.ours.push(ours);
        self.peers.push(peer);
    }

    fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.peers).map(|(ours, peer)| ours / peer).collect()
    }

    fn detail(&self) -> String {
        let (ours, peer) = (median(&self.ours), median(&self.peers));
        format!("{} : {}, {} rounds", short(ours), short(peer), self.ours.len())
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratios = self.ratios();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        write!(out, "{:.2} × ({least:.2}–{most:.2})", median(&ratios))
    }
}

fn short(value: f64) -> String {
    if value >= 1000.0 { format!("{:.1} k/s", value / 1000.0) } else { format!("{value:.3} s") }
}

/// The middle of the values.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which `part` of the values lie.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1).expect("something was measured");
    sorted[(last as f64 * part).round() as usize]
}

/// How long the work takes, in seconds.
pub fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Runs both sides of a round, the first one alternating, so that neither always meets the caches
/// and the dirty pages that the other left.
pub fn alternate<A, B>(
    round: usize,
    mut ours: impl FnMut() -> A,
    mut peer: impl FnMut() -> B,
) -> (A, B) {
    if round.is_multiple_of(2) {
        let first = ours();
        (first, peer())
    } else {
        let first = peer();
        (ours(), first)
    }
}

/// Milliseconds with one decimal.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
