//! `GET /stats`: how much there is, in all and by repo.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::extract;
use serde_json::{Value, json};

use super::megabytes;
use crate::api::{Call, Problem, Reply};
use crate::model::status::RepoState;
use crate::onextree::Tree;
use crate::onextree::catalog::Sums;

/// Extensions that are told, the most frequent ones.
const EXTENSIONS_MAX: usize = 20;

/// Counts everything.
pub(in crate::onextree) async fn stats(
    extract::State(tree): extract::State<Tree>,
    call: Call,
) -> Result<Reply, Problem> {
    let counted = tree.live.ask(|shelves| {
        let counted = shelves
            .iter()
            .map(|shelf| (shelf.repo.name.clone(), (shelf.repo.seen)(), shelf.held().sums()));
        Ok(counted.collect::<Vec<_>>())
    });
    let counted = counted.await?;
    let mut all = Sums::default();
    for (_, _, sums) in &counted {
        all.add(sums);
    }
    let repos: Vec<Value> =
        counted.iter().map(|(name, state, sums)| repo(name, *state, sums)).collect();
    let data = json!({
        "total_files": all.files,
        "total_directories": all.directories,
        "total_size_mb": megabytes(all.bytes),
        "file_types": most_frequent(all),
        "repos": repos,
        "uptime_seconds": tree.started.elapsed().as_secs_f64(),
    });
    Ok(Reply::new("counted", data).to(call.correlation_id))
}

fn repo(name: &str, state: RepoState, sums: &Sums) -> Value {
    json!({
        "name": name,
        "state": state,
        "total_files": sums.files,
        "total_directories": sums.directories,
        "total_size_mb": megabytes(sums.bytes),
    })
}

fn most_frequent(sums: Sums) -> BTreeMap<String, u64> {
    let mut extensions: Vec<_> = sums.extensions.into_iter().collect();
    extensions.sort_unstable_by(|(one, ones), (other, others)| {
        (Reverse(ones), one).cmp(&(Reverse(others), other))
    });
    extensions.into_iter().take(EXTENSIONS_MAX).collect()
}
