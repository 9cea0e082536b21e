//! The contracts that this program was built with, and how they are read.

use serde_json::Value;

use super::Unreadable;

macro_rules! shipped {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/", $file)))),*]
    };
}

/// Every document: where it lies below the directory, and its text.
pub(super) const SHIPPED: &[(&str, &str)] = shipped![
    "asyncapi.yaml",
    "effects/database_adapter_effect.yaml",
    "effects/onextree_intelligence.yaml",
    "effects/stamping_effect.yaml",
    "onextree.openapi.yaml",
    "openapi.yaml",
    "schemas/node-heartbeat.v1.json",
    "schemas/query-requested.v1.json",
    "schemas/stamp-created.v1.json",
    "schemas/stampd.bugreport.v1.json",
    "schemas/stampd.config.v1.json",
    "schemas/stampd.contracts.v1.json",
    "schemas/stampd.dlq.adapter.v1.json",
    "schemas/stampd.dlq.v1.json",
    "schemas/stampd.doctor.v1.json",
    "schemas/stampd.explain.v1.json",
    "schemas/stampd.list.v1.json",
    "schemas/stampd.log.v1.json",
    "schemas/stampd.migrate.v1.json",
    "schemas/stampd.netcheck.v1.json",
    "schemas/stampd.service.v1.json",
    "schemas/stampd.stamp.v1.json",
    "schemas/stampd.status.v1.json",
    "schemas/stampd.tokens.v1.json",
    "schemas/stampd.trust.v1.json",
    "schemas/stampd.validate.v1.json",
    "schemas/stampd.verify.v1.json",
    "schemas/stampd.version.v1.json",
    "schemas/state-aggregation-completed.v1.json",
    "schemas/state-transition.v1.json",
    "schemas/step-completed.v1.json",
    "schemas/workflow-completed.v1.json",
    "schemas/workflow-failed.v1.json",
    "schemas/workflow-started.v1.json",
];

/// Reads a document.
pub(super) fn parse(file: &str, text: &str) -> Result<Value, Unreadable> {
    if file.starts_with("schemas/") {
        return serde_json::from_str(text).map_err(|error| Unreadable {
            line: Some(error.line()),
            text: format!("is not JSON: {error}"),
        });
    }
    // By way of YAML's own values, which refuse a member that is there twice.
    serde_yaml_ng::from_str::<serde_yaml_ng::Value>(text)
        .and_then(|value| serde_json::to_value(&value).map_err(serde::ser::Error::custom))
        .map_err(|error| Unreadable {
            line: error.location().map(|location| location.line()),
            text: format!("is not YAML: {error}"),
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_contract_is_in_the_program_and_can_be_read() {
        let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts");
        let mut found = Vec::new();
        for dir in ["", "effects", "schemas"] {
            for entry in std::fs::read_dir(contracts.join(dir)).unwrap() {
                let path = entry.unwrap().path();
                let below = path.strip_prefix(&contracts).unwrap();
                found.extend(path.is_file().then(|| below.to_string_lossy().into_owned()));
            }
        }
        found.sort();
        let known: Vec<&str> = SHIPPED.iter().map(|(file, _)| *file).collect();
        assert_eq!(known, found);
        for (file, text) in SHIPPED {
            assert!(parse(file, text).is_ok(), "{file}");
        }
    }
}
