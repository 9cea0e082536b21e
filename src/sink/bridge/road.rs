//! The road to a bridge: whom to trust on it, with which token, and the client that walks it.

use std::sync::Arc;

use reqwest::{Client, Url};

use super::Config;
use crate::model::rung::{Height, Rung};
use crate::model::stream::StreamId;
use crate::runtime::chain::chain;
use crate::runtime::road::{self, UnsafeUrl};
use crate::runtime::trust::{TrustError, client_config};
use crate::sink::{Endpoint, Tls};

/// Why a config leads to no bridge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// Its URL leads nowhere.
    #[error(transparent)]
    Url(#[from] UnsafeUrl),
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
        let url = road::url(&config.url, config.allow_insecure)?;
        if config.token.is_none() {
            return Err(BridgeError::NoToken);
        }
        Ok(Self { config: config.clone(), url })
    }

    /// Where the ladder's lower rungs are.
    pub(super) fn endpoint(&self) -> Endpoint {
        let host = road::host(&self.url).to_owned();
        let port = self.url.port_or_known_default().unwrap_or(443);
        let is_tls = self.url.scheme() == "https";
        // Trust that cannot be had is told by the probe above, which says why.
        let tls = is_tls.then(|| self.trust().ok()).flatten();
        Endpoint { host, port, tls: tls.map(|client| Tls(Arc::new(client))) }
    }

    /// A client, which connects when it is used.
    pub(super) fn client(&self) -> Result<Client, Rung> {
        let ca_file = self.config.ca_file.as_deref();
        let builder = road::client(ca_file)
            .map_err(|error| untrusted(&error))?
            .connect_timeout(self.config.connect_timeout)
            .timeout(self.config.timeout)
            .pool_max_idle_per_host(1);
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
        road::below(&self.url, "api/v1/streams")
    }

    /// Where the pieces of a stream go.
    pub(super) fn stamps(&self, stream: StreamId) -> String {
        format!("{}/{stream}/stamps", self.record())
    }

    fn trust(&self) -> Result<rustls::ClientConfig, Rung> {
        client_config(self.config.ca_file.as_deref()).map_err(|error| untrusted(&error))
    }
}

fn untrusted(error: &TrustError) -> Rung {
    Rung::park(Height::Tls, format!("[bridge] {}", chain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::secret::Secret;

    fn parse(url: &str) -> Result<Road, BridgeError> {
        parse_with(url, false)
    }

    fn parse_with(url: &str, allow_insecure: bool) -> Result<Road, BridgeError> {
        let token = Some(Secret::env("TOKEN", "secret"));
        Road::parse(&Config { url: url.to_owned(), token, allow_insecure, ..Config::default() })
    }

    #[test]
    fn a_road_needs_a_safe_url_and_a_token() {
        let record = |url| parse(url).map(|road| road.record());
        let found = record("https://bridge.example/stampd/");
        assert_eq!(found.as_deref(), Ok("https://bridge.example/stampd/api/v1/streams"));
        assert_eq!(record("http://bridge.example"), Err(UnsafeUrl::Insecure.into()));
        assert!(parse_with("http://bridge.example", true).is_ok());
        let unarmed = Config { url: "https://bridge.example".to_owned(), ..Config::default() };
        assert_eq!(Road::parse(&unarmed).map(|road| road.record()), Err(BridgeError::NoToken));
    }

    #[test]
    fn the_lower_rungs_are_those_of_the_host() {
        let endpoint = |url| parse(url).map(|road| road.endpoint()).expect("it is safe");
        assert_eq!(endpoint("https://bridge.example").to_string(), "bridge.example:443");
        assert!(endpoint("https://bridge.example").tls.is_some());
        assert_eq!(endpoint("http://[::1]:8057").to_string(), "[::1]:8057");
        assert!(endpoint("http://[::1]:8057").tls.is_none());
    }
}
