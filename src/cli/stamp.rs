//! `stampd stamp FILE`: the file with a stamp in it, on standard output or in its place.
//!
//! Needs no agent and no server, and records nothing: the stamp is text in the file.

use std::path::{Path, PathBuf};

use serde::Serialize;
use uuid::Uuid;

use super::exit::{Exit, failed};
use super::place::escaped;
use super::rewrite::{Original, read_text};
use super::shell::{Format, Shell, print, print_json};
use crate::model::digest::Digest;
use crate::model::onex_text::{self, Kind, Label, Stamped, Time, Uid};
use crate::runtime::clock::Clock;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The text to stamp; - for standard input
    file: PathBuf,
    /// A block of metadata at the end, instead of one line at the beginning
    #[arg(long)]
    rich: bool,
    /// Replace the file, in one step
    #[arg(long, short)]
    in_place: bool,
    /// Who wrote it; in a line only
    #[arg(long, value_name = "NAME", conflicts_with = "rich")]
    author: Option<String>,
    /// Which version of the content it is; in a line only
    #[arg(long, value_name = "VERSION", conflicts_with = "rich")]
    content_version: Option<String>,
    /// Its media type; in a block only
    #[arg(long, value_name = "TYPE", requires = "rich")]
    content_type: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    path: String,
    file_hash: Digest,
    stamp_type: Kind,
    stamp: &'a str,
    /// Not where the file itself holds it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    stamped_content: Option<&'a str>,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let is_stdin = args.file == Path::new("-");
    if args.in_place && is_stdin {
        return Err(failed(Exit::Usage, "replace standard input: name a file"));
    }
    if args.in_place {
        let (original, text) = Original::read(&args.file)?;
        let stamped = stamped(shell, args, &text)?;
        if stamped.text != text {
            original.replace(&stamped.text)?;
        }
        return tell(shell, args, &stamped);
    }
    let text = read_text(&args.file).map_err(|error| {
        let shown = escaped(args.file.as_os_str());
        failed(error.exit(), format!("read {shown}: {error}"))
    })?;
    tell(shell, args, &stamped(shell, args, &text)?)
}

/// The text with its stamp: the one it has, where that holds, so that stamping again changes
/// nothing.
fn stamped(shell: &Shell, args: &Args, text: &str) -> anyhow::Result<Stamped> {
    let kind = if args.rich { Kind::Rich } else { Kind::Lightweight };
    let shown = escaped(args.file.as_os_str());
    if let Some(held) = onex_text::held(text, kind) {
        shell.note(&format!("{shown} holds such a stamp already, and it is right"));
        return Ok(held);
    }
    let path = args.file.to_string_lossy();
    let label = Label {
        author: args.author.as_deref(),
        version: args.content_version.as_deref(),
        content_type: args.content_type.as_deref(),
        file_path: (args.file != Path::new("-")).then_some(&*path),
        ..Label::new(Uid::from(Uuid::new_v4()), Time::from(Clock::system().now()))
    };
    onex_text::stamp(text, kind, &label)
        .map_err(|error| failed(Exit::Usage, format!("{error}: {shown}")))
}

fn tell(shell: &Shell, args: &Args, stamped: &Stamped) -> anyhow::Result<Exit> {
    let stamp_type = if args.rich { Kind::Rich } else { Kind::Lightweight };
    let content = (!args.in_place).then_some(&*stamped.text);
    match shell.format {
        Format::Json | Format::Jsonl => print_json(&Document {
            schema: "stampd.stamp/v1",
            path: args.file.to_string_lossy().into_owned(),
            file_hash: stamped.hash,
            stamp_type,
            stamp: &stamped.stamp,
            stamped_content: content,
        })?,
        Format::Human => print(content.unwrap_or_default())?,
    }
    Ok(Exit::Fine)
}
