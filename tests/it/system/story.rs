//! What is told while the scenarios are played: to nobody in a test, and to a person in `make demo`,
//! at a pace at which one can read.

use std::time::Duration;

use super::super::support::wait::rest;

/// The time for a heading and for a line.
const HEADING: Duration = Duration::from_millis(1_500);
const LINE: Duration = Duration::from_millis(400);

/// The longest piece of a text that is shown.
const SHOWN_MAX: usize = 88;

/// The one who tells.
pub struct Story {
    slowly: bool,
    chapters: usize,
}

impl Story {
    /// Begins, slowly if `STAMPD_DEMO` is set.
    #[expect(clippy::disallowed_methods, reason = "how `make demo` asks for it")]
    pub fn begin() -> Self {
        Self { slowly: std::env::var_os("STAMPD_DEMO").is_some(), chapters: 0 }
    }

    /// A scenario begins.
    pub fn chapter(&mut self, title: &str) {
        self.chapters += 1;
        eprintln!("\n{:2}  {title}", self.chapters);
        self.wait(HEADING);
    }

    /// Something is done, or was seen.
    pub fn says(&self, text: &str) {
        eprintln!("      {text}");
        self.wait(LINE);
    }

    /// Something was asked, and answered so.
    pub fn shows(&self, asked: &str, answer: &str) {
        self.says(&format!("{}\n        → {}", short(asked), short(answer)));
    }

    /// A command printed something.
    pub fn prints(&self, command: &str, printed: &str) {
        let lines = printed.lines().map(|line| format!("\n        {line}"));
        self.says(&format!("{command}{}", lines.collect::<String>()));
    }

    fn wait(&self, time: Duration) {
        if self.slowly {
            rest(time);
        }
    }
}

fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
