//! The road to a bridge: what its URL may say, whom to trust on it, and the client that walks it.

use std::sync::Arc;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::Config;
use crate::model::rung::{Height, Rung};
use crate::model::stream::StreamId;
use crate::runtime::chain::chain;
use crate::runtime::loopback::{is_loopback, unbracketed};
use crate::runtime::trust::client_config;
use crate::sink::{Endpoint, Tls};

/// Why a config leads to no bridge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// It is not a URL of ours.
    #[error("understand the url: write it as https://bridge.example")]
    Malformed,
    /// It has a user, a password, a query or a fragment.
    #[error("understand the url: it is scheme, host, port and perhaps a path, nothing else")]
    Excess,
    /// It leads off this machine in the clear.
    #[error(
        "use the url: plain http to a bridge that is not on loopback; write https, or \
         allow_insecure = true"
    )]
    Insecure,
    /// There is no token.
    #[error(
        "find the token: token = {{ file = \"…\" }}, {{ credential = \"…\" }} or {{ env = \"…\" }}"
    )]
    NoToken,
}

/// A config that leads somewhere.
pub(super) struct Road {
    config: Config,
    url: Url,
}

impl Road {
    /// Understands a config.
    pub(super) fn parse(config: &Config) -> Result<Self, BridgeError> {
        let url: Url = config.url.parse().map_err(|_| BridgeError::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(BridgeError::Malformed);
        }
        let named = !url.username().is_empty() || url.password().is_some();
        if named || url.query().is_some() || url.fragment().is_some() {
            return Err(BridgeError::Excess);
        }
        if url.scheme() == "http" && !is_loopback(host(&url)) && !config.allow_insecure {
            return Err(BridgeError::Insecure);
        }
        if config.token.is_none() {
            return Err(BridgeError::NoToken);
        }
        Ok(Self { config: config.clone(), url })
    }

    /// Where the ladder's lower rungs are.
    pub(super) fn endpoint(&self) -> Endpoint {
        let host = host(&self.url).to_owned();
        let port = self.url.port_or_known_default().unwrap_or(443);
        let is_tls = self.url.scheme() == "https";
        // Trust that cannot be had is told by the probe above, which says why.
        let tls = is_tls.then(|| self.trust().ok()).flatten();
        Endpoint { host, port, tls: tls.map(|client| Tls(Arc::new(client))) }
    }

    /// A client, which connects when it is used.
    pub(super) fn client(&self) -> Result<Client, Rung> {
        let builder = Client::builder()
            .user_agent(concat!("stampd/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(self.config.connect_timeout)
            .timeout(self.config.timeout)
            .pool_max_idle_per_host(1)
            .tls_backend_preconfigured(self.trust()?);
        builder.build().map_err(|error| {
            Rung::park(Height::Tls, format!("failed to prepare the road: {}", chain(&error)))
        })
    }

    /// The token, as it is now.
    pub(super) fn token(&self) -> Result<String, Rung> {
        let token = self.config.token.as_ref().expect("a road without a token is not parsed");
        token.fetch().map_err(|error| {
            Rung::park(Height::Application, format!("failed to {}", chain(&error)))
        })
    }

    /// Which record it is.
    pub(super) fn record(&self) -> String {
        format!("{}/api/v1/streams", self.url.as_str().trim_end_matches('/'))
    }

    /// Where the pieces of a stream go.
    pub(super) fn stamps(&self, stream: StreamId) -> String {
        format!("{}/{stream}/stamps", self.record())
    }

    fn trust(&self) -> Result<rustls::ClientConfig, Rung> {
        client_config(self.config.ca_file.as_deref())
            .map_err(|error| Rung::park(Height::Tls, format!("[bridge] {}", chain(&error))))
    }
}

/// The host without the brackets of an IPv6 address.
fn host(url: &Url) -> &str {
    unbracketed(url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::secret::Secret;

    fn parse(url: &str, allow_insecure: bool) -> Result<Road, BridgeError> {
        let token = Some(Secret::env("TOKEN", "secret"));
        Road::parse(&Config { url: url.to_owned(), token, allow_insecure, ..Config::default() })
    }

    #[test]
    fn only_safe_roads_are_taken() {
        use BridgeError::{Excess, Insecure, Malformed};
        for (url, record) in [
            ("https://bridge.example", "https://bridge.example/api/v1/streams"),
            ("https://bridge.example/stampd/", "https://bridge.example/stampd/api/v1/streams"),
            ("http://127.0.0.1:8057", "http://127.0.0.1:8057/api/v1/streams"),
            ("http://localhost", "http://localhost/api/v1/streams"),
            ("http://[::1]:8057/", "http://[::1]:8057/api/v1/streams"),
        ] {
            assert_eq!(parse(url, false).map(|road| road.record()), Ok(record.to_owned()), "{url}");
        }
        for (url, error) in [
            ("http://bridge.example", Insecure),
            ("http://localhost.example", Insecure),
            ("https://a:b@bridge.example", Excess),
            ("https://token@bridge.example", Excess),
            ("https://bridge.example/?x=y", Excess),
            ("ftp://bridge.example", Malformed),
            ("bridge.example", Malformed),
            ("", Malformed),
        ] {
            assert_eq!(parse(url, false).map(|road| road.record()), Err(error), "{url}");
        }
        assert!(parse("http://bridge.example", true).is_ok());
        let unarmed = Config { url: "https://bridge.example".to_owned(), ..Config::default() };
        assert_eq!(Road::parse(&unarmed).map(|road| road.record()), Err(BridgeError::NoToken));
    }

    #[test]
    fn the_lower_rungs_are_those_of_the_host() {
        let endpoint = |url| parse(url, false).map(|road| road.endpoint()).expect("it is safe");
        assert_eq!(endpoint("https://bridge.example").to_string(), "bridge.example:443");
        assert!(endpoint("https://bridge.example").tls.is_some());
        assert_eq!(endpoint("http://[::1]:8057").to_string(), "[::1]:8057");
        assert!(endpoint("http://[::1]:8057").tls.is_none());
    }
}
