//! `GET /health`: whether questions are answered, and of how many files.

use axum::extract;
use axum::response::Response;
use serde_json::json;

use crate::api::{Problem, json_response};
use crate::model::status::RepoState;
use crate::onextree::Tree;

/// Flat, as old load balancers read it. Healthy is an index that is there and in step with the disk.
pub(in crate::onextree) async fn health(
    extract::State(tree): extract::State<Tree>,
) -> Result<Response, Problem> {
    let counted = tree.live.ask(|shelves| {
        let states: Vec<RepoState> = shelves.iter().map(|shelf| (shelf.repo.seen)()).collect();
        Ok((shelves.iter().map(|shelf| shelf.held().len()).sum::<usize>(), states))
    });
    let (total_files, states) = counted.await?;
    let healthy = states.iter().all(|state| *state == RepoState::Watching);
    Ok(json_response(&json!({
        "status": if healthy { "healthy" } else { "degraded" },
        "service": "stampd-onextree",
        "version": crate::VERSION,
        "tree_loaded": !states.contains(&RepoState::Starting),
        "total_files": total_files,
        "uptime_seconds": tree.started.elapsed().as_secs_f64(),
    })))
}
