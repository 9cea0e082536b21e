//! A terminal that a command is given, and what it was shown there.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Wide enough that no line is cut.
const COLUMNS: u16 = 200;

/// Which of its outputs a command has on the terminal; the other goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    Both,
    Out,
    Err,
}

/// A command on a terminal of its own.
pub struct Session {
    child: Child,
    keyboard: File,
    shown: String,
}

impl Session {
    /// Starts a command on a new terminal.
    pub fn start(mut command: Command, shows: Shows) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let screen = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let size = Winsize { ws_row: 50, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&screen, size).unwrap();
        let output = |shown: bool| {
            if shown { Stdio::from(screen.try_clone().unwrap()) } else { Stdio::null() }
        };
        command.stdout(output(shows != Shows::Err)).stderr(output(shows != Shows::Out));
        command.env("TERM", "xterm-256color");
        let child = command.spawn().unwrap();
        // The command's copies are the last ones, so that its end is the end of what is shown.
        drop((command, screen));
        Self { child, keyboard: File::from(keyboard), shown: String::new() }
    }

    /// What has been shown so far, once it fulfils `enough`.
    pub fn wait(&mut self, enough: impl Fn(&str) -> bool) -> &str {
        while !enough(&self.shown) {
            assert!(self.read(), "the end came first:\n{:?}", self.shown);
        }
        &self.shown
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that was shown, and how the command ended.
    pub fn end(mut self) -> (String, ExitStatus) {
        while self.read() {}
        (self.shown, self.child.wait().unwrap())
    }

    /// Reads on. `false` at the end, which a terminal without a program tells by an error.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        match self.keyboard.read(&mut bytes) {
            Ok(read) => {
                self.shown.push_str(&String::from_utf8_lossy(&bytes[..read]));
                read > 0
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(_) => false,
        }
    }
}

/// Runs a command to its end, with everything it says on a terminal, and returns that.
pub fn shown(command: Command, shows: Shows) -> String {
    let (shown, status) = Session::start(command, shows).end();
    assert!(status.success(), "{status}: {shown:?}");
    shown
}
