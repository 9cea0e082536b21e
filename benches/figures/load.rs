//! The load generator, the same for both sides of a pair: `wrk`, 32 connections, each request once.

use std::path::Path;
use std::process::Command;

/// Connections of every run.
const CONNECTIONS: u32 = 32;

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests answered per second.
    pub rate: f64,
    /// The time within which 99 of 100 were answered, in seconds.
    pub p99: f64,
}

/// What is posted.
pub enum Body {
    /// A content that nobody posted before, of `bytes` or a little more.
    Fresh {
        /// Its size.
        bytes: usize,
    },
    /// The same each time.
    Same(String),
}

/// Posts to `url` for `seconds`.
///
/// # Panics
/// When `wrk` is not there, or when a reply is not 2xx: a refused request is no work done.
pub fn post(scratch: &Path, url: &str, body: &Body, seconds: u32) -> Load {
    let script = scratch.join("load.lua");
    std::fs::write(&script, lua(body)).expect("the scratch directory takes a file");
    let output = Command::new("wrk")
        .args(["-t2", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--timeout", "10s"])
        .arg("-s")
        .arg(&script)
        .arg(url)
        .output()
        .expect("wrk is installed: type apt-get install wrk");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{text}"))
    };
    assert!(told("failed=") == 0.0, "{url}: {text}");
    Load { rate: told("rate="), p99: told("p99_us=") / 1e6 }
}

/// Threads of `wrk` share nothing: each gets a number of its own, and every run a time of its own.
fn lua(body: &Body) -> String {
    let request = match body {
        Body::Same(body) => format!(
            "local body = {}\nfunction request() n = n + 1; return wrk.format(nil, nil, nil, body) end\n",
            quoted(body)
        ),
        Body::Fresh { bytes } => format!(
            "local filler = string.rep('x', {bytes})\n\
             function request()\n  n = n + 1\n\
             \x20 local body = '{{\"content\":\"' .. run .. ' ' .. id .. ' ' .. n .. ' ' .. filler .. '\"}}'\n\
             \x20 return wrk.format(nil, nil, nil, body)\nend\n"
        ),
    };
    let run = uuid::Uuid::new_v4().simple().to_string();
    format!(
        "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n\
         local threads = 0\n\
         function setup(thread) thread:set('id', threads); threads = threads + 1 end\n\
         function init(args) n = 0; run = '{run}' end\n\
         {request}\
         function done(summary, latency, requests)\n\
         \x20 local e = summary.errors\n\
         \x20 print('rate=' .. summary.requests / summary.duration * 1e6)\n\
         \x20 print('p99_us=' .. latency:percentile(99))\n\
         \x20 print('failed=' .. e.connect + e.read + e.write + e.status + e.timeout)\n\
         end\n"
    )
}

fn quoted(text: &str) -> String {
    format!("[==[{text}]==]")
}
