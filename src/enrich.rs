//! Enrichment: what an intelligence service says of contents, asked for within a budget and kept by
//! digest.
//!
//! Promises: no stamp waits for it but one whose caller asked for that, and that one no longer than
//! the budget; a service that is slow, gone or wrong takes nothing from a stamp but its word, and is
//! left alone for a while. What is kept is bounded in bytes, and so is what waits to be asked.
//!
//! Leaves to others: where the word stands in a stamp (`model`), and what a caller is told (`api`).

mod cache;
mod outage;
mod road;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use self::cache::{Cache, Said};
use self::outage::Outage;
pub use self::road::EnrichError;
use self::road::Road;
use crate::model::digest::Digest;
use crate::model::intelligence::{self, Intelligence};
use crate::model::path::RepoPath;
use crate::runtime::chain::chain;
use crate::runtime::metrics::{Counter, Counters, Gauge, Metrics};
use crate::runtime::secret::Secret;

/// Requests under way at a time.
const REQUESTS_MAX: usize = 16;

/// Contents of files that may wait to be asked about; further ones are asked about another time.
const WANTED_MAX: usize = 1_024;

/// Bytes of what is asked about; OnexTree takes no more.
const CONTEXT_BYTES_MAX: usize = 1_024;

/// Where the service is, and how long it may take.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http[s]://host[:port]`; its `/intelligence` is asked.
    pub url: String,
    /// What the service asks callers for, if anything.
    pub token: Option<Secret>,
    /// PEM file of the authorities to trust, instead of the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Allows plain HTTP off this machine.
    pub allow_insecure: bool,
    /// How long a stamp waits whose caller asked for it.
    pub budget: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            token: None,
            ca_file: None,
            allow_insecure: false,
            budget: Duration::from_millis(500),
        }
    }
}

/// Asks the service, or answers in its place; clones share what is kept.
#[derive(Clone)]
pub struct Enricher(Arc<Shared>);

struct Shared {
    road: Road,
    budget: Duration,
    cache: Cache,
    outage: Outage,
    seats: Semaphore,
    wanted: mpsc::Sender<(Digest, RepoPath)>,
    counts: Counts,
}

#[derive(Debug)]
struct Counts {
    requests: Counters<1>,
    hits: Counter,
    degraded: Gauge,
}

/// Asks about contents of files, one after the other, for the next time that they are stamped.
pub struct Fetcher {
    enricher: Enricher,
    wanted: mpsc::Receiver<(Digest, RepoPath)>,
}

/// How long a service that fails is left alone: at first, and at most.
pub const PAUSES: (Duration, Duration) = (outage::PAUSE_FIRST, outage::PAUSE_MAX);

/// The limits that the contract names, each with the name that it has there.
pub fn limits() -> [(&'static str, u64); 4] {
    [
        ("answer_bytes_max", road::REPLY_BYTES_MAX as u64),
        ("answers_bytes_max", cache::BYTES_MAX as u64),
        ("intelligence_bytes_max", intelligence::BYTES_MAX as u64),
        ("requests_max", REQUESTS_MAX as u64),
    ]
}

/// The names of everything that is counted here.
pub fn metric_names() -> BTreeSet<String> {
    let metrics = Metrics::new();
    let _ = Counts::new(&metrics);
    metrics.names()
}

/// Checks a config without preparing anything.
pub fn check(config: &Config) -> Result<(), EnrichError> {
    road::url_of(config).map(drop)
}

/// Prepares to ask; connects to nothing.
///
/// # Errors
/// When the config leads nowhere, or nobody can be trusted on the way.
pub fn new(config: &Config, metrics: &Metrics) -> Result<(Enricher, Fetcher), EnrichError> {
    let (wanting, wanted) = mpsc::channel(WANTED_MAX);
    let enricher = Enricher(Arc::new(Shared {
        road: Road::new(config)?,
        budget: config.budget,
        cache: Cache::default(),
        outage: Outage::default(),
        seats: Semaphore::new(REQUESTS_MAX),
        wanted: wanting,
        counts: Counts::new(metrics),
    }));
    Ok((enricher.clone(), Fetcher { enricher, wanted }))
}

impl Enricher {
    /// What is said of a content, within the budget; of a service that is away, that it is.
    pub async fn ask(&self, digest: &Digest, context: &str) -> Map<String, Value> {
        match self.said(digest, context).await {
            Some(said) => said.object.clone(),
            None => Map::from_iter([("degraded".to_owned(), true.into())]),
        }
    }

    /// What was said of the content of a file, from what is kept alone. What is not kept is asked for
    /// meanwhile, if there is room and the service is there.
    pub fn known(&self, digest: &Digest, path: &RepoPath) -> Option<Intelligence> {
        let Shared { cache, outage, wanted, counts, .. } = &*self.0;
        if let Some(said) = cache.get(digest) {
            counts.hits.inc();
            return Some(said.canonical.clone());
        }
        if !outage.lasts(Instant::now()) {
            // Full: this one is asked about when it is stamped again.
            let _ = wanted.try_send((*digest, path.clone()));
        }
        None
    }

    /// Whether the service did not answer when it was last asked.
    pub fn is_degraded(&self) -> bool {
        self.0.outage.is_open()
    }

    async fn said(&self, digest: &Digest, context: &str) -> Option<Arc<Said>> {
        let Shared { road, budget, cache, outage, seats, counts, .. } = &*self.0;
        if let Some(said) = cache.get(digest) {
            counts.hits.inc();
            return Some(said);
        }
        if outage.lasts(Instant::now()) {
            counts.asked("skipped");
            return None;
        }
        let question = json!({
            "context": shortened(context),
            "include_patterns": true,
            "include_relationships": true,
            "file_hash": digest.to_string(),
        });
        let asking = async {
            let _seat = seats.acquire().await.expect("the seats are never closed");
            road.ask(&question).await
        };
        let answer = tokio::time::timeout(*budget, asking).await;
        let answer = answer.unwrap_or(Err(EnrichError::Slow(*budget)));
        match answer {
            Ok(said) => {
                outage.ended();
                counts.answered();
                Some(cache.keep(*digest, said))
            }
            Err(error @ EnrichError::Refused(_)) => {
                counts.asked("refused");
                tracing::debug!(%error, "a stamp goes without intelligence");
                None
            }
            Err(error) => {
                counts.failed();
                if let Some(pause) = outage.began(Instant::now()) {
                    let (error, pause_s) = (chain(&error), pause.as_secs());
                    tracing::warn!(%error, pause_s, "stamps go without intelligence for now");
                }
                None
            }
        }
    }
}

/// What a service takes of a context: the end of a path says more than its beginning.
fn shortened(context: &str) -> &str {
    let begin = context.ceil_char_boundary(context.len().saturating_sub(CONTEXT_BYTES_MAX));
    match context[begin..].trim() {
        "" => "content",
        context => context,
    }
}

impl Fetcher {
    /// Works until the stop.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            // Both arms are cancel-safe: what was received and not asked is asked another time.
            let wanted = tokio::select! {
                () = stop.cancelled() => break,
                wanted = self.wanted.recv() => wanted,
            };
            let Some((digest, path)) = wanted else { break };
            let context = path.to_lossy();
            let asking = self.enricher.said(&digest, &context);
            tokio::select! {
                () = stop.cancelled() => break,
                _ = asking => {}
            }
        }
        Ok(())
    }
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counters(
                "stampd_enrich_requests_total",
                "Times that the intelligence service was asked, or left alone, by outcome.",
                ["status"],
            ),
            hits: metrics.counter(
                "stampd_enrich_cache_hits_total",
                "Stamps whose content was known already.",
            ),
            degraded: metrics.gauge(
                "stampd_enrich_degraded",
                "1 while the intelligence service does not answer.",
            ),
        }
    }

    fn asked(&self, status: &str) {
        self.requests.of([status]).inc();
    }

    fn answered(&self) {
        self.asked("success");
        self.degraded.set(0.0);
    }

    fn failed(&self) {
        self.asked("error");
        self.degraded.set(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_what_a_service_takes() {
        let long = format!("ä{}/main.rs", "ä".repeat(CONTEXT_BYTES_MAX));
        assert!(shortened(&long).ends_with("/main.rs"));
        assert!(shortened(&long).len() <= CONTEXT_BYTES_MAX);
        assert_eq!((shortened("src/a b.rs"), shortened(" ")), ("src/a b.rs", "content"));
    }
}
