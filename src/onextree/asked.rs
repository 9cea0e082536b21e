//! What a request asks: the members of its JSON object, read to a limit and checked.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};

use super::query::{Kind, QUERY_BYTES_MAX, check, extension_of, name_of};
use super::{BODY_BYTES_MAX, Tree};
use crate::api::{Code, Fields, Problem, parse};

/// Answers of one reply, where no number is asked for.
pub(super) const LIMIT: usize = 100;

/// Answers of one reply, at most.
pub(super) const LIMIT_MAX: usize = 1_000;

/// Bytes of a root's path.
const ROOT_BYTES_MAX: usize = 4_096;

/// A JSON object that was sent.
#[derive(Debug)]
pub(super) struct Asked(Fields);

impl FromRequest<Tree> for Asked {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &Tree) -> Result<Self, Problem> {
        let body = to_bytes(request.into_body(), BODY_BYTES_MAX as usize).await;
        let body = body.map_err(|error| Problem::of_body(&error))?;
        let parsed = parse(&body);
        let parsed =
            parsed.map_err(|error| Problem::new(Code::ValidationError, error.to_string()))?;
        if parsed.has_nul {
            return Err(Problem::new(Code::ValidationError, "a text holds U+0000"));
        }
        Fields::of(parsed.tree).map(Self)
    }
}

impl Asked {
    /// A text that must be there.
    pub(super) fn required(&mut self, key: &str) -> Result<String, Problem> {
        self.0.text(key)?.ok_or_else(|| Problem::field(key, "is required"))
    }

    /// Yes or no; yes where nothing is said.
    pub(super) fn switch(&mut self, key: &str) -> Result<bool, Problem> {
        Ok(self.0.switch(key)?.unwrap_or(true))
    }

    /// How many answers are wanted.
    pub(super) fn limit(&mut self, key: &str) -> Result<usize, Problem> {
        self.count(key, LIMIT)
    }

    /// A number from 1 to 1,000.
    pub(super) fn count(&mut self, key: &str, otherwise: usize) -> Result<usize, Problem> {
        let Some(limit) = self.0.integer(key)? else { return Ok(otherwise) };
        let limit = usize::try_from(limit).ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| Problem::field(key, "must be 1 to 1000"))
    }

    /// What a query is held against; none where the query tells.
    pub(super) fn kind(&mut self) -> Result<Option<Kind>, Problem> {
        match self.0.text("query_type")?.as_deref() {
            None | Some("auto") => Ok(None),
            Some("extension") => Ok(Some(Kind::Extension)),
            Some("path") => Ok(Some(Kind::Path)),
            Some("name") => Ok(Some(Kind::Name)),
            Some(_) => {
                let rule = "must be \"auto\", \"extension\", \"path\" or \"name\"";
                Err(Problem::field("query_type", rule))
            }
        }
    }

    /// The root or the name of a repo, where one is given.
    pub(super) fn project(&mut self) -> Result<Option<String>, Problem> {
        project(&mut self.0)
    }

    /// A question in words.
    pub(super) fn words(&mut self, key: &str) -> Result<String, Problem> {
        let words = self.required(key)?;
        if words.trim().is_empty() || words.len() > QUERY_BYTES_MAX {
            return Err(Problem::field(key, "must be 1 to 1024 bytes"));
        }
        Ok(words)
    }

    /// A node of the tree.
    pub(super) fn node(&mut self, key: &str) -> Result<String, Problem> {
        let node = self.required(key)?;
        check(&node).map_err(|error| Problem::field(key, &error.to_string()))?;
        Ok(node)
    }

    /// Which way from a node; both where nothing is said.
    pub(super) fn direction(&mut self) -> Result<Direction, Problem> {
        match self.0.text("direction")?.as_deref() {
            None | Some("both") => Ok(Direction::Both),
            Some("up") => Ok(Direction::Up),
            Some("down") => Ok(Direction::Down),
            Some(_) => Err(Problem::field("direction", "must be \"up\", \"down\" or \"both\"")),
        }
    }

    /// Which files are wanted. Filters that nobody knows are ignored.
    pub(super) fn filters(&mut self) -> Result<Filters, Problem> {
        let mut filters = Fields::of(self.0.object("filters")?.into())?;
        let extension = filters.text("extension")?;
        let extension = extension.map(|ending| ending.trim_start_matches('.').to_ascii_lowercase());
        Ok(Filters { extension, project: project(&mut filters)? })
    }
}

/// Which way from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
    Both,
}

/// Which files are wanted.
#[derive(Clone, Debug)]
pub(super) struct Filters {
    extension: Option<String>,
    pub(super) project: Option<String>,
}

impl Filters {
    /// Whether a file is wanted.
    pub(super) fn lets_pass(&self, path: &[u8]) -> bool {
        let Some(wanted) = &self.extension else { return true };
        let ending = extension_of(name_of(path)).unwrap_or_default();
        ending.eq_ignore_ascii_case(wanted.as_bytes())
    }
}

fn project(fields: &mut Fields) -> Result<Option<String>, Problem> {
    let Some(root) = fields.text("project_root")? else { return Ok(None) };
    if root.is_empty() || root.len() > ROOT_BYTES_MAX {
        return Err(Problem::field("project_root", "must be 1 to 4096 bytes"));
    }
    Ok(Some(root))
}
