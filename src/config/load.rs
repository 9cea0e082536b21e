//! What a config is made of: the environment, read once, and the file, found and bounded.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use directories::ProjectDirs;

use super::problem::{ConfigError, Origin};
use super::value::Context;

/// A config file longer than this is something else.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The process's environment, as it was at start. The only place that reads it.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
    directory: PathBuf,
}

impl Environment {
    /// Reads the environment of this process. Variables that are not UTF-8 are none of ours.
    pub fn read() -> Self {
        let utf8 = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        // A process whose directory was deleted can still work with absolute paths.
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self::of(std::env::vars_os().filter_map(utf8), directory)
    }

    /// An environment of these variables, in this working directory.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>, directory: PathBuf) -> Self {
        let variables: BTreeMap<_, _> = variables.into_iter().collect();
        let home = variables.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self { variables, home, directory }
    }

    /// A variable; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The working directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn context<'a>(&'a self, base: &'a Path) -> Context<'a> {
        Context {
            base,
            home: self.home.as_deref(),
            credentials: self.get("CREDENTIALS_DIRECTORY").map(Path::new),
            variables: &self.variables,
        }
    }

    /// Where state lies unless somebody sets it.
    pub(super) fn state_dir(&self) -> Result<(PathBuf, Origin), ConfigError> {
        if let Some(directory) = self.given_directory("STATE_DIRECTORY") {
            return Ok(directory);
        }
        let project = self.project().ok_or(ConfigError::NoHome)?;
        let state = project.state_dir().unwrap_or_else(|| project.data_local_dir());
        Ok((state.to_owned(), Origin::Default))
    }

    /// Where the control socket lies unless somebody sets it. A state directory of one's own takes
    /// its socket along, so that two agents do not meet; the service's agent and a tool outside of
    /// the service come to the same answer.
    pub(super) fn runtime_dir(&self, state_dir: &Path, is_own: bool) -> (PathBuf, Origin) {
        let below_state = || (state_dir.join("run"), Origin::Default);
        if is_own {
            return below_state();
        }
        let of_login = || {
            let directory = self.project()?.runtime_dir()?.to_owned();
            Some((directory, Origin::Default))
        };
        let given = self.given_directory("RUNTIME_DIRECTORY");
        let of_machine = || Some((self.machine_runtime_dir()?, Origin::Default));
        given.or_else(of_machine).or_else(of_login).unwrap_or_else(below_state)
    }

    /// Where the machine's service manager put the socket of this user's agent, if it runs one.
    fn machine_runtime_dir(&self) -> Option<PathBuf> {
        let user = self.get("USER").filter(|user| !user.contains('/'))?;
        Some(Path::new("/run/stampd").join(user)).filter(|directory| directory.is_dir())
    }

    /// The first of the directories that the service manager made for us.
    fn given_directory(&self, variable: &str) -> Option<(PathBuf, Origin)> {
        let first = self.get(variable)?.split(':').next()?;
        Some((PathBuf::from(first), Origin::Variable(variable.to_owned())))
    }

    /// The platform's directories. These depend on HOME and the XDG variables of the process; where
    /// there is no HOME there is no place of the user's.
    fn project(&self) -> Option<ProjectDirs> {
        self.home.as_ref().and_then(|_| ProjectDirs::from("", "", "stampd"))
    }
}

/// Finds the config file: what was asked for must be there, the usual place may be empty.
pub(super) fn find(
    asked: Option<&Path>,
    environment: &Environment,
) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let asked =
        asked.map(Path::to_owned).or_else(|| environment.get("STAMPD_CONFIG").map(PathBuf::from));
    if let Some(path) = asked {
        let path = environment.directory().join(path);
        return match read(&path) {
            Ok(text) => Ok(Some((path, text))),
            Err(source) => Err(ConfigError::Unreadable(path, source)),
        };
    }
    let Some(path) = usual_place(environment) else { return Ok(None) };
    match read(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Unreadable(path, source)),
    }
}

/// `stampd.toml` in the user's config directory.
pub fn usual_place(environment: &Environment) -> Option<PathBuf> {
    environment.project().map(|project| project.config_dir().join("stampd.toml"))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 1 MiB"));
    }
    Ok(text)
}
