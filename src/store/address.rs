//! Where a database is and how far the road there is trusted.
//!
//! A URL never holds a password. `sslmode` is read here and not by the client library, which knows
//! neither `verify-ca` nor `verify-full` and would fall back to plaintext where TLS is refused.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};

use super::tls::Trust;
use crate::runtime::chain::chain;
use crate::runtime::loopback::is_loopback;
use crate::runtime::secret::Secret;

/// How to reach a database.
#[derive(Clone, Debug)]
pub struct Config {
    /// `postgres://user@host:port/database?sslmode=verify-full`, without a password.
    pub url: String,
    /// Where the password is.
    pub password: Option<Secret>,
    /// PEM file of the authorities to trust, instead of the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Allows roads off this machine on which the server does not prove who it is.
    pub allow_insecure: bool,
    /// Bound of the way from the first packet to the first query.
    pub connect_timeout: Duration,
    /// Bound of one statement; none for a migration.
    pub statement_timeout: Option<Duration>,
    /// Bound of waiting for another session's lock.
    pub lock_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            password: None,
            ca_file: None,
            allow_insecure: false,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Some(Duration::from_secs(30)),
            lock_timeout: Duration::from_secs(10),
        }
    }
}

/// A [`Config`] whose URL was understood.
#[derive(Clone)]
pub struct Address {
    pub(super) config: Config,
    pub(super) client: tokio_postgres::Config,
    pub(super) trust: Option<Trust>,
}

/// Why a URL is refused. Each is a mistake in the configuration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// Another scheme, or none.
    #[error("read the url: it must be postgres://user@host:port/database")]
    Scheme,
    /// The client library does not understand it.
    #[error("read the url: {0}")]
    Malformed(String),
    /// A password would end up in logs and process lists.
    #[error(
        "use the url: it holds a password; take it out and say password = {{ file = \"…\" }}, \
         {{ credential = \"…\" }} or {{ env = \"…\" }}"
    )]
    Password,
    /// No host.
    #[error("read the url: it names no host")]
    NoHost,
    /// Not one of the modes.
    #[error(
        "use sslmode={0}: it is not one of disable, require, verify-ca and verify-full \
         (allow and prefer would fall back to plaintext)"
    )]
    Mode(String),
    /// The mode is not safe on this road.
    #[error(
        "use sslmode={0} off this machine: the server would not have to prove who it is; say \
         sslmode=verify-full, or allow_insecure = true"
    )]
    Insecure(&'static str),
}

/// How TLS is used; the words of `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Mode {
    fn parse(word: &str) -> Result<Self, AddressError> {
        match word {
            "disable" => Ok(Self::Disable),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            other => Err(AddressError::Mode(other.to_owned())),
        }
    }

    /// Refuses what leaves the server unproved on a road that others can stand in.
    fn allowed(self, local: bool, allow_insecure: bool) -> Result<Self, AddressError> {
        match self {
            _ if local || allow_insecure => Ok(self),
            Self::Disable => Err(AddressError::Insecure("disable")),
            Self::Require => Err(AddressError::Insecure("require")),
            Self::VerifyCa | Self::VerifyFull => Ok(self),
        }
    }

    const fn trust(self) -> Option<Trust> {
        match self {
            Self::Disable => None,
            Self::Require => Some(Trust::Anyone),
            Self::VerifyCa => Some(Trust::AnyName),
            Self::VerifyFull => Some(Trust::Name),
        }
    }
}

impl Address {
    /// Understands a config's URL.
    pub fn parse(config: &Config) -> Result<Self, AddressError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| config.url.starts_with(scheme)) {
            return Err(AddressError::Scheme);
        }
        let (url, word) = without_sslmode(&config.url);
        let mut client: tokio_postgres::Config =
            url.parse().map_err(|error| AddressError::Malformed(chain(&error)))?;
        if client.get_password().is_some() {
            return Err(AddressError::Password);
        }
        if client.get_hosts().is_empty() && client.get_hostaddrs().is_empty() {
            return Err(AddressError::NoHost);
        }
        let local = is_local(&client);
        let mode = match word {
            Some(word) => Mode::parse(&word)?,
            None if local => Mode::Disable,
            None => Mode::VerifyFull,
        };
        let trust = mode.allowed(local, config.allow_insecure)?.trust();
        client.ssl_mode(if trust.is_some() { SslMode::Require } else { SslMode::Disable });
        bound_waits(&mut client, config.connect_timeout);
        Ok(Self { config: config.clone(), client, trust })
    }

    /// The hosts and ports, for the rungs below our own.
    pub fn hosts(&self) -> Vec<(String, u16)> {
        let ports = self.client.get_ports();
        let hosts = self.client.get_hosts().iter().enumerate();
        hosts
            .filter_map(|(index, host)| match host {
                Host::Tcp(name) => {
                    Some((name.clone(), *ports.get(index).or(ports.first()).unwrap_or(&5432)))
                }
                #[cfg(unix)]
                Host::Unix(_) => None,
            })
            .collect()
    }

    /// The name of the login.
    pub fn login(&self) -> &str {
        self.client.get_user().unwrap_or("(the user stampd runs as)")
    }
}

/// A vanished server is noticed in about a minute when idle, and in half of one when it owes us an
/// acknowledgement.
fn bound_waits(client: &mut tokio_postgres::Config, connect_timeout: Duration) {
    client
        .application_name("stampd")
        .connect_timeout(connect_timeout)
        .tcp_user_timeout(Duration::from_secs(30))
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(30))
        .keepalives_interval(Duration::from_secs(10))
        .keepalives_retries(3);
}

/// Takes `sslmode` out of the URL's parameters.
fn without_sslmode(url: &str) -> (String, Option<String>) {
    let Some((base, parameters)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let mut mode = None;
    let rest: Vec<&str> = parameters
        .split('&')
        .filter(|parameter| match parameter.strip_prefix("sslmode=") {
            Some(word) => {
                mode = Some(word.to_owned());
                false
            }
            None => !parameter.is_empty(),
        })
        .collect();
    let rest = rest.join("&");
    (if rest.is_empty() { base.to_owned() } else { format!("{base}?{rest}") }, mode)
}

/// Whether every address is on this machine.
fn is_local(client: &tokio_postgres::Config) -> bool {
    let hosts_local = client.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => is_loopback(name),
        #[cfg(unix)]
        Host::Unix(_) => true,
    });
    hosts_local && client.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, AddressError> {
        Address::parse(&Config { url: url.to_owned(), ..Config::default() })
    }

    #[test]
    fn only_safe_roads_are_taken() {
        use AddressError::{Insecure, Mode as Unknown};
        for (url, trust) in [
            ("postgres://a@127.0.0.1/d", None),
            ("postgresql://a@localhost:5433/d?sslmode=disable", None),
            ("postgres://a@[::1]/d?sslmode=require", Some(Trust::Anyone)),
            ("postgres://a@%2Frun%2Fpostgresql/d", None),
            ("postgres://a@db.example/d", Some(Trust::Name)),
            ("postgres://a@db.example/d?sslmode=verify-full&application_name=x", Some(Trust::Name)),
            ("postgres://a@db.example/d?sslmode=verify-ca", Some(Trust::AnyName)),
        ] {
            assert_eq!(parse(url).map(|address| address.trust), Ok(trust), "{url}");
        }
        for (url, error) in [
            ("postgres://a@db.example/d?sslmode=disable", Insecure("disable")),
            ("postgres://a@db.example/d?sslmode=require", Insecure("require")),
            ("postgres://a@localhost,db.example/d?sslmode=disable", Insecure("disable")),
            ("postgres://a@localhost/d?hostaddr=192.0.2.1&sslmode=disable", Insecure("disable")),
            ("postgres://a@localhost/d?sslmode=prefer", Unknown("prefer".into())),
            ("postgres://a@localhost/d?sslmode=Verify-Full", Unknown("Verify-Full".into())),
            ("postgres://a:secret@localhost/d", AddressError::Password),
            ("postgres://a@localhost/d?password=secret", AddressError::Password),
            ("postgres:///d", AddressError::NoHost),
            ("mysql://a@localhost/d", AddressError::Scheme),
            ("host=localhost user=a", AddressError::Scheme),
        ] {
            assert_eq!(parse(url).map(|address| address.trust), Err(error), "{url}");
        }
    }

    #[test]
    fn an_insecure_road_is_taken_when_it_is_asked_for() {
        let url = "postgres://a@db.example/d?sslmode=disable".to_owned();
        let address = Address::parse(&Config { url, allow_insecure: true, ..Config::default() });
        assert_eq!(address.map(|address| address.trust), Ok(None));
    }

    #[test]
    fn an_error_never_repeats_the_url() {
        for url in ["postgres://a:hunter2@h:port/d", "postgres://a:hunter2@@h/d?x=y"] {
            let error = parse(url).map(|address| address.trust).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn every_host_is_an_endpoint() {
        let hosts = |url| parse(url).map(|address| address.hosts());
        assert_eq!(
            hosts("postgres://a@h1,h2:6/d"),
            Ok(vec![("h1".into(), 5432), ("h2".into(), 6)])
        );
        assert_eq!(hosts("postgres://a@%2Frun/d"), Ok(vec![]));
    }
}
