//! What a person reads about the API, as it is answered: every `curl` line of a page is sent, and its
//! reply is the one on the page.
//!
//! Read are the console blocks of `docs/api.md` and of `tests/cases/api`; each page has a server of its
//! own, over a spool. Times are put in one form. `TRYCMD=overwrite` writes the pages anew, as for the
//! command line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stampd::runtime::clock::Clock;
use stampd::runtime::time::Timestamp;

use super::{Answer, Server, over_a_spool};

/// When everything on the pages happens.
const NOW: &str = "2026-01-31T12:00:00Z";

/// The headers that a page with `-i` shows.
const HEADERS: [&str; 6] =
    ["allow", "content-type", "location", "retry-after", "www-authenticate", "x-correlation-id"];

/// A `curl` line, understood.
#[derive(Default)]
struct Curl {
    method: Option<String>,
    target: String,
    host: String,
    headers: String,
    body: Vec<u8>,
    with_head: bool,
    path: Option<String>,
    only: Option<String>,
}

/// Splits a line as a shell does: white space, quotes of both kinds.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (letter, quote) {
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, Some(open)) if letter == open => quote = None,
            (' ' | '\n', None) => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

impl Curl {
    fn read(line: &str, files: &BTreeMap<String, String>) -> Self {
        let mut words = words(line).into_iter();
        assert_eq!(words.next().as_deref(), Some("curl"), "{line}");
        let mut curl = Self::default();
        while let Some(word) = words.next() {
            let mut next = || words.next().unwrap_or_else(|| panic!("{line}: {word} wants more"));
            match word.as_str() {
                "-s" => {}
                "-si" => curl.with_head = true,
                "-X" => curl.method = Some(next()),
                "-H" => curl.headers.extend([next(), "\r\n".to_owned()]),
                "-d" => curl.body = next().into_bytes(),
                "-F" => curl.add_field(&next(), files),
                "|" => match next().as_str() {
                    "jq" => {
                        assert_eq!(next(), "-S", "{line}");
                        curl.path = Some(next().replace('.', "/"));
                    }
                    "grep" => curl.only = Some(next()),
                    other => panic!("{line}: {other}"),
                },
                url => curl.aim_at(url),
            }
        }
        if !curl.body.is_empty() {
            curl.method.get_or_insert_with(|| "POST".to_owned());
        }
        if curl.headers.contains("boundary=") {
            curl.body.extend_from_slice(b"--x--\r\n");
        }
        curl
    }

    fn aim_at(&mut self, url: &str) {
        let url = url.strip_prefix("http://").unwrap_or(url);
        let (host, path) = url.split_once('/').unwrap_or((url, ""));
        (self.host, self.target) = (host.to_owned(), format!("/{path}"));
    }

    fn add_field(&mut self, field: &str, files: &BTreeMap<String, String>) {
        if self.body.is_empty() {
            self.headers += "Content-Type: multipart/form-data; boundary=x\r\n";
        }
        let (name, value) = field.split_once('=').unwrap();
        let file = value.strip_prefix('@');
        let text = file.map_or(value, |file| files[file].as_str());
        let part =
            format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
        self.body.extend_from_slice(part.as_bytes());
    }

    async fn run(&self, server: &Server) -> String {
        let method = self.method.as_deref().unwrap_or("GET");
        let host = format!("Host: {}\r\n", self.host);
        let own = if self.headers.contains("Host:") { "" } else { host.as_str() };
        let headers = format!("{own}{}", self.headers);
        let line = format!("{method} {}", self.target);
        let answer = server.send(&line, &headers, &self.body).await;
        let mut shown = String::new();
        if self.with_head {
            shown += answer.head.lines().next().unwrap();
            shown.push('\n');
            let told = |header: &&str| Some(format!("{header}: {}\n", answer.header(header)?));
            shown.extend(HEADERS.iter().filter_map(told));
            shown.push('\n');
        }
        shown + &self.body_of(answer)
    }

    fn body_of(&self, answer: Answer) -> String {
        match (answer.body, &self.only) {
            (Value::String(text), Some(word)) => {
                let lines = text.lines().filter(|line| line.contains(word));
                lines.flat_map(|line| [line, "\n"]).collect()
            }
            (Value::String(text), None) => text + "\n",
            (mut body, _) => {
                settle(&mut body);
                let path = self.path.as_deref().unwrap_or_default().trim_end_matches('/');
                serde_json::to_string_pretty(body.pointer(path).unwrap()).unwrap() + "\n"
            }
        }
    }
}

/// Puts what differs from run to run in one form.
fn settle(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(settle),
        Value::Object(members) => {
            for (key, member) in members {
                match key.as_str() {
                    "execution_time_ms" if member.is_u64() => *member = json!(0),
                    "execution_time_ms" | "response_time_ms" | "avg_ms" | "total_ms" => {
                        *member = json!(0.25);
                    }
                    "cpu_usage_percent" => *member = json!(97.5),
                    "performance_grade" => *member = json!("A"),
                    "uptime_seconds" | "service_uptime" => *member = json!(42.5),
                    _ => settle(member),
                }
            }
        }
        _ => {}
    }
}

/// Sends what a page shows, and gives the page with what was answered.
async fn play(page: &str, server: &Server) -> String {
    let mut files = BTreeMap::new();
    let mut played = String::new();
    let mut lines = page.lines().peekable();
    let mut in_console = false;
    while let Some(line) = lines.next() {
        writeln!(played, "{line}").unwrap();
        if line.starts_with("```") {
            in_console = line == "```console";
        }
        let Some(first) = line.strip_prefix("$ ").filter(|_| in_console) else { continue };
        let mut command = first.to_owned();
        while command.ends_with('\\') || command.matches('\'').count() % 2 == 1 {
            let more = lines.next().unwrap();
            writeln!(played, "{more}").unwrap();
            command = format!("{} {}", command.trim_end_matches('\\'), more.trim_start());
        }
        while lines.peek().is_some_and(|line| !line.starts_with("$ ") && !line.starts_with("```")) {
            lines.next();
        }
        if let Some((text, file)) =
            command.strip_prefix("printf ").and_then(|it| it.split_once(" > "))
        {
            files.insert(file.to_owned(), words(text)[0].replace("\\n", "\n"));
            continue;
        }
        played += &Curl::read(&command, &files).run(server).await;
    }
    played
}

#[expect(clippy::disallowed_methods, reason = "the same switch as for the command line's pages")]
fn is_overwriting() -> bool {
    std::env::var("TRYCMD").is_ok_and(|word| word == "overwrite")
}

fn check(path: &Path) {
    let page = std::fs::read_to_string(path).unwrap();
    let clock = Clock::mock(Timestamp::parse(NOW).unwrap());
    over_a_spool(clock, async |server| {
        let played = play(&page, server).await;
        if is_overwriting() {
            std::fs::write(path, &played).unwrap();
        }
        let differs = page.lines().zip(played.lines()).find(|(one, other)| one != other);
        assert!(
            is_overwriting() || page == played,
            "{}: the reply is another than on the page: {differs:?}",
            path.display()
        );
    });
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_reply_in_the_guide_is_the_reply() {
    check(&root().join("docs/api.md"));
}

#[test]
fn every_route_and_every_collision_is_answered_as_it_was() {
    let mut pages = 0;
    for entry in std::fs::read_dir(root().join("tests/cases/api")).unwrap() {
        check(&entry.unwrap().path());
        pages += 1;
    }
    assert!(pages >= 2, "the pages are there");
}
