//! The agent of launchd: the file of `packaging/launchd` with this machine's paths put in.

use std::path::{Path, PathBuf};

const TEMPLATE: &str = include_str!("../../../packaging/launchd/stampd.agent.plist");

/// What launchd calls it.
pub(super) const LABEL: &str = "stampd.agent";
/// What its file is called.
pub(super) const FILE: &str = "stampd.agent.plist";

/// Where its log goes.
pub(super) fn log_in(home: &Path) -> PathBuf {
    home.join("Library/Logs/stampd.log")
}

/// The template for this program, started with these flags, that logs to `log`.
pub(super) fn fill(program: &Path, flags: &[String], log: &Path) -> String {
    let words = std::iter::once(program.to_string_lossy().into_owned())
        .chain(flags.iter().cloned())
        .chain(["run".to_owned()]);
    let words: Vec<_> =
        words.map(|word| format!("    <string>{}</string>\n", escaped(&word))).collect();
    let words = words.concat();
    let (before, rest) = between(TEMPLATE, "<array>\n", "  </array>");
    let text = [before, &words, rest].concat();
    let (before, rest) = between(&text, "<key>StandardErrorPath</key>\n", "</dict>");
    let log = format!("  <string>{}</string>\n", escaped(&log.to_string_lossy()));
    [before, &log, rest].concat()
}

/// What is up to and with `from`, and what is from `to` on, after that.
fn between<'t>(text: &'t str, from: &str, to: &str) -> (&'t str, &'t str) {
    let at = |found: Option<usize>| found.expect("the template has both, as a test sees");
    let start = at(text.find(from)) + from.len();
    let end = start + at(text[start..].find(to));
    (&text[..start], &text[end..])
}

/// A text in XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What a parser of property lists reads, as JSON.
    fn parsed(text: &str) -> serde_json::Value {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.plist");
        std::fs::write(&file, text).unwrap();
        let read =
            "import json,plistlib,sys; print(json.dumps(plistlib.load(open(sys.argv[1],'rb'))))";
        let output = Command::new("python3").args(["-c", read]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn what_is_filled_in_is_what_a_parser_reads_and_the_rest_stays() {
        let flags = ["--config".to_owned(), "/a & <b>/c".to_owned()];
        let filled = fill(Path::new("/opt/stampd"), &flags, Path::new("/l&g"));
        let (before, after) = (parsed(TEMPLATE), parsed(&filled));
        let program = ["/opt/stampd", "--config", "/a & <b>/c", "run"];
        assert_eq!(after["ProgramArguments"], serde_json::json!(program));
        assert_eq!(after["StandardErrorPath"], "/l&g");
        assert_eq!(after["Label"], LABEL);
        for key in before.as_object().unwrap().keys() {
            let is_filled = ["ProgramArguments", "StandardErrorPath"].contains(&key.as_str());
            assert!(is_filled || before[key] == after[key], "{key}");
        }
        assert_eq!(before.as_object().unwrap().len(), after.as_object().unwrap().len());
    }
}
