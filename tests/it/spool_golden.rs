//! Bodies and leaves that were computed without stampd.
//!
//! `tests/cases/spool/golden.py` renders stamps from their stored columns with Python's `json` and
//! `hashlib`, from the format's description alone; its output is `golden.jsonl`. Here those columns
//! and leaves are put into a spool as they are, and read back: the reader proves each body against
//! the leaf that Python computed, and the text is compared as well.

use rusqlite::{Connection, params};
use serde_json::Value;
use stampd::model::batch::Entry;
use stampd::model::stream::StreamId;
use stampd::spool;

use crate::spool::{Running, config};

const STREAM: &str = "0192a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";

fn cases() -> Vec<Value> {
    include_str!("../cases/spool/golden.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn bytes(hex: &Value) -> Option<Vec<u8>> {
    let digits = hex.as_str()?;
    let pairs = (0..digits.len()).step_by(2);
    Some(pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect())
}

fn put(raw: &Connection, stream: i64, seq: i64, case: &Value) {
    let columns = &case["columns"];
    let context = columns["context"].to_string();
    raw.execute("INSERT OR IGNORE INTO context (json) VALUES (?1)", [&context]).unwrap();
    raw.execute(
        "INSERT INTO stamp (pos, leaf, kind, context, path, from_path, digest, prev, size, mode,
           mtime, seen, stamped, detail)
         VALUES (?1, ?2, ?3, (SELECT id FROM context WHERE json = ?4), ?5, ?6, ?7, ?8, ?9, ?10,
           ?11, ?12, ?13, ?14)",
        params![
            (stream << 40) + seq,
            bytes(&case["leaf"]),
            columns["kind"].as_str(),
            context,
            bytes(&columns["path"]),
            bytes(&columns["from_path"]),
            bytes(&columns["digest"]),
            bytes(&columns["prev"]),
            columns["size"].as_i64(),
            columns["mode"].as_i64(),
            columns["mtime"].as_i64(),
            columns["seen"].as_i64(),
            columns["stamped"].as_i64(),
            columns["detail"].is_object().then(|| columns["detail"].to_string()),
        ],
    )
    .unwrap();
}

#[test]
fn stored_stamps_render_to_the_bodies_that_another_program_computed() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    drop(running.repo());
    running.stop();
    let cases = cases();
    let state_dir = config(dir.path()).state_dir;
    let raw = Connection::open(state_dir.join("spool.db")).unwrap();
    let id: StreamId = STREAM.parse().unwrap();
    raw.execute(
        "INSERT INTO stream SELECT 7, ?1, repo_id, 1, origin, context, ?2, root_state, ends_at,
           purged_to, committed_at, changed_at FROM stream",
        params![id.as_uuid().as_bytes(), cases.len() as i64],
    )
    .unwrap();
    for (seq, case) in (0..).zip(&cases) {
        put(&raw, 7, seq, case);
    }
    drop(raw);
    let reader = spool::open_read_only(&state_dir).unwrap();
    let batch = reader.batch(id, 0, 100, 1 << 20).unwrap();
    assert_eq!(batch.entries.len(), cases.len());
    for (entry, case) in batch.entries.iter().zip(&cases) {
        let Entry::Stamp(sealed) = entry else { panic!("the body is there") };
        assert_eq!(sealed.body, case["body"].as_str().unwrap());
        assert_eq!(sealed.leaf.to_string(), case["leaf"].as_str().unwrap());
    }
}
