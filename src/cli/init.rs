//! `stampd init`: a `.stampd.toml` in which every key is a comment, so that nothing changes until a
//! person wants it to.

use std::io;
use std::path::{Path, PathBuf};

use super::exit::{Exit, failed};
use super::place::escaped;
use super::shell::Shell;
use crate::repo::policy::FILE_NAME;
use crate::runtime::whole;

const EXAMPLE: &str = include_str!("../../config/repo.example.toml");

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The repository, or any directory in it
    #[arg(default_value = ".")]
    dir: PathBuf,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let dir = shell.environment.directory().join(&args.dir);
    let shown = |path: &Path| escaped(path.as_os_str());
    let dir = dir.canonicalize().map_err(|error| {
        failed(Exit::NotFound, format!("write {FILE_NAME} in {}: {error}", shown(&dir)))
    })?;
    if !dir.is_dir() {
        let text = format!("write {FILE_NAME} in {}: it is a file", shown(&dir));
        return Err(failed(Exit::Usage, text));
    }
    let file = root_of(shell, &dir).join(FILE_NAME);
    whole::write_new(&file, template().as_bytes(), 0o644).map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::AlreadyExists => Exit::Usage,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Exit::Denied,
            _ => Exit::Unexpected,
        };
        let hint = if exit == Exit::Usage { "; it is left as it is, edit it" } else { "" };
        failed(exit, format!("write {}: {error}{hint}", shown(&file)))
    })?;
    shell.note(&format!(
        "wrote {}; take out the # of what you want, then say `stampd trust`",
        shown(&file)
    ));
    Ok(Exit::Fine)
}

/// Where the file counts: at the root of the watched repo that holds `dir`, or else of the git
/// repository, or else right there.
fn root_of(shell: &Shell, dir: &Path) -> PathBuf {
    // A config that is wrong or missing does not matter here.
    let repos = shell.config().map(|config| config.agent.repos).unwrap_or_default();
    let watched = repos.iter().map(|repo| repo.path.as_path()).filter(|root| dir.starts_with(root));
    let watched = watched.max_by_key(|root| root.as_os_str().len());
    let git = || dir.ancestors().find(|above| above.join(".git").exists());
    watched.or_else(git).unwrap_or(dir).to_owned()
}

/// The example, every key commented out.
fn template() -> String {
    let comment = |line: &str| match line {
        "" => "\n".to_owned(),
        line if line.starts_with('#') => format!("{line}\n"),
        line => format!("#{line}\n"),
    };
    EXAMPLE.lines().map(comment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::policy::{RepoFile, parse};

    #[test]
    fn the_template_says_nothing_until_its_comments_are_taken_out() {
        assert_eq!(parse(template().as_bytes()).unwrap(), RepoFile::default());
        let uncommented = |line: &str| match line.strip_prefix('#') {
            Some(key) if !key.starts_with([' ', '\n']) && !key.is_empty() => format!("{key}\n"),
            _ => format!("{line}\n"),
        };
        assert_eq!(template().lines().map(uncommented).collect::<String>(), EXAMPLE);
    }
}
