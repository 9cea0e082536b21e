//! `[api]` and `[onextree]`: where each listens, whom it answers, and when it may do without a token.

use std::net::IpAddr;

use super::problem::Problem;
use super::table::Table;
use crate::onextree;
use crate::runtime::http::{self, Rate};
use crate::runtime::loopback::{is_loopback, unbracketed};
use crate::runtime::secret::Secret;

/// The rate beyond loopback, unless one is set.
const RATE_BEYOND_LOOPBACK: u64 = 10_000;

/// Maps `[api]` to its listener.
pub(super) fn listener(table: &Table) -> http::Config {
    listener_like(&http::Config::default(), table)
}

/// Maps `[onextree]`.
pub(super) fn onextree(table: &Table) -> onextree::Config {
    let of_stage = onextree::Config::default();
    onextree::Config { http: listener_like(&of_stage.http, table), token: token(table) }
}

fn listener_like(of_stage: &http::Config, table: &Table) -> http::Config {
    let listen = table.text("listen").expect("keys.rs gives it a default");
    http::Config {
        listen: listen.to_owned(),
        hosts: hosts(table),
        origins: table.texts("origins"),
        connections_max: table.count("connections_max") as usize,
        rate: rate(table, listen),
        ..of_stage.clone()
    }
}

/// The names that what a section listens for may be called by.
pub(super) fn hosts(table: &Table) -> Vec<String> {
    let mut hosts = http::Config::default().hosts;
    hosts.extend(table.text("listen").and_then(named_host));
    hosts.extend(table.texts("hosts"));
    hosts.dedup();
    hosts
}

/// The token, where one is asked for.
pub(super) fn token(table: &Table) -> Option<Secret> {
    table.secret("token").filter(|_| asks_for_token(table)).cloned()
}

/// Checks `[api]` or `[onextree]`.
pub(super) fn check(table: &Table) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |key: &str, text: &str| {
        let section = table.section.name;
        problems.push(Problem::new(&table.origin(key), format!("[{section}] {key}: {text}")));
    };
    let listen = table.text("listen").unwrap_or_default();
    let open = !asks_for_token(table) && !table.switch("allow_insecure");
    match split(listen) {
        None => add("listen", "write host:port, such as \"127.0.0.1:8057\""),
        Some((host, _)) if open && !is_loopback(unbracketed(host)) => add(
            "listen",
            "beyond loopback everybody could call: write auth = \"token\" and a token, or \
             allow_insecure = true",
        ),
        Some(_) => {}
    }
    if asks_for_token(table) && table.found("token").is_none() {
        add("token", "auth = \"token\" needs one, such as token = { credential = \"api.token\" }");
    }
    if !table.texts("hosts").iter().all(|host| is_host(host)) {
        add(
            "hosts",
            "write names or name:port, such as [\"bridge.example\"]; nothing is a wildcard",
        );
    }
    if !table.texts("origins").iter().all(|origin| is_origin(origin)) {
        add(
            "origins",
            "write scheme://host or scheme://host:port, such as [\"https://board.example\"]",
        );
    }
    problems
}

fn asks_for_token(table: &Table) -> bool {
    table.text("auth") == Some("token")
}

/// As set, else none on loopback. The burst is a second's worth.
fn rate(table: &Table, listen: &str) -> Option<Rate> {
    let on_loopback = split(listen).is_some_and(|(host, _)| is_loopback(unbracketed(host)));
    let per_second = match table.count_if_set("rate") {
        Some(set) => set,
        None if on_loopback => 0,
        None => RATE_BEYOND_LOOPBACK,
    };
    let per_second = u32::try_from(per_second).unwrap_or(u32::MAX);
    (per_second > 0).then_some(Rate { per_second, burst: per_second })
}

/// The host that is listened on, where clients can call it by that name.
fn named_host(listen: &str) -> Option<String> {
    let (host, _) = split(listen)?;
    let is_wildcard = unbracketed(host).parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    let is_usual = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    (!is_wildcard && !is_usual).then(|| host.to_owned())
}

pub(super) fn split(listen: &str) -> Option<(&str, u16)> {
    let (host, port) = listen.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let is_plain = !host.contains(':') || unbracketed(host) != host;
    (!host.is_empty() && is_plain).then_some((host, port))
}

pub(super) fn is_host(host: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !host.is_empty() && host.bytes().all(legal)
}

fn is_origin(origin: &str) -> bool {
    origin
        .split_once("://")
        .is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && is_host(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_address_is_a_host_and_a_port() {
        for (listen, parts) in [
            ("127.0.0.1:8057", Some(("127.0.0.1", 8057))),
            ("[::1]:0", Some(("[::1]", 0))),
            ("bridge.example:80", Some(("bridge.example", 80))),
            ("::1:8057", None),
            (":8057", None),
            ("127.0.0.1", None),
            ("localhost:99999", None),
        ] {
            assert_eq!(split(listen), parts, "{listen}");
        }
    }

    #[test]
    fn only_an_address_that_can_be_called_is_a_name() {
        for unnamed in ["0.0.0.0:8057", "[::]:8057", "127.0.0.1:8057", "localhost:1"] {
            assert_eq!(named_host(unnamed), None, "{unnamed}");
        }
        assert_eq!(named_host("10.0.0.7:8057").as_deref(), Some("10.0.0.7"));
        assert_eq!(named_host("bridge.example:80").as_deref(), Some("bridge.example"));
    }
}
