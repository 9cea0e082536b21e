//! A directory in which commands run, without an agent and without a repo.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use super::process::Home;
use super::{schema, tree};

/// A home with a directory of files.
pub struct Files {
    pub home: Home,
    pub dir: PathBuf,
}

impl Files {
    /// An empty directory.
    pub fn new() -> Self {
        let home = Home::new();
        home.configure("");
        let dir = home.path().join("files");
        std::fs::create_dir(&dir).expect("the home takes a directory");
        Self { home, dir }
    }

    /// Writes a file, and the directories above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        tree::write(&self.dir, name, content);
    }

    /// Runs a command in the directory to its end, with `stdin` as its standard input.
    pub fn fed(&self, args: &[impl AsRef<OsStr>], stdin: &[u8]) -> Output {
        let mut command = self.home.command(&[]);
        command.args(args).current_dir(&self.dir);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the stampd binary starts");
        // Taken, so that it is closed here and the command sees the end. A command that reads none
        // of it may be gone already.
        let _ = child.stdin.take().expect("it is piped").write_all(stdin);
        let output = child.wait_with_output().expect("the child is ours");
        schema::hold(&output.stdout);
        output
    }

    /// Runs a command that ends with `code`; returns what it printed and what it said.
    pub fn ends(&self, code: i32, args: &[&str]) -> (String, String) {
        let output = self.fed(args, b"");
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
        (out, err)
    }
}

/// What a command printed or said.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it is UTF-8")
}
