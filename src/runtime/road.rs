//! Roads to HTTP services: which URLs are safe to follow, and the client that walks them.
//!
//! Promises: a road off this machine in the clear is refused unless the config allows it by name; nothing
//! that is secret stands in a URL; no redirect and no proxy of the environment leads elsewhere; whom to
//! trust is the system's store, or the config's file alone.

use std::path::Path;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};

use super::loopback::{is_loopback, unbracketed};
use super::trust::{TrustError, client_config};

/// Why a URL leads nowhere that we go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeUrl {
    /// It is no address of a service.
    #[error("understand the url: write it as https://host.example, or http://127.0.0.1:8058")]
    Malformed,
    /// It has a user, a password, a query or a fragment.
    #[error("understand the url: it is scheme, host, port and perhaps a path, nothing else")]
    Excess,
    /// It leads off this machine in the clear.
    #[error(
        "use the url: plain http to a host that is not on loopback; write https, or \
         allow_insecure = true"
    )]
    Insecure,
}

/// Understands where a config leads.
///
/// # Errors
/// When it is unsafe to go there, or when it is no place to go to.
pub fn url(text: &str, allow_insecure: bool) -> Result<Url, UnsafeUrl> {
    let url: Url = text.parse().map_err(|_| UnsafeUrl::Malformed)?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(UnsafeUrl::Malformed);
    }
    let is_named = !url.username().is_empty() || url.password().is_some();
    if is_named || url.query().is_some() || url.fragment().is_some() {
        return Err(UnsafeUrl::Excess);
    }
    if url.scheme() == "http" && !is_loopback(host(&url)) && !allow_insecure {
        return Err(UnsafeUrl::Insecure);
    }
    Ok(url)
}

/// The host without the brackets of an IPv6 address.
pub fn host(url: &Url) -> &str {
    unbracketed(url.host_str().unwrap_or_default())
}

/// Where `path` of a service is.
pub fn below(url: &Url, path: &str) -> String {
    format!("{}/{path}", url.as_str().trim_end_matches('/'))
}

/// A client in the making that goes nowhere but to its URL; its user sets the times.
///
/// # Errors
/// When there is nobody to trust.
pub fn client(ca_file: Option<&Path>) -> Result<ClientBuilder, TrustError> {
    let builder = Client::builder()
        .user_agent(concat!("stampd/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .tls_backend_preconfigured(client_config(ca_file)?);
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_roads_are_taken() {
        use UnsafeUrl::{Excess, Insecure, Malformed};
        for (text, found) in [
            ("https://bridge.example", Ok("https://bridge.example/path")),
            ("https://bridge.example/stampd/", Ok("https://bridge.example/stampd/path")),
            ("http://127.0.0.1:8057", Ok("http://127.0.0.1:8057/path")),
            ("http://localhost", Ok("http://localhost/path")),
            ("http://[::1]:8057/", Ok("http://[::1]:8057/path")),
            ("http://bridge.example", Err(Insecure)),
            ("http://localhost.example", Err(Insecure)),
            ("https://a:b@bridge.example", Err(Excess)),
            ("https://token@bridge.example", Err(Excess)),
            ("https://bridge.example/?x=y", Err(Excess)),
            ("https://bridge.example/#x", Err(Excess)),
            ("ftp://bridge.example", Err(Malformed)),
            ("https://", Err(Malformed)),
            ("bridge.example", Err(Malformed)),
            ("", Err(Malformed)),
        ] {
            let place = url(text, false).map(|url| below(&url, "path"));
            assert_eq!(place, found.map(str::to_owned), "{text}");
        }
        assert!(url("http://bridge.example", true).is_ok());
    }

    #[test]
    fn a_host_has_no_brackets() {
        assert_eq!(host(&url("http://[::1]:8057", false).unwrap()), "::1");
    }
}
