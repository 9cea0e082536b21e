//! What librdkafka and the probe are told: addresses, trust, proof of who we are.

use std::path::Path;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Config, Mechanism, Security};
use crate::model::rung::{Height, Rung};
use crate::runtime::loopback;
use crate::sink::Tls;

/// The settings of a producer that neither loses, doubles nor reorders within its own life.
pub(super) fn client(config: &Config) -> Result<ClientConfig, Rung> {
    let mut settings = road(config)?;
    let linger_ms = config.linger.as_secs_f64() * 1_000.0;
    settings
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // A record that times out here would leave a gap that the ones behind it jump over.
        .set("message.timeout.ms", "0")
        .set("compression.type", "zstd")
        .set("compression.level", "1")
        .set("linger.ms", linger_ms.to_string())
        .set("queue.buffering.max.messages", config.in_flight_max.to_string());
    Ok(settings)
}

/// The settings that any client on this road begins with: addresses, trust, proof of who we are.
pub fn road(config: &Config) -> Result<ClientConfig, Rung> {
    refuse_open_road(config)?;
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", "stampd")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "2000")
        .set("security.protocol", protocol(config.security));
    if config.security.has_tls() {
        let ca = config.ca_file.as_deref().map_or("probe".into(), Path::to_string_lossy);
        settings.set("ssl.ca.location", ca.as_ref());
    }
    if config.security.has_sasl() {
        let (username, password) = login(config)?;
        settings
            .set("sasl.mechanism", mechanism(config.mechanism))
            .set("sasl.username", username)
            .set("sasl.password", password);
    }
    Ok(settings)
}

/// Nothing leaves this machine in the clear unless the user says so.
fn refuse_open_road(config: &Config) -> Result<(), Rung> {
    let open = config.brokers.iter().find(|broker| !is_loopback(broker));
    match open {
        Some(broker) if !config.security.has_tls() && !config.allow_insecure => Err(Rung::park(
            Height::Tls,
            format!(
                "{broker} is not on loopback and [kafka] security is {}: use ssl or sasl_ssl, or \
                 set allow_insecure",
                protocol(config.security)
            ),
        )),
        _ => Ok(()),
    }
}

fn is_loopback(broker: &str) -> bool {
    host_port(broker).is_some_and(|(host, _)| loopback::is_loopback(&host))
}

fn login(config: &Config) -> Result<(&str, String), Rung> {
    let missing = |key: &str| {
        Rung::park(Height::Application, format!("sasl needs [kafka] {key}: set it in the config"))
    };
    let username = config.username.as_deref().ok_or_else(|| missing("username"))?;
    let secret = config.password.as_ref().ok_or_else(|| missing("password"))?;
    let password = secret
        .fetch()
        .map_err(|error| Rung::park(Height::Application, format!("failed to {error}")))?;
    Ok((username, password))
}

/// Whom to trust, for the probe's own handshake.
pub(super) fn tls(config: &Config) -> Result<Option<Tls>, rustls::Error> {
    if !config.security.has_tls() {
        return Ok(None);
    }
    let roots = roots(config.ca_file.as_deref());
    let client = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Some(Tls(Arc::new(client))))
}

/// A file that cannot be read trusts nobody: the handshake fails and names the authority.
fn roots(ca_file: Option<&Path>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path).into_iter().flatten();
            roots.add_parsable_certificates(certificates.flatten());
        }
    }
    roots
}

/// Splits `host:port`, where an IPv6 address stands in brackets.
pub(super) fn host_port(broker: &str) -> Option<(String, u16)> {
    let (host, port) = broker.rsplit_once(':')?;
    Some((loopback::unbracketed(host).to_owned(), port.parse().ok()?))
}

impl Security {
    pub(super) const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    pub(super) const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

const fn protocol(security: Security) -> &'static str {
    match security {
        Security::Plaintext => "plaintext",
        Security::Ssl => "ssl",
        Security::SaslPlaintext => "sasl_plaintext",
        Security::SaslSsl => "sasl_ssl",
    }
}

const fn mechanism(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plain => "PLAIN",
        Mechanism::ScramSha256 => "SCRAM-SHA-256",
        Mechanism::ScramSha512 => "SCRAM-SHA-512",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clear_is_for_loopback_or_by_permission() {
        let config = |broker: &str, security, allow_insecure| Config {
            brokers: vec![broker.to_owned()],
            security,
            allow_insecure,
            ..Config::default()
        };
        for broker in ["127.0.0.1:9092", "localhost:9092", "[::1]:9092"] {
            assert!(client(&config(broker, Security::Plaintext, false)).is_ok(), "{broker}");
        }
        for broker in ["10.0.0.1:9092", "kafka.example:9092", "localhost.example:9092"] {
            let rung = client(&config(broker, Security::Plaintext, false)).unwrap_err();
            assert!(rung.text.contains("allow_insecure"), "{rung}");
            assert!(client(&config(broker, Security::Plaintext, true)).is_ok(), "{broker}");
            assert!(client(&config(broker, Security::Ssl, false)).is_ok(), "{broker}");
        }
        let rung = client(&config("127.0.0.1:1", Security::SaslPlaintext, false)).unwrap_err();
        assert!(rung.text.contains("username"), "{rung}");
    }

    #[test]
    fn an_address_splits_at_its_port() {
        assert_eq!(host_port("[::1]:9"), Some(("::1".to_owned(), 9)));
        assert_eq!(host_port("kafka.example:9092"), Some(("kafka.example".to_owned(), 9092)));
        assert_eq!(host_port("kafka.example"), None);
    }
}
