//! The contract of the API, held against the program: paths, methods, codes, limits and examples; and
//! requests made up from it, against a process.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::process::Command;
use std::time::Duration;

use jsonschema::Draft;
use serde_json::{Value, json};
use stampd::api::streams::Streams;
use stampd::api::{self, Backend, Code, State};
use stampd::model::piece::render;
use stampd::runtime::clock::Clock;
use stampd::runtime::metrics::Metrics;
use stampd::store::address::Address;
use stampd::store::ingest::Ingest;
use stampd::store::tokens;

use super::{Answer, Server, over_a_spool};
use crate::agent::Workplace;
use crate::bridge::{self, Bridge};
use crate::stamps::desk;
use crate::support::postgres::Database;
use crate::support::record::{Record, config, piece, session, stream};
use crate::support::{bed, block_on};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/openapi.yaml");

pub struct Contract(pub Value);

/// A request that the contract shows.
struct Example {
    line: String,
    headers: String,
    body: Vec<u8>,
    status: u16,
}

impl Contract {
    fn read() -> Self {
        Self::of(FILE)
    }

    /// The contract in a file.
    pub fn of(file: &str) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        Self(serde_yaml_ng::from_str(&text).unwrap())
    }

    /// What a node says, or what it refers to.
    fn at<'a>(&'a self, node: &'a Value) -> &'a Value {
        match node.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.0.pointer(reference.trim_start_matches('#')).unwrap(),
            None => node,
        }
    }

    /// Every operation: path, method and what is said of it.
    fn operations(&self) -> Vec<(&str, &str, &Value)> {
        let paths = self.0["paths"].as_object().unwrap();
        let mut operations = Vec::new();
        for (path, item) in paths {
            for (method, operation) in self.at(item).as_object().unwrap() {
                operations.push((path.as_str(), method.as_str(), operation));
            }
        }
        operations
    }

    /// What a reply of that status and media type must be like.
    fn check(&self, name: &str, operation: &Value, answer: &Answer) {
        let status = answer.status.to_string();
        let said = operation["responses"].get(&status);
        let said = self.at(said.unwrap_or_else(|| panic!("{name}: {status} is not in it")));
        let media = answer.header("content-type").unwrap();
        let media = media.split(';').next().unwrap();
        let schema = said["content"].get(media);
        let schema = schema.unwrap_or_else(|| panic!("{name}: {status} of {media} is not in it"));
        let schema = json!({"allOf": [schema["schema"]], "components": self.0["components"]});
        let options = jsonschema::options();
        let options = options.with_draft(Draft::Draft202012).should_validate_formats(true);
        let validator = options.build(&schema).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(&answer.body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{name} {status}: {faults:#?}\n{}", answer.body);
        for header in said["headers"].as_object().into_iter().flat_map(|all| all.keys()) {
            assert!(answer.header(&header.to_ascii_lowercase()).is_some(), "{name}: {header}");
        }
    }

    /// The examples of an operation: one with the first of everything, then each other one by itself.
    fn examples(&self, path: &str, method: &str, operation: &Value) -> Vec<Example> {
        let none = Vec::new();
        let parameters = operation["parameters"].as_array().unwrap_or(&none);
        let parameters: Vec<&Value> =
            parameters.iter().map(|parameter| self.at(parameter)).collect();
        let mut examples = Vec::new();
        for choice in &choices_of(&parameters) {
            let status = choice.values().filter_map(|example| example["x-status"].as_u64()).max();
            let line = line_of(path, method, &parameters, choice);
            let bodies = bodies_of(operation);
            for (headers, body, own) in bodies {
                let status = own.or(status).unwrap_or(200) as u16;
                examples.push(Example { line: line.clone(), headers, body, status });
            }
        }
        examples
    }
}

/// What the parameters are in each request: of the path always something.
fn choices_of<'a>(parameters: &[&'a Value]) -> Vec<BTreeMap<&'a str, &'a Value>> {
    let mut chosen = vec![BTreeMap::new()];
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap();
        let mut examples = values(&parameter["examples"]);
        if let Some(first) = examples.next_if(|_| parameter["in"] == "path") {
            for choice in &mut chosen {
                choice.insert(name, first);
            }
        }
        for example in examples {
            let mut choice = chosen[0].clone();
            choice.insert(name, example);
            chosen.push(choice);
        }
    }
    chosen
}

fn values(examples: &Value) -> Peekable<impl Iterator<Item = &Value>> {
    examples.as_object().into_iter().flat_map(|all| all.values()).peekable()
}

fn line_of(
    path: &str,
    method: &str,
    parameters: &[&Value],
    choice: &BTreeMap<&str, &Value>,
) -> String {
    let (mut path, mut query) = (path.to_owned(), Vec::new());
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap();
        let Some(example) = choice.get(name) else { continue };
        let value = match &example["value"] {
            Value::String(text) => text.replace(' ', "%20"),
            other => other.to_string(),
        };
        match parameter["in"].as_str().unwrap() {
            "path" => path = path.replace(&format!("{{{name}}}"), &value),
            _ => query.push(format!("{name}={value}")),
        }
    }
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{} {path}{mark}{}", method.to_ascii_uppercase(), query.join("&"))
}

/// Headers, body and status of every example of a body; one without any where none is asked for.
fn bodies_of(operation: &Value) -> Vec<(String, Vec<u8>, Option<u64>)> {
    let Some(content) = operation["requestBody"]["content"].as_object() else {
        return vec![(String::new(), Vec::new(), None)];
    };
    let mut bodies = Vec::new();
    for (media, said) in content {
        for example in values(&said["examples"]) {
            let (media, body) = match media.as_str() {
                "multipart/form-data" => {
                    ("multipart/form-data; boundary=x", form_of(&example["value"]))
                }
                media => (media, example["value"].to_string()),
            };
            let headers = format!("Content-Type: {media}\r\n");
            bodies.push((headers, body.into_bytes(), example["x-status"].as_u64()));
        }
    }
    bodies
}

fn form_of(fields: &Value) -> String {
    let mut form = String::new();
    for (name, value) in fields.as_object().unwrap() {
        let text = value.as_str().unwrap();
        let head = format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"f\"");
        form.extend(["--x\r\n", &head, "\r\n\r\n", text, "\r\n"]);
    }
    form + "--x--\r\n"
}

/// Sends everything that the contract shows, as whoever has the token.
pub async fn examples_hold(
    contract: &Contract,
    server: &Server,
    token: Option<&str>,
    sent_min: usize,
) {
    let mut sent = 0;
    for (path, method, operation) in contract.operations() {
        let is_of_streams = path.starts_with("/api/v1/streams");
        if is_of_streams && token.is_none() {
            continue;
        }
        for example in contract.examples(path, method, operation) {
            let token = token.filter(|_| is_of_streams);
            let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
            let headers = format!("{}{}", example.headers, bearer.unwrap_or_default());
            let answer = server.send(&example.line, &headers, &example.body).await;
            let body = String::from_utf8_lossy(&example.body);
            let name = format!("{} {body}", example.line);
            assert_eq!(answer.status, example.status, "{name}: {}", answer.body);
            contract.check(&name, operation, &answer);
            sent += 1;
        }
        methods_are_those(contract, server, path).await;
    }
    assert!(sent >= sent_min, "only {sent} examples were found");
}

/// Asks for what no route has, and reads which methods it has.
async fn methods_are_those(contract: &Contract, server: &Server, path: &str) {
    let item = contract.at(&contract.0["paths"][path]).as_object().unwrap();
    let mut said: BTreeSet<String> =
        item.keys().map(|method| method.to_ascii_uppercase()).collect();
    if said.contains("GET") {
        said.insert("HEAD".to_owned());
    }
    let answer = server.send(&format!("TRACE {}", path.replace(['{', '}'], "")), "", b"").await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (405, &json!("METHOD_NOT_ALLOWED")),
        "{path}"
    );
    let allowed = answer.header("allow").unwrap();
    let allowed: BTreeSet<String> =
        allowed.split(',').map(|method| method.trim().to_ascii_uppercase()).collect();
    assert_eq!(allowed, said, "{path}");
}

#[test]
fn the_contract_has_every_path_and_no_other() {
    let contract = Contract::read();
    let said: BTreeSet<String> = contract.0["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(said, api::paths().into_iter().collect());
}

#[test]
fn the_contract_has_the_codes_and_limits_of_the_program() {
    let contract = Contract::read();
    let limits = json!(BTreeMap::from(api::limits::limits()));
    assert_eq!(contract.0["x-limits"], limits);
    let code = &contract.0["components"]["schemas"]["Code"];
    let codes = Code::ALL.map(Code::as_str);
    assert_eq!(code["enum"], json!(codes));
    let statuses = Code::ALL.map(|code| (code.as_str(), code.status().as_u16()));
    assert_eq!(code["x-status"], json!(BTreeMap::from(statuses)));
}

#[test]
fn every_example_of_the_contract_holds_over_a_spool() {
    over_a_spool(Clock::system(), async |server| {
        examples_hold(&Contract::read(), server, None, 100).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_contract_holds_over_the_record() {
    let mut record = Record::create().await;
    let login = record.database.login("stampd_server");
    let name = "laptop".parse().unwrap();
    let token = tokens::issue(&mut session(&login).await, &name, &[]).await.unwrap();
    let road = Address::parse(&config(&login)).unwrap();
    let ingest = Ingest::new(road, 4, Duration::from_secs(30), Some(std::sync::Arc::default()));
    let metrics = Metrics::new();
    let state = State::new(Backend::Store(desk(&login)), &metrics, Clock::system())
        .ingesting(Streams::new(ingest, Clock::system(), &metrics));
    let server = Server::start(state).await;
    let contract = Contract::read();
    examples_hold(&contract, &server, Some(token.reveal()), 100).await;
    pieces_are_answered_as_it_says(&contract, &server, token.reveal()).await;
}

/// What it takes a stream to be told.
async fn pieces_are_answered_as_it_says(contract: &Contract, server: &Server, token: &str) {
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let item = |path: &str| contract.at(&contract.0["paths"][path]);
    let stream = stream();
    let stamps = format!("POST /api/v1/streams/{stream}/stamps");
    let append = &item("/api/v1/streams/{id}/stamps")["post"];
    let packed = format!("{bearer}Content-Encoding: gzip\r\n");
    for (headers, piece, status, code) in [
        (&bearer, piece(stream, 0..3), 200, Value::Null),
        (&bearer, piece(stream, 0..3), 200, Value::Null),
        (&bearer, piece(stream, 9..10), 409, json!("OUT_OF_ORDER")),
        (&packed, piece(stream, 3..4), 415, json!("ENCODING_UNSUPPORTED")),
        (&String::new(), piece(stream, 3..4), 401, json!("UNAUTHORIZED")),
    ] {
        let answer = server.send(&stamps, headers, render(&piece).as_bytes()).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &code), "{}", answer.body);
        contract.check("a piece", append, &answer);
    }
    let extent = server.send(&format!("GET /api/v1/streams/{stream}"), &bearer, b"").await;
    assert_eq!((extent.status, &extent.body["size"]), (200, &json!(3)));
    contract.check("an extent", &item("/api/v1/streams/{id}")["get"], &extent);
}

/// How many requests are made up for each operation, in each way.
const MADE_UP: &str = "5";

/// What a reply to a made-up request must keep to.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

/// Makes up requests from a contract and sends them; `which` says of what, and as whom.
pub fn make_up(file: &str, url: &str, which: &[&str]) {
    let scratch = tempfile::tempdir().unwrap();
    let ended = Command::new(bed("STAMPD_TEST_SCHEMATHESIS"))
        .args(["run", file, "--url", url, "--checks", CHECKS, "--max-examples", MADE_UP])
        // Two threads that read Python's own source at once can end with a SystemError ("AST constructor
        // recursion depth mismatch"), and hypothesis reads it to name a lambda. One thread is as fast.
        .args(["--workers", "1", "--phases", "examples,coverage,fuzzing"])
        .args(["--generation-deterministic", "--generation-with-security-parameters", "false"])
        // Kept open, a connection may end by its idle time just when the next request is on its way.
        .args(["--header", "Connection: close", "--request-timeout", "30"])
        .args(["--warnings", "off", "--no-color"])
        .args(which)
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bed"))
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(scratch.path())
        .output()
        .unwrap();
    let told = [ended.stdout, ended.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(ended.status.success(), "{told}");
    // A thread that ends so tries nothing more, and the run is called a success all the same.
    assert!(!told.contains("Exception in thread"), "{told}");
    for phase in ["Examples", "Coverage", "Fuzzing"] {
        assert!(told.contains(&format!("✅ {phase}\n")), "{phase}: {told}");
    }
}

#[test]
fn requests_made_up_from_the_contract_find_nothing_that_it_does_not_say() {
    let place = Workplace::new("[api]\nlisten = \"127.0.0.1:0\"\n");
    let _agent = place.home.start_ready();
    let url = format!("http://{}", place.status()["api"]["listen"].as_str().unwrap());
    // The routes at the root are the same, and streams are for a bridge.
    let twice = "^/(hash|stamp|validate|batch|namespace|api/v1/streams)";
    make_up(FILE, &url, &["--exclude-path-regex", twice]);
}

#[test]
fn pieces_of_streams_made_up_from_the_contract_find_nothing_that_it_does_not_say() {
    let database = Database::create();
    let home = bridge::home(&database.admin());
    let bridge = Bridge::start(&home, "bridge");
    let token = block_on(|| async {
        let name = "laptop".parse().unwrap();
        tokens::issue(&mut session(&database.admin()).await, &name, &[]).await.unwrap()
    });
    let bearer = format!("Authorization: Bearer {}", token.reveal());
    let streams = ["--include-path-regex", "^/api/v1/streams", "--header", &bearer];
    make_up(FILE, &format!("http://{}", bridge.web.0), &streams);
}
