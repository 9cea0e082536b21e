//! What happens on the machine alone: first stamping, rescans, latency, rest.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::corpus::Corpus;
use crate::measure::{Pairs, ROUNDS, Table, alternate, millis, quantile, seconds};
use crate::support::process::{Agent, Home};

/// `[watch] settle_after_close` and `settle`, as the config's defaults have them.
const SETTLE_AFTER_CLOSE: Duration = Duration::from_millis(50);

/// Files whose latency is taken, one after the other.
const SAMPLES: usize = 300;

/// How long an idle agent is watched.
const IDLE: Duration = Duration::from_mins(1);

/// A home whose agent watches `root` and delivers nowhere.
pub fn home_over(root: &Path) -> Home {
    home_with(root, "")
}

/// The same with `more` in its config.
pub fn home_with(root: &Path, more: &str) -> Home {
    let home = Home::new();
    home.configure(&format!(
        "[[repo]]\npath = \"{}\"\nnamespace = \"bench.figures.local\"\n{more}",
        root.display()
    ));
    home
}

/// Starts the agent and returns it with the seconds until it is ready: everything is armed, and
/// every difference between disk and index is durable.
pub fn start(home: &Home) -> (Agent, f64) {
    let start = Instant::now();
    let agent = home.start_ready();
    (agent, start.elapsed().as_secs_f64())
}

pub fn end(agent: Agent) {
    let status = agent.terminate();
    assert!(status.success(), "the agent ended with {status}");
}

fn peer(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().expect("the peer starts");
    assert!(status.success(), "{command:?}: {status}");
}

fn xargs_b3sum(corpus: &Corpus, xargs: &[&str], b3sum: &[&str]) -> f64 {
    let list = File::open(&corpus.list).expect("the list is there");
    seconds(|| {
        peer(
            Command::new("xargs").arg("-0").args(xargs).arg(&corpus.b3sum).args(b3sum).stdin(list),
        );
    })
}

fn git_status(corpus: &Corpus) -> f64 {
    seconds(|| {
        peer(Command::new("git").arg("-C").arg(&corpus.root).args(["status", "--porcelain"]));
    })
}

/// P1: from the start of the process until every file is stamped and durable.
pub fn first_stamping(corpus: &Corpus, table: &mut Table) {
    let (mut serial, mut parallel) = (Pairs::default(), Pairs::default());
    for round in 0..ROUNDS {
        let ours = || {
            let home = home_over(&corpus.root);
            let (agent, took) = start(&home);
            end(agent);
            took
        };
        let peers = || {
            let serial = xargs_b3sum(corpus, &[], &[]);
            (serial, xargs_b3sum(corpus, &["-P2"], &["--num-threads", "1", "--no-mmap"]))
        };
        let (ours, peers) = alternate(round, ours, peers);
        serial.push(ours, peers.0);
        parallel.push(ours, peers.1);
    }
    table.add_pair("P1", "first stamping : xargs b3sum", &serial, "≤0.85, aim 0.65");
    table.add_pair("P1", "first stamping : xargs -P2 b3sum --no-mmap", &parallel, "≤1.8");
}

/// P2: a rescan that finds nothing, in a running agent.
pub fn rescan(corpus: &Corpus, table: &mut Table) {
    let home = home_over(&corpus.root);
    let (agent, _) = start(&home);
    let mut pairs = Pairs::default();
    for round in 0..2 * ROUNDS {
        let ours = || seconds(|| drop(home.must(&["scan", "--wait"])));
        let (ours, peer) = alternate(round, ours, || git_status(corpus));
        pairs.push(ours, peer);
    }
    end(agent);
    table.add_pair("P2", "rescan, nothing changed : git status", &pairs, "≤0.7");
}

/// P2: from the start of the process, over a spool that knows everything, until all is compared.
pub fn cold_start(corpus: &Corpus, table: &mut Table) {
    let home = home_over(&corpus.root);
    end(start(&home).0);
    let mut pairs = Pairs::default();
    for round in 0..ROUNDS {
        let ours = || {
            let (agent, took) = start(&home);
            end(agent);
            took
        };
        let (ours, peer) = alternate(round, ours, || git_status(corpus));
        pairs.push(ours, peer);
    }
    table.add_pair("P2", "cold start : git status", &pairs, "≤1.5");
}

/// P4: from close() until the stamp can be read from the committed spool.
pub fn latency(table: &mut Table) {
    let waits = latencies("");
    let figure = format!(
        "settle + {:.1} ms p50, + {:.1} ms p99",
        quantile(&waits, 0.5),
        quantile(&waits, 0.99)
    );
    let detail = format!("{SAMPLES} files, settle_after_close {SETTLE_AFTER_CLOSE:?}");
    table.add("P4", "close() → durable stamp", figure, detail, "p50 ≤ +2 ms, p99 ≤ +10 ms");
}

/// Milliseconds from the end of settling to the stamp, of an agent with `more` in its config.
pub fn latencies(more: &str) -> Vec<f64> {
    let tree = tempfile::tempdir().expect("a scratch directory");
    let home = home_with(tree.path(), more);
    let (agent, _) = start(&home);
    let spool = rusqlite::Connection::open_with_flags(
        home.state_dir().join("spool.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    );
    let spool = spool.expect("the spool is there");
    let mut known = spool.prepare("SELECT 1 FROM file WHERE path = ?1").expect("it has files");
    let mut waits = Vec::with_capacity(SAMPLES);
    for sample in 0..SAMPLES {
        let name = format!("sample-{sample:04}");
        fs::write(tree.path().join(&name), &name).expect("the tree takes a file");
        let closed = Instant::now();
        // A reader sees what is committed and nothing else, and commits are synced.
        while !known.exists([name.as_bytes()]).expect("the spool is readable") {
            sleep(Duration::from_micros(200));
        }
        waits.push(millis(closed.elapsed().saturating_sub(SETTLE_AFTER_CLOSE)));
    }
    end(agent);
    waits
}

/// P6: processor time, wake-ups and memory of an agent that has nothing to do.
pub fn idle(corpus: &Corpus, table: &mut Table) {
    let home = home_over(&corpus.root);
    let (agent, _) = start(&home);
    // What the scan left to do, such as giving memory back, is not rest yet.
    sleep(Duration::from_secs(10));
    let before = Usage::of(agent.pid());
    sleep(IDLE);
    let after = Usage::of(agent.pid());
    let figure = format!(
        "{:.3} % CPU, {:.2} wake-ups/s, {:.1} MB resident",
        100.0 * (after.cpu_seconds - before.cpu_seconds) / IDLE.as_secs_f64(),
        (after.wakeups - before.wakeups) as f64 / IDLE.as_secs_f64(),
        agent.resident() as f64 / 1e6
    );
    end(agent);
    let detail = format!("one agent, {IDLE:?}");
    table.add("P6", "idle over the corpus", figure, detail, "<0.1 %, timers only, ≤45 MB");
}

/// What a process has used so far.
struct Usage {
    cpu_seconds: f64,
    wakeups: u64,
}

impl Usage {
    fn of(pid: u32) -> Self {
        let mut usage = Self { cpu_seconds: 0.0, wakeups: 0 };
        for task in fs::read_dir(format!("/proc/{pid}/task")).expect("the agent lives") {
            let task = task.expect("the agent's threads are listed").path();
            // Nanoseconds on a processor, nanoseconds waited for one, times put on one.
            let schedule = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            let mut fields = schedule.split_whitespace().filter_map(|field| field.parse().ok());
            usage.cpu_seconds += fields.next().unwrap_or(0_u64) as f64 / 1e9;
            usage.wakeups += fields.nth(1).unwrap_or(0);
        }
        usage
    }
}
