//! Somebody who has a home, a shell and the program on the path, and does what a page says.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::fences::{Typed, typed};
use crate::support::process::Agent;

/// Commands that stay in the foreground.
const ROLES: [&str; 3] = ["run", "bridge", "adapter"];

/// The person and the terminal. What was left running ends with the value.
pub struct Visitor {
    /// Before the home: it ends first.
    running: Vec<Agent>,
    home: TempDir,
    directory: PathBuf,
    variables: Vec<(String, String)>,
    meanings: Vec<(String, String)>,
    shown: String,
}

impl Visitor {
    /// Somebody with an empty home.
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("stampd-page-").tempdir().unwrap();
        for part in ["bin", "run"] {
            std::fs::create_dir(home.path().join(part)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_stampd"), home.path().join("bin/stampd")).unwrap();
        Self {
            directory: home.path().to_owned(),
            home,
            variables: Vec::new(),
            meanings: Vec::new(),
            running: Vec::new(),
            shown: String::new(),
        }
    }

    /// Where the home is.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// All that was shown so far.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Goes to a directory.
    pub fn stands_in(&mut self, directory: &Path) {
        directory.clone_into(&mut self.directory);
    }

    /// Takes a word of the pages for what it is on this machine.
    pub fn means(&mut self, word: &str, here: &str) {
        self.meanings.push((word.to_owned(), here.to_owned()));
    }

    /// Exports a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Puts a program of the test's onto the path, before all others.
    pub fn puts_on_path(&self, name: &str, script: &str) {
        let path = self.home().join("bin").join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Appends to a file below the home.
    pub fn writes(&self, file: &str, text: &str) {
        let path = self.home().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(self.translated(text).as_bytes()).unwrap();
    }

    /// Types the lines of a text, one after the other. What stays in the foreground gets a terminal
    /// of its own, and the next line is typed when it is ready.
    pub fn types(&mut self, text: &str) {
        for Typed { line, code } in typed(&self.translated(text)) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["export", ..] => self.export(&line),
                // Whether there is such a target; what it does has tests of its own.
                ["make", ..] => {
                    self.run(
                        &format!("make -C {} -n {}", super::root().display(), &line[4..]),
                        code,
                    );
                }
                ["stampd", ..] if words.iter().any(|word| ROLES.contains(word)) => {
                    self.start(&line);
                }
                _ => self.run(&line, code),
            }
        }
    }

    /// A shell with one line, in this person's environment and nothing else.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        let path = format!("{}/bin:/usr/local/bin:/usr/bin:/bin", self.home().display());
        command
            .args(["-c", line])
            .env_clear()
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.home().join("run"))
            .env("PATH", path)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }

    fn translated(&self, text: &str) -> String {
        let replace = |text: String, (word, here): &(String, String)| text.replace(word, here);
        self.meanings.iter().fold(text.to_owned(), replace)
    }

    /// Has the shell say what the line would set, so that its quotes and variables count.
    fn export(&mut self, line: &str) {
        let names = line.split_whitespace().filter_map(|word| Some(word.split_once('=')?.0));
        for name in names {
            let output = self.command(&format!("{line}; printf %s \"${name}\"")).output().unwrap();
            self.set(name, &String::from_utf8(output.stdout).unwrap());
        }
    }

    fn run(&mut self, line: &str, code: i32) {
        let output = self.command(line).output().unwrap();
        let shown = [output.stdout, output.stderr].concat();
        let shown = String::from_utf8_lossy(&shown);
        assert_eq!(output.status.code(), Some(code), "{line}\n{shown}");
        self.shown.push_str(&shown);
    }

    fn start(&mut self, line: &str) {
        let name = format!("terminal-{}", self.running.len());
        let mut agent = Agent::spawn(self.command(&format!("exec {line}")), self.home(), &name);
        agent.wait_ready();
        if line.contains("bridge") {
            let address = agent.wait_notice_of("STATUS=serving the stamping API on ");
            self.means("localhost:8057", &address);
        }
        self.running.push(agent);
    }
}
