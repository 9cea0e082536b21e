//! `POST /knowledge/query`: files by a question in words, each with the directories that lead to it.

use axum::extract;
use serde_json::{Value, json};

use super::{chosen, file, node_id};
use crate::api::{Call, Problem, Reply};
use crate::onextree::Tree;
use crate::onextree::asked::{Asked, LIMIT};
use crate::onextree::live::{Held, Shelf};
use crate::onextree::words::{Ranked, rank};

/// Directories above a file, where no number is asked for.
const DEPTH: usize = 3;

/// The best files first.
pub(in crate::onextree) async fn query(
    extract::State(tree): extract::State<Tree>,
    call: Call,
    mut asked: Asked,
) -> Result<Reply, Problem> {
    let query = asked.words("query")?;
    let depth = asked.count("max_depth", DEPTH)?;
    let filters = asked.filters()?;
    let told = tree.live.ask(move |shelves| {
        let shelves = chosen(shelves, filters.project.as_deref())?;
        let held: Vec<Held<'_>> = shelves.iter().map(|shelf| shelf.held()).collect();
        let catalogs: Vec<_> = held.iter().map(|held| &**held).collect();
        let answer = rank(&query, &catalogs, LIMIT);
        let files: Vec<_> =
            answer.files.iter().filter(|file| filters.lets_pass(file.path)).collect();
        Ok(json!({
            "results": files.iter().map(|file| result(&shelves, file)).collect::<Vec<_>>(),
            "paths": files.iter().map(|file| trail(&shelves, file, depth)).collect::<Vec<_>>(),
            "metadata": {"words": answer.words, "words_met": answer.met, "max_depth": depth},
        }))
    });
    Ok(Reply::new("found", told.await?).to(call.correlation_id))
}

fn result(shelves: &[&Shelf], ranked: &Ranked<'_>) -> Value {
    let mut told = file(&shelves[ranked.repo].repo.name, ranked.path, ranked.file);
    told["score"] = ranked.score.into();
    told
}

/// The nodes from so many directories above a file down to it.
fn trail(shelves: &[&Shelf], ranked: &Ranked<'_>, depth: usize) -> Vec<String> {
    let repo = &shelves[ranked.repo].repo.name;
    let slashes = memchr::memchr_iter(b'/', ranked.path).map(|slash| &ranked.path[..slash]);
    let above: Vec<&[u8]> = std::iter::once(&b""[..]).chain(slashes).collect();
    let skipped = above.len().saturating_sub(depth);
    let nodes = above.into_iter().skip(skipped).chain([ranked.path]);
    nodes.map(|path| node_id(repo, path)).collect()
}
