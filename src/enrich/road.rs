//! The road to the service, and one question.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Config;
use super::cache::Said;
use crate::runtime::road::{self, UnsafeUrl};
use crate::runtime::secret::{Secret, SecretError};
use crate::runtime::trust::TrustError;

/// Bytes of a reply, at most.
pub(super) const REPLY_BYTES_MAX: usize = 64 * 1024;

/// A reply, as far as it is read.
#[derive(Deserialize)]
struct Reply {
    status: String,
    data: Map<String, Value>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EnrichError {
    /// Its URL leads nowhere.
    #[error(transparent)]
    Url(#[from] UnsafeUrl),
    /// There is nobody to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The token cannot be had.
    #[error(transparent)]
    Token(#[from] SecretError),
    /// The service is not reached, or breaks off.
    #[error("ask the intelligence service: look whether it runs where [intelligence] url says")]
    Lost(#[source] reqwest::Error),
    /// It does not answer in time.
    #[error("have an answer of the intelligence service within {0:?}")]
    Slow(Duration),
    /// It does not take this question, and may well take others.
    #[error("have this question taken: the intelligence service answers {0}")]
    Refused(StatusCode),
    /// It answers otherwise than it should.
    #[error("understand the intelligence service: {0}; look whether [intelligence] url is right")]
    Wrong(String),
}

/// A client that knows where to ask.
pub(super) struct Road {
    client: Client,
    url: Url,
    token: Option<Secret>,
}

impl Road {
    /// Understands a config.
    pub(super) fn new(config: &Config) -> Result<Self, EnrichError> {
        let url = url_of(config)?;
        let client = road::client(config.ca_file.as_deref())?.timeout(config.budget).build();
        let client = client.map_err(EnrichError::Lost)?;
        Ok(Self { client, url, token: config.token.clone() })
    }

    /// Asks one question.
    pub(super) async fn ask(&self, question: &Value) -> Result<Said, EnrichError> {
        let mut request = self.client.post(self.url.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.fetch()?);
        }
        let request = request.header(CONTENT_TYPE, "application/json").body(question.to_string());
        let response = request.send().await.map_err(EnrichError::Lost)?;
        match response.status() {
            status if status.is_success() => said(&read(response).await?),
            status @ (StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY) => {
                Err(EnrichError::Refused(status))
            }
            status => Err(EnrichError::Wrong(format!("it answers {status}"))),
        }
    }
}

/// Where a config asks.
pub(super) fn url_of(config: &Config) -> Result<Url, EnrichError> {
    let service = road::url(&config.url, config.allow_insecure)?;
    Ok(road::below(&service, "intelligence").parse().map_err(|_| UnsafeUrl::Malformed)?)
}

/// Reads a reply, and no more of it than is kept.
async fn read(mut response: Response) -> Result<Vec<u8>, EnrichError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(EnrichError::Lost)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > REPLY_BYTES_MAX {
            return Err(EnrichError::Wrong("its reply is longer than 64 KiB".to_owned()));
        }
    }
    Ok(bytes)
}

/// The data of a good reply.
fn said(reply: &[u8]) -> Result<Said, EnrichError> {
    let reply: Reply = serde_json::from_slice(reply)
        .map_err(|_| EnrichError::Wrong("its reply is none of OnexTree".to_owned()))?;
    if reply.status != "success" {
        return Err(EnrichError::Wrong(format!("its reply says {:?}", reply.status)));
    }
    Said::new(reply.data).map_err(|unfit| EnrichError::Wrong(format!("failed to {unfit}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_goes_below_the_url() {
        for (url, asked) in [
            ("http://127.0.0.1:8058", Some("http://127.0.0.1:8058/intelligence")),
            ("https://tree.example/a/", Some("https://tree.example/a/intelligence")),
            ("http://tree.example", None),
        ] {
            let config = Config { url: url.to_owned(), ..Config::default() };
            assert_eq!(url_of(&config).ok().as_ref().map(Url::as_str), asked, "{url}");
        }
        let open = Config {
            url: "http://tree:8058".to_owned(),
            allow_insecure: true,
            ..Config::default()
        };
        assert!(url_of(&open).is_ok());
    }

    #[test]
    fn only_what_can_be_held_is_an_answer() {
        assert!(said(br#"{"status":"success","data":{"a":1}}"#).is_ok());
        for reply in [
            &b"{"[..],
            b"[]",
            b"null",
            br#"{"data":{}}"#,
            br#"{"status":"error","data":{}}"#,
            br#"{"status":"success"}"#,
            br#"{"status":"success","data":[]}"#,
            br#"{"status":"success","data":{"a":"\u0000"}}"#,
        ] {
            assert!(said(reply).is_err(), "{}", String::from_utf8_lossy(reply));
        }
    }
}
