//! `stampd contracts`: those that are shipped say what the program does, and a copy that does not is
//! told where.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::process::Home;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts");
const ADAPTER: &str = "effects/database_adapter_effect.yaml";

/// A copy of the contracts, laid out by the program.
struct Copy {
    home: Home,
    dir: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let home = Home::new();
        let dir = home.path().join("deep/contracts");
        home.must(&["contracts", "init", dir.to_str().unwrap()]);
        Self { home, dir }
    }

    /// Alters a document.
    fn replace(&self, file: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.dir.join(file)).unwrap();
        assert!(text.contains(old), "{old} is in {file}");
        fs::write(self.dir.join(file), text.replace(old, new)).unwrap();
    }

    /// What `contracts check` finds.
    fn check(&self, differences: &[&str]) {
        let output = self.home.run(&["contracts", "check", self.dir.to_str().unwrap()]);
        let found = String::from_utf8(output.stdout).unwrap();
        assert_eq!(found.lines().collect::<Vec<_>>(), differences);
        let expected = if differences.is_empty() { 0 } else { 5 };
        assert_eq!(output.status.code(), Some(expected));
    }
}

fn refusal(output: &Output) -> (i32, String) {
    assert_eq!(output.stdout, b"", "nothing was written");
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_contracts_that_are_shipped_say_what_the_program_does() {
    assert_eq!(Home::new().must(&["contracts", "check", SHIPPED]), "");
}

#[test]
fn init_lays_out_what_check_finds_right_and_does_it_twice() {
    let copy = Copy::new();
    copy.check(&[]);
    copy.home.must(&["contracts", "init", copy.dir.to_str().unwrap()]);
    let openapi = Path::new(SHIPPED).join("openapi.yaml");
    assert_eq!(fs::read(copy.dir.join("openapi.yaml")).unwrap(), fs::read(openapi).unwrap());
}

#[test]
fn each_difference_is_named_by_its_file_and_members() {
    let copy = Copy::new();
    copy.replace(ADAPTER, "update_node_heartbeat", "update_node_heartbeats");
    copy.replace(ADAPTER, "failure_threshold: 5", "failure_threshold: 6");
    copy.replace("effects/stamping_effect.yaml", "batch_items_max: 1000", "batch_items_max: 10");
    copy.replace("schemas/stamp-created.v1.json", "[0-9a-fA-F]{64}", "[0-9a-f]{64}");
    copy.replace("openapi.yaml", "        - RATE_LIMITED\n", "");
    copy.check(&[
        "effects/database_adapter_effect.yaml: error_handling.circuit_breaker.failure_threshold: \
         says 6, the program 5",
        "effects/database_adapter_effect.yaml: io_operations.update_node_heartbeat: is missing: \
         the program has [\"node-heartbeat\"]",
        "effects/database_adapter_effect.yaml: io_operations.update_node_heartbeats: is unknown to \
         the program: did you mean update_node_heartbeat?",
        "effects/stamping_effect.yaml: input_state.limits.batch_items_max: says 10, the program \
         1000",
        "openapi.yaml: components.schemas.Code.enum: lacks \"RATE_LIMITED\", which the program has",
        "schemas/stamp-created.v1.json: properties.file_hash.pattern: says \"^[0-9a-f]{64}$\", the \
         program \"^[0-9a-fA-F]{64}$\"",
    ]);
}

#[test]
fn an_installation_may_have_its_own_topics_and_prose() {
    let copy = Copy::new();
    copy.replace(ADAPTER, "dev.omninode_bridge.onex", "prod.acme_bridge.onex");
    copy.replace(ADAPTER, "dev.omninode-bridge", "prod.acme-bridge");
    copy.replace(ADAPTER, "description: Writes", "x-owner: us\n  description: Ours writes");
    copy.replace("openapi.yaml", "http://localhost:8057", "https://stamps.example");
    copy.replace("asyncapi.yaml", "{default: dev}", "{default: prod}");
    copy.check(&[]);
    copy.replace(ADAPTER, "onex.evt.workflow-failed.v1", "onex.evt.workflow-lost.v1");
    copy.check(&[
        "effects/database_adapter_effect.yaml: kafka.consumes: lacks \
         \"prod.acme_bridge.onex.evt.workflow-failed.v1\", which the program has",
        "effects/database_adapter_effect.yaml: kafka.consumes: names \
         \"prod.acme_bridge.onex.evt.workflow-lost.v1\", which the program has not: did you mean \
         prod.acme_bridge.onex.evt.workflow-started.v1?",
    ]);
}

#[test]
fn what_cannot_be_read_is_named_by_its_line_and_the_rest_is_checked() {
    let copy = Copy::new();
    copy.replace(ADAPTER, "node_identity:", "node_identity: [");
    copy.replace("schemas/node-heartbeat.v1.json", "\"type\": \"object\"", "\"type\": object");
    fs::write(copy.dir.join("asyncapi.yaml"), b"asyncapi: 3.0.0\ninfo: \xff\n").unwrap();
    fs::remove_file(copy.dir.join("openapi.yaml")).unwrap();
    copy.replace("effects/stamping_effect.yaml", "port: 8057", "port: 8057\n  port: 8058");
    let dir = copy.dir.to_str().unwrap();
    let output = copy.home.run(&["contracts", "check", dir, "--format", "json"]);
    assert_eq!(output.status.code(), Some(5));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let places: Vec<(&str, Option<u64>)> = told["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["file"].as_str().unwrap(), one["line"].as_u64()))
        .collect();
    assert_eq!(
        places,
        [
            ("asyncapi.yaml", Some(2)),
            (ADAPTER, Some(7)),
            ("effects/stamping_effect.yaml", Some(87)),
            ("openapi.yaml", None),
            ("schemas/node-heartbeat.v1.json", Some(6)),
        ]
    );
}

#[test]
fn a_directory_that_is_not_there_is_an_error_that_says_what_to_do() {
    let home = Home::new();
    let (code, text) = refusal(&home.run(&["contracts", "check", "/nowhere"]));
    assert_eq!(code, 7);
    assert!(
        text.contains("/nowhere is not a directory; `stampd contracts init /nowhere`"),
        "{text}"
    );
}

#[test]
fn init_writes_over_nothing_that_says_something_else() {
    let home = Home::new();
    let dir = home.path().join("contracts");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("openapi.yaml"), "mine").unwrap();
    let (code, text) = refusal(&home.run(&["contracts", "init", dir.to_str().unwrap()]));
    assert_eq!(code, 2);
    assert!(text.contains("already: openapi.yaml; nothing was written"), "{text}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(dir.join("openapi.yaml")).unwrap(), "mine");
}
