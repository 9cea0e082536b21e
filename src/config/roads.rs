//! The roads to sinks: what their addresses may say, and when they may do without TLS.
//!
//! An address never holds a password, and what leaves the machine is encrypted and verified unless
//! the user says `allow_insecure`.

use std::net::IpAddr;

use super::layer::Table;
use super::problem::Problem;

/// Whether a connection to Postgres is encrypted. There is nothing in between: encrypted but not
/// verified is open to whoever sits on the road.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SslMode {
    Disable,
    VerifyFull,
}

/// A Postgres URL, taken apart as far as its safety needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PostgresUrl {
    /// Without `sslmode`, which the client library would read in its own way.
    pub(super) stripped: String,
    pub(super) ssl: SslMode,
    pub(super) loopback: bool,
}

/// Checks `[postgres]`.
pub(super) fn check_postgres(table: &Table) -> Vec<Problem> {
    let Some(text) = table.text("url") else { return Vec::new() };
    let origin = table.origin("url");
    let insecure = |url: PostgresUrl| {
        let open = url.ssl == SslMode::Disable && !url.loopback && !table.switch("allow_insecure");
        open.then(|| {
            "[postgres] url: sslmode=disable to a server that is not on loopback: write \
             sslmode=verify-full, or allow_insecure = true"
                .to_owned()
        })
    };
    match PostgresUrl::parse(text) {
        Ok(url) => insecure(url),
        Err(wrong) => Some(format!("[postgres] url: {wrong}")),
    }
    .map(|text| Problem::new(&origin, text))
    .into_iter()
    .collect()
}

impl PostgresUrl {
    /// Reads a URL. What it says of one that is wrong does not repeat it: it may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or("write it as postgres://user@host:5432/database")?;
        let (front, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = front.split('/').next().unwrap_or(front);
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let parameters = || query.split('&').filter(|parameter| !parameter.is_empty());
        let value = |name: &str| {
            parameters().find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))
        };
        if user.contains(':') || value("password").is_some() {
            return Err("a password stands in the URL: take it out, and write \
                        password = { credential = \"pg.password\" } (or file, or env) below it");
        }
        let hosts = if hosts.is_empty() { value("host").unwrap_or_default() } else { hosts };
        if hosts.is_empty() {
            return Err("it names no host: write postgres://user@host:5432/database");
        }
        let loopback = hosts.split(',').all(is_loopback);
        let ssl = match value("sslmode") {
            Some("disable") => SslMode::Disable,
            None if loopback => SslMode::Disable,
            Some("verify-full") | None => SslMode::VerifyFull,
            Some(_) => return Err("sslmode is verify-full or disable; nothing in between is safe"),
        };
        let kept: Vec<_> = parameters().filter(|one| !one.starts_with("sslmode=")).collect();
        let mark = if kept.is_empty() { "" } else { "?" };
        let stripped = format!("postgres://{front}{mark}{}", kept.join("&"));
        Ok(Self { stripped, ssl, loopback })
    }
}

/// How Kafka is spoken to: as set, else in the clear on loopback and with TLS elsewhere.
pub(super) fn kafka_security(table: &Table) -> String {
    let by_place = if brokers_on_loopback(table) { "plaintext" } else { "ssl" };
    table.text("security").unwrap_or(by_place).to_owned()
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
    let security = kafka_security(table);
    let open = security.ends_with("plaintext") && !brokers_on_loopback(table);
    if open && !table.switch("allow_insecure") {
        add(
            "security",
            "plaintext to a broker that is not on loopback: write \"ssl\" or \"sasl_ssl\", or \
             allow_insecure = true",
        );
    }
    let sasl = security.starts_with("sasl");
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

/// Whether `host`, `host:port` or a socket's directory is on this machine by its very spelling.
/// A name is not looked up: who answers for it can change.
fn is_loopback(address: &str) -> bool {
    if address.starts_with('/') || address.starts_with("%2F") {
        return true;
    }
    let host = match address.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => address.split(':').next().unwrap_or(address),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sslmode_is_taken_out_and_follows_the_place_where_nothing_is_said() {
        let check = |text: &str, stripped: &str, ssl: SslMode, loopback: bool| {
            let expected = PostgresUrl { stripped: stripped.to_owned(), ssl, loopback };
            assert_eq!(PostgresUrl::parse(text), Ok(expected), "{text}");
        };
        check("postgres://u@db/x", "postgres://u@db/x", SslMode::VerifyFull, false);
        check("postgresql://u@[::1]:5/x", "postgres://u@[::1]:5/x", SslMode::Disable, true);
        check(
            "postgres://u@db:5432/x?sslmode=disable&application_name=a",
            "postgres://u@db:5432/x?application_name=a",
            SslMode::Disable,
            false,
        );
        check(
            "postgres://u@localhost,10.0.0.1/x?sslmode=verify-full",
            "postgres://u@localhost,10.0.0.1/x",
            SslMode::VerifyFull,
            false,
        );
        check("postgres:///x?host=/run/pg", "postgres:///x?host=/run/pg", SslMode::Disable, true);
    }

    #[test]
    fn loopback_is_a_matter_of_spelling() {
        for on in ["localhost", "localhost:9092", "127.0.0.1:1", "127.9.9.9", "[::1]:9092", "/run"]
        {
            assert!(is_loopback(on), "{on}");
        }
        for off in ["localhost.example:1", "127.0.0.1.example", "10.0.0.1:1", "[::2]:1", ""] {
            assert!(!is_loopback(off), "{off}");
        }
    }
}
