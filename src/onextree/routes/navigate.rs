//! `POST /tree/navigate`: from a node of the tree to what holds it and what it holds.
//!
//! A node is a repo, a directory or a file; its id is the name of the repo, and `/` and the path below
//! it. A path alone is looked for in every repo.

use std::collections::VecDeque;

use axum::extract;
use serde_json::{Value, json};

use super::{file, node_id};
use crate::api::{Call, Code, Problem, Reply};
use crate::onextree::Tree;
use crate::onextree::asked::{Asked, Direction};
use crate::onextree::catalog::{Catalog, Child};
use crate::onextree::live::Shelf;
use crate::onextree::query::name_of;

/// Nodes and edges around a node.
pub(in crate::onextree) async fn navigate(
    extract::State(tree): extract::State<Tree>,
    call: Call,
    mut asked: Asked,
) -> Result<Reply, Problem> {
    let start = asked.node("start_node")?;
    let direction = asked.direction()?;
    let nodes_max = asked.limit("max_nodes")?;
    let told = tree.live.ask(move |shelves| {
        let (shelf, path) = find(shelves, &start).ok_or_else(|| Problem {
            field: Some("start_node".to_owned()),
            ..Problem::new(Code::NotFound, "start_node is no node: ask for the name of a repo")
        })?;
        let catalog = shelf.held();
        let mut walk = Walk::new(&shelf.repo.name, &catalog, nodes_max);
        walk.take(&path);
        if direction != Direction::Down {
            walk.climb(&path);
        }
        if direction != Direction::Up {
            walk.descend(path);
        }
        Ok(json!({
            "metadata": {"start_node": start, "total_nodes": walk.nodes.len(), "has_more": walk.has_more},
            "nodes": walk.nodes,
            "edges": walk.edges,
        }))
    });
    Ok(Reply::new("navigated", told.await?).to(call.correlation_id))
}

/// The node by this id, or by a path alone.
fn find<'a>(shelves: &'a [Shelf], id: &str) -> Option<(&'a Shelf, Vec<u8>)> {
    let below = |shelf: &'a Shelf| {
        let rest = id.strip_prefix(shelf.repo.name.as_str())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    };
    let named = shelves.iter().filter_map(|shelf| Some((shelf, below(shelf)?)));
    let bare = shelves.iter().map(|shelf| (shelf, id));
    let is_there = |(shelf, path): &(&Shelf, &str)| {
        let (catalog, path) = (shelf.held(), path.as_bytes());
        path.is_empty() || catalog.get(path).is_some() || catalog.is_directory(path)
    };
    named.chain(bare).find(is_there).map(|(shelf, path)| (shelf, path.as_bytes().to_vec()))
}

/// A walk through one repo.
struct Walk<'a> {
    repo: &'a str,
    catalog: &'a Catalog,
    nodes_max: usize,
    nodes: Vec<Value>,
    edges: Vec<Value>,
    has_more: bool,
}

impl<'a> Walk<'a> {
    fn new(repo: &'a str, catalog: &'a Catalog, nodes_max: usize) -> Self {
        Self { repo, catalog, nodes_max, nodes: Vec::new(), edges: Vec::new(), has_more: false }
    }

    fn take(&mut self, path: &[u8]) -> bool {
        if self.nodes.len() == self.nodes_max {
            self.has_more = true;
            return false;
        }
        self.nodes.push(self.node(path));
        true
    }

    fn node(&self, path: &[u8]) -> Value {
        let mut node = match self.catalog.get(path) {
            Some(found) => file(self.repo, path, found),
            None if path.is_empty() => {
                json!({"path": "", "name": self.repo, "type": "repo", "repo": self.repo})
            }
            None => json!({
                "path": String::from_utf8_lossy(path),
                "name": String::from_utf8_lossy(name_of(path)),
                "type": "directory",
                "repo": self.repo,
            }),
        };
        node["id"] = node_id(self.repo, path).into();
        node
    }

    fn edge(&mut self, above: &[u8], below: &[u8]) {
        let [source, target] = [above, below].map(|path| node_id(self.repo, path));
        self.edges.push(json!({"source": source, "target": target, "type": "contains"}));
    }

    fn climb(&mut self, from: &[u8]) {
        let mut below = from;
        while !below.is_empty() {
            let above = &below[..memchr::memrchr(b'/', below).unwrap_or(0)];
            if !self.take(above) {
                break;
            }
            self.edge(above, below);
            below = above;
        }
    }

    /// Level by level, so that what is cut off is what lies deepest.
    fn descend(&mut self, from: Vec<u8>) {
        let mut open = VecDeque::from([from]);
        while let Some(directory) = open.pop_front().filter(|_| !self.has_more) {
            open.extend(self.level(&directory));
        }
    }

    /// Takes what a directory holds; returns the directories among that.
    fn level(&mut self, directory: &[u8]) -> Vec<Vec<u8>> {
        let room = self.nodes_max - self.nodes.len();
        let mut directories = Vec::new();
        for child in self.catalog.children(directory, room + 1) {
            let (is_directory, path) = match child {
                Child::File(path, _) => (false, path),
                Child::Directory(path) => (true, path),
            };
            if !self.take(&path) {
                break;
            }
            self.edge(directory, &path);
            directories.extend(is_directory.then_some(path));
        }
        directories
    }
}
