//! The roads to sinks: what their addresses may say, and when they may do without TLS.
//!
//! An address never holds a password, and what leaves the machine is encrypted and verified unless
//! the user says `allow_insecure`.

use std::path::Path;

use super::problem::Problem;
use super::table::Table;
use crate::enrich;
use crate::runtime::loopback;
use crate::sink::bridge::{self, Bridge};
use crate::sink::kafka::{self, Mechanism, Security};
use crate::store;
use crate::store::address::Address;

/// Maps `[postgres]`.
pub(super) fn postgres(table: &Table) -> store::Config {
    store::Config {
        url: table.text("url").unwrap_or_default().to_owned(),
        password: table.secret("password").cloned(),
        ca_file: table.path("ca_file").map(Path::to_owned),
        allow_insecure: table.switch("allow_insecure"),
        ..store::Config::default()
    }
}

/// Checks `[postgres]`: whether its URL is one, holds no password, and names a safe road.
pub(super) fn check_postgres(table: &Table) -> Vec<Problem> {
    if table.found("url").is_none() {
        return Vec::new();
    }
    let wrong = Address::parse(&postgres(table)).err();
    let text = wrong.map(|wrong| format!("[postgres] failed to {wrong}"));
    text.map(|text| Problem::new(&table.origin("url"), text)).into_iter().collect()
}

/// Maps `[kafka]`.
pub(super) fn kafka(table: &Table) -> kafka::Config {
    let of_stage = kafka::Config::default();
    kafka::Config {
        brokers: table.texts("brokers"),
        topic: table.text("topic").map_or(of_stage.topic, str::to_owned),
        security: security(table),
        mechanism: match table.text("mechanism") {
            Some("PLAIN") => Mechanism::Plain,
            Some("SCRAM-SHA-256") => Mechanism::ScramSha256,
            _ => of_stage.mechanism,
        },
        username: table.text("username").map(str::to_owned),
        password: table.secret("password").cloned(),
        ca_file: table.path("ca_file").map(Path::to_owned),
        allow_insecure: table.switch("allow_insecure"),
        ..of_stage
    }
}

/// Maps `[bridge]`.
pub(super) fn bridge(table: &Table) -> bridge::Config {
    bridge::Config {
        url: table.text("url").unwrap_or_default().to_owned(),
        token: table.secret("token").cloned(),
        ca_file: table.path("ca_file").map(Path::to_owned),
        allow_insecure: table.switch("allow_insecure"),
        ..bridge::Config::default()
    }
}

/// Checks `[bridge]`: whether its URL is one, holds no secret, and names a safe road.
pub(super) fn check_bridge(table: &Table) -> Vec<Problem> {
    // What is missing is told by whoever checks what must be set.
    if ["url", "token"].into_iter().any(|key| table.found(key).is_none()) {
        return Vec::new();
    }
    let wrong = Bridge::new(&bridge(table)).err();
    let text = wrong.map(|wrong| format!("[bridge] failed to {wrong}"));
    text.map(|text| Problem::new(&table.origin("url"), text)).into_iter().collect()
}

/// Maps `[intelligence]`.
pub(super) fn intelligence(table: &Table) -> enrich::Config {
    enrich::Config {
        url: table.text("url").unwrap_or_default().to_owned(),
        token: table.secret("token").cloned(),
        ca_file: table.path("ca_file").map(Path::to_owned),
        allow_insecure: table.switch("allow_insecure"),
        budget: table.duration("budget"),
    }
}

/// Checks `[intelligence]`: whether its URL is one, holds no secret, and names a safe road.
pub(super) fn check_intelligence(table: &Table) -> Vec<Problem> {
    if table.found("url").is_none() {
        return Vec::new();
    }
    let wrong = enrich::check(&intelligence(table)).err();
    let text = wrong.map(|wrong| format!("[intelligence] failed to {wrong}"));
    text.map(|text| Problem::new(&table.origin("url"), text)).into_iter().collect()
}

/// As set, else in the clear on loopback and with TLS elsewhere.
fn security(table: &Table) -> Security {
    match table.text("security") {
        Some("plaintext") => Security::Plaintext,
        Some("ssl") => Security::Ssl,
        Some("sasl_plaintext") => Security::SaslPlaintext,
        Some("sasl_ssl") => Security::SaslSsl,
        _ if brokers_on_loopback(table) => Security::Plaintext,
        _ => Security::Ssl,
    }
}

/// Checks `[kafka]`.
pub(super) fn check_kafka(table: &Table) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |key: &str, text: &str| {
        problems.push(Problem::new(&table.origin(key), format!("[kafka] {key}: {text}")));
    };
    let brokers = table.texts("brokers");
    if table.found("brokers").is_some() && brokers.is_empty() {
        add("brokers", "name at least one, such as [\"kafka.example:9093\"]");
    }
    if !brokers.iter().all(|broker| is_address(broker)) {
        add("brokers", "write host:port, such as \"kafka.example:9093\"");
    }
    let security = security(table);
    let in_the_clear = matches!(security, Security::Plaintext | Security::SaslPlaintext);
    let open = in_the_clear && !brokers_on_loopback(table);
    if open && !table.switch("allow_insecure") {
        add(
            "security",
            "plaintext to a broker that is not on loopback: write \"ssl\" or \"sasl_ssl\", or \
             allow_insecure = true",
        );
    }
    let sasl = matches!(security, Security::SaslPlaintext | Security::SaslSsl);
    for key in ["username", "password"] {
        if sasl && table.found(key).is_none() {
            add(key, "sasl needs a username and a password");
        }
    }
    let topic = table.text("topic").unwrap_or_default();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    // The dead letters' topic is four bytes longer, and Kafka takes at most 249.
    if topic.is_empty() || topic.len() > 245 || !topic.bytes().all(legal) {
        add("topic", "a topic is 1 to 245 of a-z, A-Z, 0-9, . _ and -");
    }
    problems
}

fn brokers_on_loopback(table: &Table) -> bool {
    table.texts("brokers").iter().all(|broker| is_loopback(broker))
}

fn is_address(broker: &str) -> bool {
    broker.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// Whether `host:port` is on this machine by its very spelling.
fn is_loopback(broker: &str) -> bool {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    loopback::is_loopback(loopback::unbracketed(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_a_matter_of_spelling() {
        for on in ["localhost:9092", "127.0.0.1:1", "127.9.9.9:9", "[::1]:9092"] {
            assert!(is_loopback(on), "{on}");
        }
        for off in ["localhost.example:1", "127.0.0.1.example:1", "10.0.0.1:1", "[::2]:1", ""] {
            assert!(!is_loopback(off), "{off}");
        }
    }
}
