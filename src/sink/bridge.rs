//! A bridge as a destination: pieces of streams over HTTP, to `POST /api/v1/streams/{id}/stamps`.
//!
//! One client with one connection at a time, which follows no redirect, uses no proxy and trusts whom
//! the config says. The bridge's record is the identity, as with Postgres: whoever speaks of the same
//! ledger is the same far end. What the answers lead to is left to `sync`; only a Retry-After is kept
//! here, and no probe passes before it is over.

mod answer;
mod road;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response};

use self::answer::{Reply, judge, rung_of};
pub use self::road::BridgeError;
use self::road::Road;
use super::{Delivery, Endpoint, Identity, Sink, SinkError};
use crate::model::batch::Batch;
use crate::model::class::Class;
use crate::model::piece;
use crate::model::rung::{Height, Rung};
use crate::runtime::chain::chain;
use crate::runtime::secret::Secret;

/// A longer wait than this is not asked for in earnest.
const WAIT_MAX: Duration = Duration::from_mins(10);

/// Bytes of a reply, at most.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// How to reach a bridge.
#[derive(Clone, Debug)]
pub struct Config {
    /// `https://host[:port]`, without a token; the path of a reverse proxy may follow.
    pub url: String,
    /// Where the token is.
    pub token: Option<Secret>,
    /// PEM file of the authorities to trust, instead of the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Allows plain HTTP off this machine.
    pub allow_insecure: bool,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            token: None,
            ca_file: None,
            allow_insecure: false,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(45),
        }
    }
}

/// A record behind a bridge.
pub struct Bridge {
    road: Road,
    client: Option<Client>,
    /// Until when the bridge asked to be left alone.
    rest_until: Option<Instant>,
}

impl Bridge {
    /// Understands a config; connects to nothing.
    pub fn new(config: &Config) -> Result<Self, BridgeError> {
        Ok(Self { road: Road::parse(config)?, client: None, rest_until: None })
    }

    /// What the bridge says to `request`.
    async fn exchange(&mut self, request: reqwest::RequestBuilder) -> Result<Reply, SinkError> {
        let sent = request.send().await;
        let response = sent.map_err(|error| lost(&error))?;
        self.rest(response.headers());
        read(response).await
    }

    fn rest(&mut self, headers: &HeaderMap) {
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        self.rest_until =
            seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds).min(WAIT_MAX));
    }

    /// Fails as long as the bridge asked to be left alone.
    fn awake(&self) -> Result<(), Rung> {
        let left = self.rest_until.and_then(|until| until.checked_duration_since(Instant::now()));
        match left {
            None => Ok(()),
            Some(left) => Err(Rung::retry(
                Height::Application,
                format!("the bridge asked to come again in {} s", left.as_secs() + 1),
            )),
        }
    }
}

impl Sink for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        vec![self.road.endpoint()]
    }

    async fn probe(&mut self) -> Result<Identity, Rung> {
        self.client = None;
        self.awake()?;
        let client = self.road.client()?;
        let request = client.get(self.road.record()).bearer_auth(self.road.token()?);
        let reply = self.exchange(request).await.map_err(|error| {
            let height = if error.code == "tls" { Height::Tls } else { Height::Application };
            Rung { height, text: error.text.clone(), class: probing(error.class) }
        })?;
        let identity = rung_of(&reply)?;
        self.client = Some(client);
        Ok(identity)
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let Some(client) = self.client.clone() else {
            return Err(SinkError::new(
                Class::Retry,
                "connection",
                "use the bridge: not connected",
            ));
        };
        // Read anew each time, so that a rotated token acts at once.
        let token =
            self.road.token().map_err(|rung| SinkError::new(rung.class, "token", rung.text))?;
        let body = zstd::encode_all(piece::render(batch).as_bytes(), 1)
            .expect("packing memory into memory cannot fail");
        let request = client
            .post(self.road.stamps(batch.stream))
            .bearer_auth(token)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "zstd")
            .body(body);
        let reply = self.exchange(request).await?;
        judge(&reply, batch)
    }

    async fn close(&mut self, _: Instant) {
        // Its sockets close with it.
        self.client = None;
    }
}

/// A probe has nothing to make smaller or to set aside.
const fn probing(class: Class) -> Class {
    match class {
        Class::Retry | Class::RetrySmaller => Class::Retry,
        Class::Park | Class::Reject | Class::Fork => Class::Park,
    }
}

/// Reads a reply, and no more of it than a bridge says.
async fn read(mut response: Response) -> Result<Reply, SinkError> {
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > REPLY_BYTES_MAX {
            let text = "the reply is longer than a bridge's: check [bridge] url";
            return Err(SinkError::new(Class::Park, "reply", text));
        }
    }
    Ok(Reply::new(status, &bytes))
}

/// No answer came: it is unknown whether the bridge took the piece.
fn lost(error: &reqwest::Error) -> SinkError {
    let words = chain(error);
    let code = match error {
        error if error.is_timeout() => "timeout",
        _ if words.contains("certificate") => "tls",
        _ => "connection",
    };
    // The URL is in the config, and adds nothing to what went wrong.
    SinkError::new(Class::Retry, code, format!("no answer from the bridge: {words}"))
}
