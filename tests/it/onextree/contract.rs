//! The contract of OnexTree, held against an agent: paths, methods, codes, limits and examples; and
//! requests made up from it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use stampd::api::Code;
use stampd::onextree;

use super::{ONEXTREE, start};
use crate::agent::Workplace;
use crate::api::Server;
use crate::api::contract::{Contract, examples_hold, make_up};
use crate::support::block_on;
use crate::support::process::Agent;
use crate::support::tree::write;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/onextree.openapi.yaml");

/// An agent with the files that the examples ask for.
fn asked() -> (Workplace, Agent, String) {
    let place = Workplace::new(ONEXTREE);
    for path in ["src/main.rs", "src/lib.rs", "tests/test_main.rs", "docs/main.md"] {
        write(&place.repo, path, path);
    }
    let (agent, listen) = start(&place);
    (place, agent, listen)
}

#[test]
fn the_contract_has_the_paths_codes_and_limits_of_the_program() {
    let contract = Contract::of(FILE).0;
    let said: BTreeSet<&str> =
        contract["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(said, onextree::paths().into_iter().collect());
    assert_eq!(contract["x-limits"], json!(BTreeMap::from(onextree::limits())));
    let code = &contract["components"]["schemas"]["Code"];
    assert_eq!(code["enum"], json!(onextree::CODES.map(Code::as_str)));
    let statuses = onextree::CODES.map(|code| (code.as_str(), code.status().as_u16()));
    assert_eq!(code["x-status"], json!(BTreeMap::from(statuses)));
}

#[test]
fn every_example_of_the_contract_holds() {
    let (_place, agent, listen) = asked();
    let server = Server(listen.parse().unwrap());
    block_on(|| async { examples_hold(&Contract::of(FILE), &server, None, 50).await });
    assert!(agent.terminate().success());
}

#[test]
fn requests_made_up_from_the_contract_find_nothing_that_it_does_not_say() {
    let (_place, agent, listen) = asked();
    make_up(FILE, &format!("http://{listen}"), &[]);
    assert!(agent.terminate().success());
}
