//! The stamping API: the agent's over its spool, and the bridge's over PostgreSQL, each beside what its
//! durability costs by itself.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::by_hand::{Rows, Session};
use crate::load::{Body, Load, post};
use crate::local::end;
use crate::measure::{Pairs, Table, alternate};
use crate::peers::Peer;
use crate::support::client::Client;
use crate::support::kafka::Topic;
use crate::support::postgres::{Address, Database};
use crate::support::process::{Agent, Home};
use crate::support::wait::wait_for;

/// Rounds of a pair, and how long either side is loaded in each.
const ROUNDS: usize = 5;
const SECONDS: u32 = 4;

/// Bytes of a content that is stamped or hashed.
const CONTENT_BYTES: usize = 1_024;

/// Contents of one batch, and batches of one round.
const BATCH: usize = 1_000;
const BATCHES: usize = 20;

const PREFIX: &str = "/api/v1/metadata-stamping";

/// P9 on the agent: stamps on the spool, and hashes, which touch nothing.
pub fn agent(scratch: &Path, table: &mut Table) {
    let (home, agent, listen) = start_agent();
    stamps_on_the_spool(scratch, home.path(), &listen, table);
    hashes(scratch, &listen, table);
    end(agent);
}

fn start_agent() -> (Home, Agent, String) {
    let home = Home::new();
    home.configure("[api]\nlisten = \"127.0.0.1:0\"\n");
    let agent = home.start_ready();
    let status: Value = serde_json::from_str(&home.must(&["status", "--format", "json"]))
        .expect("status prints JSON");
    let listen = status["api"]["listen"].as_str().expect("the API listens").to_owned();
    (home, agent, listen)
}

fn stamps_on_the_spool(scratch: &Path, beside_spool: &Path, listen: &str, table: &mut Table) {
    let peer = Peer::fsync(beside_spool);
    let body = Body::Fresh { bytes: CONTENT_BYTES };
    let url = format!("http://{listen}{PREFIX}/stamp");
    let other = format!("http://{}/", peer.address);
    let mut figures = Figures::default();
    for round in 0..ROUNDS {
        let ours = || post(scratch, &url, &body, SECONDS);
        figures.push(alternate(round, ours, || post(scratch, &other, &body, SECONDS)));
    }
    figures.tell(table, "POST /stamp on the spool : bare axum, one fsync each", "≥3");
}

fn hashes(scratch: &Path, listen: &str, table: &mut Table) {
    let peer = Peer::echo();
    let body = Body::Same(json!({"content": "x".repeat(CONTENT_BYTES)}).to_string());
    let url = format!("http://{listen}{PREFIX}/hash");
    let other = format!("http://{}/", peer.address);
    let mut figures = Figures::default();
    for round in 0..ROUNDS {
        let ours = || post(scratch, &url, &body, SECONDS);
        figures.push(alternate(round, ours, || post(scratch, &other, &body, SECONDS)));
    }
    figures.tell(table, "POST /hash of 1 KiB : bare axum echo", "≥0.7");
}

/// Both sides of each round.
#[derive(Default)]
struct Figures {
    rates: Pairs,
    p99: Pairs,
}

impl Figures {
    fn push(&mut self, (ours, peer): (Load, Load)) {
        self.rates.push(ours.rate, peer.rate);
        self.p99.push(ours.p99, peer.p99);
    }

    fn tell(&self, table: &mut Table, what: &str, goal: &str) {
        table.add_pair("P9", &format!("{what}, rate"), &self.rates, goal);
        table.add_pair("P9", &format!("{what}, p99"), &self.p99, "≤1");
    }
}

/// P9 on PostgreSQL: single stamps beside `pgbench`.
pub fn bridge(scratch: &Path, table: &mut Table) {
    let what = "POST /stamp on Postgres : pgbench, the same inserts";
    stamps_on_postgres(scratch, "", what, table);
}

/// P9 on PostgreSQL with events on Kafka, not awaited and awaited.
pub fn events(scratch: &Path, table: &mut Table) {
    let topic = Topic::create(1);
    let brokers = crate::support::bed("STAMPD_TEST_KAFKA");
    for (wait, what) in [("0s", "with events"), ("25ms", "with events awaited 25 ms")] {
        let kafka = format!(
            "[kafka]\nbrokers = [\"{brokers}\"]\ntopic = \"{}\"\nsecurity = \"plaintext\"\n\
             publish_wait = \"{wait}\"\n",
            topic.name()
        );
        let what = format!("POST /stamp on Postgres {what} : pgbench, the same inserts");
        stamps_on_postgres(scratch, &kafka, &what, table);
    }
}

/// A bridge in a process of its own, killed with the value.
pub struct Bridge {
    child: Child,
    /// Its `host:port`.
    pub listen: String,
    /// Its record.
    pub database: Database,
    home: Home,
}

impl Bridge {
    /// Starts one over a new record, with `more` in its config.
    pub fn start(more: &str) -> Self {
        let (home, mut database) = (Home::new(), Database::create());
        home.configure(&postgres(&home, &database.admin()));
        home.must(&["migrate"]);
        let login = database.login("stampd_server");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let listen = free.local_addr().expect("it is bound").to_string();
        drop(free);
        let api = format!("[api]\nlisten = \"{listen}\"\n\n{}\n{more}", postgres(&home, &login));
        home.configure(&api);
        let child = home.command(&["bridge"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("the bridge starts");
        wait_for("the bridge is ready", || {
            std::net::TcpStream::connect(&listen).ok()?;
            let (status, _) = Client::connect(&listen).get("/health/ready");
            (status == 200).then_some(())
        });
        Self { child, listen, database, home }
    }

    /// Issues a token to an agent.
    pub fn token(&self, name: &str) -> String {
        self.home.must(&["token", "new", name]).trim_end().to_owned()
    }

    fn url(&self, route: &str) -> String {
        format!("http://{}{PREFIX}{route}", self.listen)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn postgres(home: &Home, address: &Address) -> String {
    let password = home.path().join("password");
    fs::write(&password, &address.password).expect("the home takes a file");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).expect("it is ours");
    format!(
        "[postgres]\nurl = \"{}\"\npassword = {{ file = \"{}\" }}\n",
        address.url_without_password(),
        password.display()
    )
}

fn stamps_on_postgres(scratch: &Path, kafka: &str, what: &str, table: &mut Table) {
    let bridge = Bridge::start(kafka);
    let session = Session::open(&bridge.database.admin());
    let (status, _) =
        Client::connect(&bridge.listen).post(&format!("{PREFIX}/stamp"), &content("first"));
    assert_eq!(status, 200);
    let script = scratch.join("pgbench.sql");
    let tables: &[&str] = if kafka.is_empty() {
        &["stamp_events", "metadata_stamps"]
    } else {
        // The event of the first stamp may be published, and its row gone: one like it.
        session.run(
            "INSERT INTO outbox (shard, stream_id, first_seq, next_seq)
             SELECT 0, stream_id, 0, 1 FROM streams LIMIT 1",
        );
        &["stamp_events", "metadata_stamps", "outbox"]
    };
    fs::write(&script, session.insert_alike(tables)).expect("the scratch directory takes a file");
    let body = Body::Fresh { bytes: CONTENT_BYTES };
    let mut figures = Figures::default();
    for round in 0..ROUNDS {
        session.run("CHECKPOINT");
        let ours = || post(scratch, &bridge.url("/stamp"), &body, SECONDS);
        let peer = || pgbench(scratch, &bridge.database.admin(), &script);
        figures.push(alternate(round, ours, peer));
    }
    figures.tell(table, what, "≥2");
}

fn content(text: &str) -> Value {
    json!({"content": format!("{text} {}", "x".repeat(CONTENT_BYTES))})
}

/// 32 clients, each transaction one prepared statement.
fn pgbench(scratch: &Path, address: &Address, script: &Path) -> Load {
    let logs = tempfile::tempdir_in(scratch).expect("the scratch directory takes another");
    let output = Command::new("pgbench")
        .args(["--no-vacuum", "--protocol=prepared", "--client=32", "--jobs=2", "--log"])
        .args([format!("--time={SECONDS}"), format!("--log-prefix={}/t", logs.path().display())])
        .arg(format!("--file={}", script.display()))
        .arg(address.url())
        .output()
        .expect("pgbench is beside the server");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let tps = tps.and_then(|rest| rest.split(' ').next()?.parse().ok());
    let mut micros = Vec::new();
    for log in fs::read_dir(logs.path()).expect("it is ours") {
        let log = fs::read_to_string(log.expect("it is ours").path()).expect("a log is text");
        micros.extend(log.lines().map(|line| {
            line.split(' ').nth(2).and_then(|time| time.parse::<f64>().ok()).expect("a latency")
        }));
    }
    let p99 = crate::measure::quantile(&micros, 0.99) / 1e6;
    Load { rate: tps.unwrap_or_else(|| panic!("{text}")), p99 }
}

/// P9 on PostgreSQL: batches beside the same rows by hand.
pub fn batches(table: &mut Table) {
    let mut pairs = Pairs::default();
    let mut better = "";
    for round in 0..ROUNDS {
        let bridge = Bridge::start("");
        let session = Session::open(&bridge.database.admin());
        let bodies: Vec<Value> = (0..BATCHES).map(batch).collect();
        let mut client = Client::connect(&bridge.listen);
        let start = Instant::now();
        for body in &bodies {
            let (status, reply) = client.post(&format!("{PREFIX}/batch"), body);
            assert_eq!((status, &reply["data"]["successful"]), (200, &json!(BATCH)));
        }
        let ours = (BATCH * BATCHES) as f64 / start.elapsed().as_secs_f64();
        let rows = Rows::read(&session, BATCH as i64);
        let (by_hand, way) = rows.by_the_better(&session, round);
        better = way;
        pairs.push(ours, by_hand);
    }
    let what = format!("POST /batch of 1,000 : the same rows by hand ({better}), rate");
    table.add_pair("P9", &what, &pairs, "≥0.7");
}

fn batch(number: usize) -> Value {
    let items: Vec<Value> =
        (0..BATCH).map(|n| content(&format!("batch {number} item {n}"))).collect();
    json!({"items": items})
}
