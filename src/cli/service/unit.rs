//! The units of systemd: the files of `packaging/systemd` with this machine's paths put in.

use std::path::{Path, PathBuf};

/// Where units of the machine lie.
pub(super) const SYSTEM_DIR: &str = "/etc/systemd/system";

/// The user's own agent.
pub(super) const USER: &str = include_str!("../../../packaging/systemd/stampd-user.service");
/// The agent of a user, run by the machine's manager.
pub(super) const OF_USER: &str = include_str!("../../../packaging/systemd/stampd@.service");
/// The bridge.
pub(super) const BRIDGE: &str = include_str!("../../../packaging/systemd/stampd-bridge.service");
/// The adapter.
pub(super) const ADAPTER: &str = include_str!("../../../packaging/systemd/stampd-adapter.service");

/// A template for this program, started with these flags, that may write to these directories.
pub(super) fn fill(
    template: &str,
    program: &Path,
    flags: &[String],
    writable: &[PathBuf],
) -> String {
    let program = quoted(&program.to_string_lossy());
    let start: Vec<_> =
        std::iter::once(program).chain(flags.iter().map(|flag| quoted(flag))).collect();
    let start = start.join(" ");
    let writable: Vec<_> = writable.iter().map(|dir| quoted(&dir.to_string_lossy())).collect();
    let fill = |line: &str| match line.split_once('=') {
        Some(("ExecStart", typed)) => {
            let role = typed.rsplit_once(' ').map_or("run", |(_, role)| role);
            format!("ExecStart={start} {role}")
        }
        Some(("ReadWritePaths", _)) => format!("ReadWritePaths={}", writable.join(" ")),
        _ => line.to_owned(),
    };
    template.lines().map(|line| fill(line) + "\n").collect()
}

/// A word of a unit: quoted unless it is plain, and without systemd's specifiers.
fn quoted(word: &str) -> String {
    if !word.is_empty() && word.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase()) {
        return word.to_owned();
    }
    let escaped =
        word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_unit_means_itself() {
        assert_eq!(quoted("/a b/100%/\"x\\y$z"), r#""/a b/100%%/\"x\\y$$z""#);
        assert_eq!(quoted("--config"), "--config");
    }

    #[test]
    fn every_line_that_is_filled_in_is_in_its_template_once() {
        let count = |template: &str, key: &str| {
            template.lines().filter(|line| line.starts_with(key)).count()
        };
        for template in [USER, OF_USER, BRIDGE, ADAPTER] {
            assert_eq!(count(template, "ExecStart="), 1);
        }
        assert_eq!(
            [USER, OF_USER, BRIDGE, ADAPTER].map(|it| count(it, "ReadWritePaths=")),
            [1, 1, 0, 0]
        );
        let filled =
            fill(BRIDGE, Path::new("/opt/stampd"), &["--config".into(), "/e/b".into()], &[]);
        assert!(filled.contains("\nExecStart=\"/opt/stampd\" --config \"/e/b\" bridge\n"));
    }
}
