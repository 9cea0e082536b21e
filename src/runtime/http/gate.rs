//! What every request passes before a route sees it.
//!
//! A listener on loopback is in reach of every page the user's browser shows: by a name that an
//! attacker points at 127.0.0.1 (against it, the exact Host list), or by a form or a fetch across
//! sites (against it, Origin and Sec-Fetch-Site, which scripts cannot forge). A program that is no
//! browser sends neither, and passes.

use axum::http::header::{CONTENT_LENGTH, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Uri};
use tokio::time::Instant;

use super::rate::Limiter;
use super::{Config, Peer, Refusal};

/// The door of one listener.
#[derive(Debug)]
pub(super) struct Gate {
    hosts: Vec<String>,
    origins: Vec<String>,
    limiter: Option<Limiter>,
    body_bytes_max: u64,
}

impl Gate {
    pub(super) fn new(config: &Config) -> Self {
        let lower = |list: &[String]| list.iter().map(|item| item.to_ascii_lowercase()).collect();
        Self {
            hosts: lower(&config.hosts),
            origins: lower(&config.origins),
            limiter: config.rate.map(Limiter::new),
            body_bytes_max: config.body_bytes_max,
        }
    }

    /// Lets a request in, or says why not.
    pub(super) fn admit<B>(
        &self,
        request: &Request<B>,
        peer: Peer,
        now: Instant,
    ) -> Result<(), Refusal> {
        let headers = request.headers();
        let host = self.host(request.uri(), headers).ok_or(Refusal::Host)?;
        if !self.comes_from_us(request.method(), headers, &host) {
            return Err(Refusal::Origin);
        }
        if let Some(limiter) = &self.limiter {
            limiter.take(peer.0.ip(), now).map_err(|retry_after| Refusal::Rate { retry_after })?;
        }
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let announced = announced.and_then(|length| length.parse().ok());
        if announced.is_some_and(|length: u64| length > self.body_bytes_max) {
            return Err(Refusal::BodyTooLarge { bytes_max: self.body_bytes_max });
        }
        Ok(())
    }

    /// The host that the request names, in lower case, if it names one and that one is ours. A
    /// request to a proxy's form of address names it twice, and then both must be.
    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        let mut named = headers.get_all(HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else { return None };
        let host = host.to_str().ok()?.to_ascii_lowercase();
        let of_uri = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
        let ours = self.is_ours(&host) && of_uri.is_none_or(|of_uri| self.is_ours(&of_uri));
        ours.then_some(host)
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = without_port(host);
        self.hosts.iter().any(|ours| ours == host || ours == name)
    }

    /// Whether no foreign page sent the request. Reading is harmless across sites as long as no reply
    /// allows it; but a request that names a foreign origin has no business here, whatever it does.
    fn comes_from_us(&self, method: &Method, headers: &HeaderMap, host: &str) -> bool {
        if let Some(origin) = headers.get(ORIGIN) {
            return origin.to_str().is_ok_and(|origin| self.is_origin(origin, host));
        }
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        method.is_safe() || matches!(site, None | Some(b"same-origin" | b"none"))
    }

    fn is_origin(&self, origin: &str, host: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        own == Some(host) || self.origins.contains(&origin)
    }
}

/// `name:port` without its port, which is all digits; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Rate;
    use super::*;

    fn gate() -> Gate {
        Gate::new(&Config {
            hosts: vec!["localhost".into(), "[::1]".into(), "Bridge.example:8057".into()],
            origins: vec!["https://board.example".into()],
            body_bytes_max: 100,
            ..Config::default()
        })
    }

    fn admit(
        gate: &Gate,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<(), Refusal> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = Peer("127.0.0.1:40000".parse().unwrap());
        gate.admit(&request.body(()).unwrap(), peer, Instant::now())
    }

    #[test]
    fn only_a_host_of_the_list_is_answered() {
        let gate = gate();
        for ours in ["localhost", "LOCALHOST:9", "[::1]", "[::1]:8057", "bridge.example:8057"] {
            assert_eq!(admit(&gate, "GET", "/", &[("host", ours)]), Ok(()), "{ours}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "localhost.",
            "localhost:",
            "localhost:8057:8057",
            "localhost@evil.example",
            "bridge.example",
            "bridge.example:80",
            "::1",
            "127.0.0.1",
            "",
        ] {
            let refused = admit(&gate, "GET", "/", &[("host", foreign)]);
            assert_eq!(refused, Err(Refusal::Host), "{foreign}");
        }
        assert_eq!(admit(&gate, "GET", "/", &[]), Err(Refusal::Host));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(admit(&gate, "GET", "/", &twice), Err(Refusal::Host));
        let absolute = admit(&gate, "GET", "http://evil.example/", &[("host", "localhost")]);
        assert_eq!(absolute, Err(Refusal::Host));
    }

    #[test]
    fn a_page_from_elsewhere_is_refused_and_a_program_is_not() {
        let gate = gate();
        let post = |headers: &[(&str, &str)]| {
            let all: Vec<_> = [("host", "localhost:8057")].iter().chain(headers).copied().collect();
            admit(&gate, "POST", "/", &all)
        };
        for ours in [
            &[][..],
            &[("origin", "http://localhost:8057"), ("sec-fetch-site", "same-origin")],
            &[("origin", "https://localhost:8057")],
            &[("origin", "https://board.example"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "none")],
        ] {
            assert_eq!(post(ours), Ok(()), "{ours:?}");
        }
        for foreign in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "http://localhost:3000")],
            &[("origin", "http://localhost")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(post(foreign), Err(Refusal::Origin), "{foreign:?}");
        }
        let host = ("host", "localhost");
        let link = admit(&gate, "GET", "/", &[host, ("sec-fetch-site", "cross-site")]);
        assert_eq!(link, Ok(()), "a link to us may be followed");
        let fetch = admit(&gate, "GET", "/", &[host, ("origin", "https://evil.example")]);
        assert_eq!(fetch, Err(Refusal::Origin));
    }

    #[test]
    fn a_body_that_announces_too_much_and_a_peer_that_asks_too_often_are_refused() {
        let rate = Some(Rate { per_second: 1, burst: 2 });
        let gate = Gate { limiter: rate.map(Limiter::new), ..gate() };
        let with = |length: &str| {
            admit(&gate, "POST", "/", &[("host", "localhost"), ("content-length", length)])
        };
        assert_eq!(with("101"), Err(Refusal::BodyTooLarge { bytes_max: 100 }));
        assert_eq!(with("100"), Ok(()));
        let refused = with("1").unwrap_err();
        assert!(
            matches!(refused, Refusal::Rate { retry_after } if retry_after <= Duration::from_secs(1))
        );
        assert_eq!(refused.retry_after_s(), Some(1));
    }
}
