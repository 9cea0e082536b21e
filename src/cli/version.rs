//! `stampd version`.

use serde::Serialize;

use super::exit::Exit;
use super::shell::{Format, Shell, print, print_json};

#[derive(Serialize)]
struct Version {
    schema: &'static str,
    version: &'static str,
}

pub(super) fn run(shell: &Shell) -> anyhow::Result<Exit> {
    match shell.format {
        Format::Human => print(&format!("stampd {}\n", crate::VERSION))?,
        Format::Json | Format::Jsonl => {
            print_json(&Version { schema: "stampd.version/v1", version: crate::VERSION })?;
        }
    }
    Ok(Exit::Fine)
}
