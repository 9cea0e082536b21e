//! A stamp: one recorded fact about one path, with everything its body says.
//!
//! Holds the types and which kind of stamp needs which fields. `model::body` writes and reads the
//! canonical JSON; the spool gives identity.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use uuid::Uuid;

use super::content::DigestOf;
use super::digest::Digest;
use super::identity::content_id;
use super::intelligence::Intelligence;
use super::namespace::Namespace;
use super::path::RepoPath;
use super::stream::{Leaf, StreamId};
use crate::runtime::time::Timestamp;

/// What a stamp records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A path that had no content has one.
    Created,
    /// Other bytes than before.
    Modified,
    /// The path is gone.
    Deleted,
    /// The same file under another name; `from` names the old one.
    Renamed,
    /// The same bytes with another mode.
    Attributes,
    /// The file kept changing while it was read; no digest.
    Unstable,
    /// Not read, for the reason given.
    Skipped,
    /// A symbolic link; `target` is its text, never followed.
    Symlink,
    /// Stamped through the HTTP API.
    Api,
    /// The first stamp of a stream.
    Opened,
    /// The agent began to watch.
    Started,
    /// The agent ended in order.
    Stopped,
    /// The agent is alive though nothing changed.
    Heartbeat,
    /// An interval in which we could not see everything.
    Coverage,
    /// A checkout, merge or the like.
    Vcs,
    /// The exclusion rules in force changed.
    Rules,
}

impl Kind {
    /// Every kind, in the order above.
    pub const ALL: [Self; 16] = [
        Self::Created,
        Self::Modified,
        Self::Deleted,
        Self::Renamed,
        Self::Attributes,
        Self::Unstable,
        Self::Skipped,
        Self::Symlink,
        Self::Api,
        Self::Opened,
        Self::Started,
        Self::Stopped,
        Self::Heartbeat,
        Self::Coverage,
        Self::Vcs,
        Self::Rules,
    ];

    /// The word in the body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::Renamed => "renamed",
            Self::Attributes => "attributes",
            Self::Unstable => "unstable",
            Self::Skipped => "skipped",
            Self::Symlink => "symlink",
            Self::Api => "api",
            Self::Opened => "opened",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Heartbeat => "heartbeat",
            Self::Coverage => "coverage",
            Self::Vcs => "vcs",
            Self::Rules => "rules",
        }
    }

    /// Whether the stamp tells of a content that a path has now: such stamps are also known by
    /// their digest in `metadata_stamps`.
    pub const fn has_content(self) -> bool {
        matches!(self, Self::Created | Self::Modified | Self::Renamed | Self::Api)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

/// The text names no kind of stamp.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no such kind of stamp")]
pub struct UnknownKind;

/// Why a path was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// Larger than `[hash] max_file_size`.
    TooLarge,
    /// Holes make up more of it than `[hash] sparse_ratio` allows.
    Sparse,
    /// Permission denied, or the disk failed to read it.
    Unreadable,
    /// A FIFO, socket or device.
    Special,
    /// Newly covered by an exclusion rule.
    Ignored,
}

impl SkipReason {
    /// The word in the body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Sparse => "sparse",
            Self::Unreadable => "unreadable",
            Self::Special => "special",
            Self::Ignored => "ignored",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What holds for many stamps alike. Interned and immutable in the spool, so that a body rendered
/// after an upgrade, a new host name or an edited label is still the body that was hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Who stamped.
    pub agent: Agent,
    /// The repo's name; none in the agent's own `api` stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The tenant.
    pub namespace: Namespace,
    /// Labels from the repo's own config.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where git stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<Git>,
    /// What the name says of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileType>,
}

/// The agent that stamped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Given once per state directory; a UUID.
    pub id: String,
    /// The machine's name.
    pub host: String,
    /// stampd's version.
    pub version: String,
}

/// Where git stood when the stamp was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// The commit, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The branch; none when detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

/// What a file's name says of its content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileType {
    /// The media type.
    pub content_type: String,
    /// The programming or markup language, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// The keys that few stamps have, kept apart so that the others stay small.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Detail {
    /// The text of a symbolic link: bytes as the kernel gave them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Vec<u8>>,
    /// Why: of `skipped` a [`SkipReason`], of `coverage` a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Start of an interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// End of an interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// On `opened` after another epoch: where that one ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// The path of an `api` stamp as its caller names it: absolute, relative or a mere name, since
    /// nothing is ever opened by it. Never empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What an intelligence service said of the content, of a stamp of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intelligence: Option<Intelligence>,
    /// Of `api`: what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<Box<Api>>,
}

/// What an `api` stamp says beyond its content. Free-form JSON is held as text, since numbers of a
/// caller's need not be integers, as those of a canonical body are. Its members stand in the order of
/// their names, which is the canonical one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// BLAKE3 of the exact bytes, where the stamp's digest is of the canonical text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<Digest>,
    /// The caller's request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// What the stamp's digest is of.
    pub digest_of: DigestOf,
    /// JSON object: what an intelligence service said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intelligence: Option<String>,
    /// JSON object: what the caller says of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Of the metadata's layout.
    pub metadata_version: String,
    /// The caller's operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op_id: Option<Uuid>,
    /// Of the stamp protocol.
    pub protocol_version: String,
    /// The in-file stamp, as it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
    /// JSON object: further keys of `stamp_data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp_data: Option<String>,
    /// The identity that follows from namespace, digest and path.
    pub stamp_id: Uuid,
    /// `lightweight` or `rich`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp_type: Option<String>,
    /// The caller's version of the content.
    pub version: i32,
}

/// The end of the epoch before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// Its stream.
    pub stream: StreamId,
    /// How many stamps it holds.
    pub size: u64,
    /// Its last leaf, in hexadecimal; none when it was empty or lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<String>,
}

/// One stamp, with its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its position there, from 0.
    pub seq: u64,
    /// What it records.
    pub kind: Kind,
    /// What it shares with others.
    pub context: Arc<Context>,
    /// The path; none for the stream's own life.
    pub path: Option<RepoPath>,
    /// The old path of a rename.
    pub from: Option<RepoPath>,
    /// The digest of the content now.
    pub digest: Option<Digest>,
    /// The digest before.
    pub prev: Option<Digest>,
    /// Size in bytes, from the fstat that framed the read.
    pub size: Option<u64>,
    /// Permission bits (07777), from the same fstat.
    pub mode: Option<u32>,
    /// Modification time, from the same fstat.
    pub mtime: Option<Timestamp>,
    /// When the first hint of the change came.
    pub seen: Timestamp,
    /// When the spool took it.
    pub stamped: Timestamp,
    /// The rarer keys.
    pub detail: Detail,
}

impl Stamp {
    /// The first stamp of a stream, with where the epoch before ended.
    pub fn opened(
        stream: StreamId,
        context: Arc<Context>,
        previous: Option<Previous>,
        now: Timestamp,
    ) -> Self {
        Self {
            stream,
            seq: 0,
            kind: Kind::Opened,
            context,
            path: None,
            from: None,
            digest: None,
            prev: None,
            size: None,
            mode: None,
            mtime: None,
            seen: now,
            stamped: now,
            detail: Detail { previous, ..Detail::default() },
        }
    }

    /// The path as text: by it receivers know the content.
    pub fn place(&self) -> Option<Cow<'_, str>> {
        let own = self.path.as_ref().map(RepoPath::to_lossy);
        own.or_else(|| self.detail.place.as_deref().map(Cow::Borrowed))
    }

    /// The identity of the content that the stamp tells of, where it tells of one.
    pub fn content_id(&self) -> Option<Uuid> {
        let digest = self.digest.as_ref().filter(|_| self.kind.has_content())?;
        Some(content_id(&self.context.namespace, digest, self.place().as_deref()))
    }
}

/// A stamp as it is delivered: its canonical body and the leaf over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The stamp.
    pub stamp: Stamp,
    /// Canonical JSON, hashed and sent exactly so.
    pub body: String,
    /// SHA-256(0x00 ‖ body).
    pub leaf: Leaf,
}
