//! From the members of a stamp request, of either shape, to an order; and from what became of it to
//! the text that its caller gets.
//!
//! With `content` the digest is that of its canonical text, and the caller gets it back with a stamp
//! in it. Without, the caller has hashed something itself and says so: a claim.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::call::correlation_id;
use super::fields::Fields;
use super::problem::{Code, Problem};
use crate::model::content::{DigestOf, Order, Row};
use crate::model::digest::Digest;
use crate::model::filetype;
use crate::model::namespace::Namespace;
use crate::model::onex_text::{self, Bare, Kind, Label, Time, Uid};
use crate::model::path::RepoPath;
use crate::runtime::time::Timestamp;

/// The tenant of whoever names none.
pub(super) const NAMESPACE: &str = "omninode.services.metadata";

/// Bytes of a content, and of all contents of a batch.
pub(super) const CONTENT_BYTES_MAX: usize = 100 << 20;

/// Characters of a version, as wide as its column.
pub(super) const VERSION_CHARS_MAX: usize = 10;

/// Characters of a media type, as wide as its column.
const CONTENT_TYPE_CHARS_MAX: usize = 255;

/// Characters of a path: no system has longer ones.
pub(super) const PATH_CHARS_MAX: usize = 4_096;

/// What holds for every order of a request that does not say otherwise itself.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    pub(super) namespace: Namespace,
    pub(super) protocol_version: String,
    pub(super) correlation_id: Option<String>,
    pub(super) options: Options,
    pub(super) at: Timestamp,
}

/// How a content is stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    kind: Kind,
    /// Whether the stamp says what the metadata says.
    labelled: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { kind: Kind::Lightweight, labelled: true }
    }
}

/// A request, understood.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) order: Order,
    /// The content with its stamp, where a content was sent.
    pub(super) made: Option<Made>,
    /// What was sent, in bytes; of a claim what it says.
    pub(super) bytes: u64,
    /// Whether the caller would like to know what is said of the content.
    pub(super) wants_intelligence: bool,
}

/// A content with its stamp.
#[derive(Clone, Debug)]
pub(super) struct Made {
    kind: Kind,
    text: String,
    /// Of the canonical text.
    size: usize,
}

/// What a caller gets of a stamp as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) stamp: Option<String>,
    pub(super) stamp_type: Option<&'static str>,
    pub(super) content: Option<String>,
}

impl Defaults {
    /// Takes what a request says for all its orders.
    pub(super) fn take(
        fields: &mut Fields,
        correlation: Option<String>,
        at: Timestamp,
    ) -> Result<Self, Problem> {
        let own = fields.text("correlation_id")?.map(correlation_id).transpose()?.flatten();
        let protocol_version = fields.short_text("protocol_version", VERSION_CHARS_MAX)?;
        let namespace = fields.namespace("namespace")?;
        Ok(Self {
            namespace: namespace
                .unwrap_or_else(|| NAMESPACE.parse().expect("the default is a namespace")),
            protocol_version: protocol_version.unwrap_or_else(|| "1.0".to_owned()),
            correlation_id: own.or(correlation),
            options: Options::take(fields, Options::default())?,
            at,
        })
    }
}

impl Options {
    fn take(fields: &mut Fields, otherwise: Self) -> Result<Self, Problem> {
        let mut options = fields.options()?;
        let kind = match options.text("stamp_type")?.as_deref() {
            None => otherwise.kind,
            Some("lightweight") => Kind::Lightweight,
            Some("rich") => Kind::Rich,
            Some(_) => {
                let rule = "must be \"lightweight\" or \"rich\"";
                return Err(Problem::field("options.stamp_type", rule));
            }
        };
        // Every stamp is checked before it is given out, whether or not that was asked for.
        options.switch("validate_integrity")?;
        Ok(Self {
            kind,
            labelled: options.switch("include_metadata")?.unwrap_or(otherwise.labelled),
        })
    }
}

impl Asked {
    /// Understands one order; hashes its content.
    pub(super) fn take(fields: &mut Fields, defaults: &Defaults) -> Result<Self, Problem> {
        let options = Options::take(fields, defaults.options)?;
        let content = content(fields)?;
        let claimed = fields.digest("file_hash")?;
        let size = fields.size("file_size")?;
        let wants_intelligence = fields.switch("enable_intelligence")?.unwrap_or(false);
        let bare = content.as_deref().map(Bare::of);
        let Some(digest) = bare.as_ref().map(|bare| *bare.hash()).or(claimed) else {
            return Err(Problem::field("content", "is required, or file_hash of what was hashed"));
        };
        let mut order = order(fields, defaults, digest)?;
        let (Some(content), Some(bare)) = (&content, bare) else {
            (order.digest_of, order.size) = (DigestOf::Claimed, size);
            let bytes = size.unwrap_or(0);
            return Ok(Self { order, made: None, bytes, wants_intelligence });
        };
        let is_hashed = bare.is_canonical(content);
        order.content_hash = Some(if is_hashed { digest } else { Digest::of(content.as_bytes()) });
        order.size = Some(content.len() as u64);
        let made = bare.stamp(options.kind, &label_of(&order, options));
        let made = made.map_err(|error| Problem {
            field: Some("content".to_owned()),
            ..Problem::new(Code::ValidationError, error.to_string())
        })?;
        (order.stamp, order.stamp_type) =
            (Some(made.stamp), Some(options.kind.as_str().to_owned()));
        let bytes = content.len() as u64;
        let made = Made { kind: options.kind, text: made.text, size: made.size };
        Ok(Self { order, made: Some(made), bytes, wants_intelligence })
    }
}

/// The content; none where there is no such member, of which [`Asked::take`] makes a claim.
fn content(fields: &mut Fields) -> Result<Option<String>, Problem> {
    let content = fields.text("content")?;
    match content.as_deref().map(str::len) {
        Some(0) => Err(Problem::field("content", "must not be empty")),
        Some(length) if length > CONTENT_BYTES_MAX => {
            Err(Problem::new(Code::ContentTooLarge, "the content is larger than 100 MiB"))
        }
        Some(_) | None => Ok(content),
    }
}

/// A content that must be there.
pub(super) fn content_required(fields: &mut Fields) -> Result<String, Problem> {
    content(fields)?.ok_or_else(|| Problem::field("content", "is required"))
}

fn order(fields: &mut Fields, defaults: &Defaults, digest: Digest) -> Result<Order, Problem> {
    let path = fields.short_text("file_path", PATH_CHARS_MAX)?;
    let mut stamp_data = fields.object("stamp_data")?;
    let file_type = fields.short_text("file_type", CONTENT_TYPE_CHARS_MAX)?;
    let named = fields.short_text("content_type", CONTENT_TYPE_CHARS_MAX)?;
    let content_type = named.filter(|named| !named.is_empty()).or_else(|| {
        let media = file_type.clone().filter(|file_type| file_type.contains('/'));
        media.or_else(|| type_of_name(path.as_deref()))
    });
    if let Some(file_type) = file_type {
        stamp_data.insert("file_type".to_owned(), file_type.into());
    }
    let own_id = fields.text("correlation_id")?.map(correlation_id).transpose()?.flatten();
    Ok(Order {
        namespace: fields.namespace("namespace")?.unwrap_or_else(|| defaults.namespace.clone()),
        digest,
        digest_of: DigestOf::OnexText,
        content_hash: None,
        path: path.filter(|path| !path.is_empty()),
        size: None,
        content_type,
        protocol_version: fields
            .short_text("protocol_version", VERSION_CHARS_MAX)?
            .unwrap_or_else(|| defaults.protocol_version.clone()),
        metadata_version: fields
            .short_text("metadata_version", VERSION_CHARS_MAX)?
            .unwrap_or_else(|| "0.1".to_owned()),
        version: fields.integer("version")?.unwrap_or(1),
        op_id: fields.uuid("op_id")?,
        correlation_id: own_id.or_else(|| defaults.correlation_id.clone()),
        stamp: None,
        stamp_type: None,
        metadata: fields.object("metadata")?,
        stamp_data,
        intelligence: fields.object("intelligence_data")?,
        at: defaults.at,
    })
}

fn type_of_name(path: Option<&str>) -> Option<String> {
    let path = RepoPath::new(path?.trim_start_matches('/').as_bytes())?;
    filetype::of(&path).map(|named| named.to_file_type().content_type)
}

/// What the stamp of an order says.
fn label_of(order: &Order, options: Options) -> Label<'_> {
    let text = |key: &str| order.metadata.get(key).and_then(Value::as_str);
    let said = |key: &str| text(key).filter(|_| options.labelled);
    let uid = text("uid").and_then(Uid::new).unwrap_or_else(|| order.stamp_id().into());
    let time = text("timestamp").and_then(Time::new).unwrap_or_else(|| order.at.into());
    Label {
        author: said("author"),
        version: said("version"),
        protocol_version: &order.protocol_version,
        file_path: order.path.as_deref(),
        content_type: order.content_type.as_deref(),
        ..Label::new(uid, time)
    }
}

impl Made {
    /// The text for the caller: with the stamp that is held, whoever was first. Where that one is of
    /// another kind, or there is none since the first caller brought a claim, the stamp asked for is
    /// made from the row, and is the same every time.
    pub(super) fn give(self, row: &Row) -> Given {
        let held = |key: &str| row.stamp_data.get(key).and_then(Value::as_str);
        let kept = held("stamp").filter(|_| held("stamp_type") == Some(self.kind.as_str()));
        let stamp = match kept {
            Some(stamp) => Cow::Borrowed(stamp),
            None => Cow::Owned(self.stamp_from(row)),
        };
        let is_ours = match self.kind {
            Kind::Lightweight => self.text.starts_with(&*stamp),
            Kind::Rich => self.text.ends_with(&*stamp),
        };
        let content =
            if is_ours { self.text } else { onex_text::place(self.kind, &stamp, &self.text) };
        Given {
            stamp: Some(stamp.into_owned()),
            stamp_type: Some(self.kind.as_str()),
            content: Some(content),
        }
    }

    fn stamp_from(&self, row: &Row) -> String {
        let none = Map::new();
        let metadata = row.stamp_data.get("metadata").and_then(Value::as_object).unwrap_or(&none);
        let text = |key: &str| metadata.get(key).and_then(Value::as_str);
        let label = Label {
            author: text("author"),
            version: text("version"),
            protocol_version: &row.protocol_version,
            file_path: row.file_path.as_deref(),
            content_type: row.content_type.as_deref(),
            ..Label::new(row.id.into(), row.created_at.into())
        };
        let digest = row.file_hash.parse().unwrap_or_else(|_| onex_text::digest(&self.text));
        label.render(self.kind, &digest, self.size)
    }
}
