//! `POST /query`: files by extension, path or name.

use axum::extract;
use serde_json::{Value, json};

use super::{chosen, file};
use crate::api::{Call, Problem, Reply, elapsed_ms};
use crate::onextree::Tree;
use crate::onextree::asked::Asked;
use crate::onextree::live::Shelf;
use crate::onextree::query::{Kind, Query};

/// Files in the order of repos and paths.
pub(in crate::onextree) async fn query(
    extract::State(tree): extract::State<Tree>,
    call: Call,
    mut asked: Asked,
) -> Result<Reply, Problem> {
    let text = asked.required("query")?;
    let queries = understood(&text, asked.kind()?)?;
    let limit = asked.limit("limit")?;
    let project = asked.project()?;
    let found = tree.live.ask(move |shelves| {
        let shelves = chosen(shelves, project.as_deref())?;
        let mut found = (Kind::Name, Vec::new());
        for query in &queries {
            found = (query.kind(), find(&shelves, query, limit + 1));
            if !found.1.is_empty() {
                break;
            }
        }
        Ok(found)
    });
    let (kind, mut results) = found.await?;
    let has_more = results.len() > limit;
    results.truncate(limit);
    let data = json!({
        "success": true,
        "query": text,
        "query_type": kind.as_str(),
        "count": results.len(),
        "has_more": has_more,
        "results": results,
        "execution_time_ms": elapsed_ms(call.started),
    });
    Ok(Reply::new("found", data).to(call.correlation_id))
}

/// What a text asks for. Where nobody said, `.env` is looked for as an extension and then as a name.
fn understood(text: &str, kind: Option<Kind>) -> Result<Vec<Query>, Problem> {
    let kinds = match kind {
        Some(kind) => vec![kind],
        None if Kind::of(text) == Kind::Extension => vec![Kind::Extension, Kind::Name],
        None => vec![Kind::of(text)],
    };
    let query = |kind| Query::parse(text, kind);
    let queries = kinds.into_iter().map(query).collect::<Result<_, _>>();
    queries.map_err(|error| Problem::field("query", &error.to_string()))
}

fn find(shelves: &[&Shelf], query: &Query, limit: usize) -> Vec<Value> {
    let mut results = Vec::new();
    for shelf in shelves {
        let catalog = shelf.held();
        let found = catalog.find(query).take(limit - results.len());
        results.extend(found.map(|(path, found)| file(&shelf.repo.name, path, found)));
    }
    results
}
