//! The committed schemas of what commands print for programs, and holding output to them.

use std::path::PathBuf;

use serde_json::Value;

/// Where the schemas lie, those of Kafka's events beside them. A document's is in the file of its name,
/// `/` as `.`.
pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("contracts/schemas")
}

/// Holds every document in `out` to its schema, and returns the names of those schemas. What is no
/// document of its own, such as a line of `--format jsonl`, is passed over.
///
/// # Panics
/// When a document has no schema, or is not as its schema says.
pub fn hold(out: &[u8]) -> Vec<String> {
    let lines = out.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"schema\":"));
    let documents = lines.map(|line| serde_json::from_slice(line).expect("a document is JSON"));
    documents.map(|document: Value| check(&document)).collect()
}

fn check(document: &Value) -> String {
    let name = document["schema"].as_str().expect("the schema's name is a text").to_owned();
    let mut schema = load(&name.replace('/', "."));
    forbid_more(&mut schema);
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    let wrong: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{name}: {wrong:#?}\n{document:#}");
    name
}

fn load(file: &str) -> Value {
    let path = directory().join(format!("{file}.json"));
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("a schema is JSON")
}

/// Readers take members that they do not know: more may come without a new version. What we print
/// now is all written down.
fn forbid_more(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("properties").is_some_and(Value::is_object) {
                members.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            members.values_mut().for_each(forbid_more);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_more),
        _ => {}
    }
}
