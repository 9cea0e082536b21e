//! `POST /generate`: the tree of one repo, which is there already; the reply says how large it is.

use axum::extract;
use serde_json::json;

use super::{chosen, megabytes};
use crate::api::{Call, Problem, Reply, elapsed_ms};
use crate::onextree::Tree;
use crate::onextree::asked::Asked;

/// Counts a configured repo.
pub(in crate::onextree) async fn generate(
    extract::State(tree): extract::State<Tree>,
    call: Call,
    mut asked: Asked,
) -> Result<Reply, Problem> {
    let project = asked.project()?.ok_or_else(|| Problem::field("project_root", "is required"))?;
    let counted = tree.live.ask(move |shelves| {
        let shelf = chosen(shelves, Some(&project))?[0];
        Ok((shelf.repo.name.clone(), shelf.held().sums()))
    });
    let (repo, sums) = counted.await?;
    let data = json!({
        "success": true,
        "repo": repo,
        "total_files": sums.files,
        "total_directories": sums.directories,
        "total_size_mb": megabytes(sums.bytes),
        "generation_time_ms": elapsed_ms(call.started),
    });
    Ok(Reply::new("generated", data).to(call.correlation_id))
}
