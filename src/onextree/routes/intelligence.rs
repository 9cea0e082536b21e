//! `POST /intelligence`: what the tree says of a context in words: the files that it tells of, where
//! they lie, and what belongs to what.

use axum::extract;
use serde_json::{Value, json};

use crate::api::{Call, Problem, Reply};
use crate::onextree::Tree;
use crate::onextree::asked::Asked;
use crate::onextree::live::{Held, Shelf};
use crate::onextree::relate::{patterns, relationships};
use crate::onextree::words::{Answer, rank};

/// Files that an answer is made from.
const FILES_MAX: usize = 200;

/// Files that are named in a recommendation.
const NAMED_MAX: usize = 5;

/// Tells what belongs to a context.
pub(in crate::onextree) async fn intelligence(
    extract::State(tree): extract::State<Tree>,
    call: Call,
    mut asked: Asked,
) -> Result<Reply, Problem> {
    let context = asked.words("context")?;
    let with_patterns = asked.switch("include_patterns")?;
    let with_relationships = asked.switch("include_relationships")?;
    let told = tree.live.ask(move |shelves| {
        let held: Vec<Held<'_>> = shelves.iter().map(Shelf::held).collect();
        let catalogs: Vec<_> = held.iter().map(|held| &**held).collect();
        let answer = rank(&context, &catalogs, FILES_MAX);
        let files: usize = catalogs.iter().map(|catalog| catalog.len()).sum();
        let mut data = data(&answer, files);
        if with_patterns {
            data["patterns"] = patterns(&answer.files).into();
        }
        if with_relationships {
            data["relationships"] = related(&answer);
        }
        Ok(data)
    });
    Ok(Reply::new("analysed", told.await?).to(call.correlation_id))
}

fn data(answer: &Answer<'_>, files: usize) -> Value {
    json!({
        "intelligence": {
            "analysis_type": "structure",
            "confidence_score": confidence(answer),
            "recommendations": recommendation(answer, files),
        },
        "patterns": [],
        "relationships": [],
        "metadata": {
            "tree_loaded": true,
            "files_scanned": files,
            "nodes_analyzed": answer.files.len(),
        },
    })
}

/// The share of the words that stand in some path.
fn confidence(answer: &Answer<'_>) -> f64 {
    let [words, met] = [answer.words, answer.met].map(|count| count as u32);
    (f64::from(met) / f64::from(words.max(1)) * 100.0).round() / 100.0
}

fn recommendation(answer: &Answer<'_>, files: usize) -> String {
    if answer.files.is_empty() {
        return format!("None of {files} files has one of these words in its path.");
    }
    let path = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let best: Vec<_> = answer.files.iter().take(NAMED_MAX).map(|file| path(file.path)).collect();
    format!("Begin with {}.", best.join(", "))
}

fn related(answer: &Answer<'_>) -> Value {
    let path = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let pairs = relationships(&answer.files).into_iter().map(|pair| {
        json!({
            "source": path(pair.source.path),
            "target": path(pair.target.path),
            "type": pair.kind,
        })
    });
    pairs.collect()
}
