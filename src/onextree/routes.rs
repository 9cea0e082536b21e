//! The routes, one file for each, and what their replies have in common.

pub(super) mod find;
pub(super) mod generate;
pub(super) mod health;
pub(super) mod intelligence;
pub(super) mod knowledge;
pub(super) mod navigate;
pub(super) mod root;
pub(super) mod stats;

use serde_json::{Value, json};

use super::catalog::File;
use super::live::Shelf;
use super::query::{extension_of, name_of};
use crate::api::{Code, Problem};
use crate::model::path::RepoPath;

/// A file as replies tell it.
fn file(repo: &str, path: &[u8], file: File) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let name = name_of(path);
    let mut told = json!({
        "path": text(path),
        "name": text(name),
        "type": if file.is_link { "symlink" } else { "file" },
        "size": file.size,
        "extension": extension_of(name).map(text),
        "repo": repo,
    });
    let base64 = RepoPath::new(path).and_then(|path| path.to_base64());
    if let Some(base64) = base64 {
        told["path_b64"] = base64.into();
    }
    told
}

/// The repos that a caller asks about: one, or all.
fn chosen<'a>(shelves: &'a [Shelf], project: Option<&str>) -> Result<Vec<&'a Shelf>, Problem> {
    let Some(project) = project else { return Ok(shelves.iter().collect()) };
    match shelves.iter().find(|shelf| shelf.is(project)) {
        Some(shelf) => Ok(vec![shelf]),
        None => Err(Problem {
            field: Some("project_root".to_owned()),
            ..Problem::new(
                Code::BadRequest,
                "project_root is no repo of this agent: name one of its [[repo]] sections",
            )
        }),
    }
}

/// A node of the tree, as callers name it.
fn node_id(repo: &str, path: &[u8]) -> String {
    let separator = if path.is_empty() { "" } else { "/" };
    format!("{repo}{separator}{}", String::from_utf8_lossy(path))
}

/// Bytes as megabytes, to the hundredth.
fn megabytes(bytes: u64) -> f64 {
    let hundredths = (u128::from(bytes) * 100) >> 20;
    f64::from(u32::try_from(hundredths).unwrap_or(u32::MAX)) / 100.0
}
