//! The example config: every key with its unit, its default and who reads it, from the one table.

use std::fmt::Write as _;

use super::keys::{Fallback, Form, Key, SECTIONS, Section};
use super::value::Kind;

const HEAD: &str = "\
# stampd's config, with every key and its default. A line that begins with `#` and no space is a
# setting to be uncommented; `# ` begins an explanation.
#
# Where it lies: --config FILE, or STAMPD_CONFIG, or ~/.config/stampd/stampd.toml.
# What wins: a flag over the environment (STAMPD_SECTION__KEY, such as STAMPD_WATCH__SETTLE=1s) over
# this file over the default. `stampd config show --origin` tells where each value comes from, and
# `stampd config check` what is wrong.
#
# Durations have one of the units ms, s, min, h, d; sizes one of B, KiB, MiB, GiB, TiB. Relative paths
# start at this file's directory, and ~/ is the home. Secrets are given by reference only:
# { credential = \"name\" } for systemd's LoadCredential, { file = \"path\" }, or { env = \"NAME\" }.
";

const WIDTH: usize = 100;

/// Writes the example, as it stands in `config/stampd.example.toml`.
pub fn example() -> String {
    let mut out = HEAD.to_owned();
    for section in SECTIONS {
        write_section(&mut out, section);
    }
    out
}

fn write_section(out: &mut String, section: &Section) {
    let header = match section.form {
        Form::Plain => format!("[{}]", section.name),
        Form::Road => format!("#[{}]", section.name),
        Form::List => format!("#[[{}]]", section.name),
    };
    out.push('\n');
    write_comment(out, section.doc);
    write_comment(out, &format!("Read by: {}.", section.roles));
    let _ = writeln!(out, "{header}");
    for key in section.keys {
        write_key(out, key);
    }
}

fn write_key(out: &mut String, key: &Key) {
    write_comment(out, key.doc);
    let (Fallback::Is(text)
    | Fallback::Unset { example: text }
    | Fallback::Required { example: text }) = key.fallback;
    let _ = writeln!(out, "#{} = {}", key.name, literal(key.kind, text));
}

/// Writes a default or an example as TOML.
pub(super) fn literal(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Switch | Kind::Count(..) => text.to_owned(),
        Kind::Texts => {
            let items: Vec<_> = text.split(", ").map(|item| format!("\"{item}\"")).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Secret => {
            let (way, name) = text.split_once(':').unwrap_or(("credential", text));
            format!("{{ {way} = \"{name}\" }}")
        }
        _ => format!("\"{text}\""),
    }
}

/// Writes a text as comment lines of at most [`WIDTH`] columns.
fn write_comment(out: &mut String, text: &str) {
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(out, "{line}");
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}
