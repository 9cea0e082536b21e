//! Who a request comes from: `Authorization: Bearer`, against the tokens in force.
//!
//! Every token in force is kept for a moment, so that a flood of requests asks the database once, and a
//! revocation acts within [`LIFE`]. Promises: a token is compared with all that are in force, in
//! constant time; one that was issued just now is known at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;

use crate::model::digest::Digest;
use crate::runtime::http::{bearer_of, same};
use crate::store::StoreError;
use crate::store::ingest::{Bearer, Ingest};
use crate::store::tokens;

/// How long what the database said is believed.
const LIFE: Duration = Duration::from_secs(2);

/// Longer than any token: what is longer is not hashed.
const TOKEN_BYTES_MAX: usize = 256;

/// The gate for requests with a token; clones share what they know.
#[derive(Clone)]
pub(super) struct Auth(Arc<Inner>);

struct Inner {
    ingest: Ingest,
    /// Read and replaced by requests, never held across a wait.
    known: Mutex<Option<Known>>,
    /// The queue of those who found nothing; its head asks the database for all of them.
    turn: tokio::sync::Semaphore,
}

#[derive(Clone)]
struct Known {
    /// When the database was asked.
    at: Instant,
    bearers: Arc<[Bearer]>,
}

/// Why a request is not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthError {
    /// It brings no token.
    #[error("send a token: Authorization: Bearer, from `stampd token new NAME`")]
    Missing,
    /// It brings one that is not in force.
    #[error("the token is unknown or was revoked; `stampd token new NAME` issues one")]
    Unknown,
    /// Nobody could say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Auth {
    /// Knows nobody yet.
    pub(super) fn new(ingest: Ingest) -> Self {
        let turn = tokio::sync::Semaphore::new(1);
        Self(Arc::new(Inner { ingest, known: Mutex::default(), turn }))
    }

    /// Whose token the request brings.
    pub(super) async fn bearer(&self, headers: &HeaderMap) -> Result<Bearer, AuthError> {
        let asked = Instant::now();
        let digest = tokens::digest(presented(headers)?);
        let known = self.known();
        if let Some(known) = known.filter(|known| asked.duration_since(known.at) < LIFE)
            && let Some(bearer) = find(&known.bearers, &digest)
        {
            return Ok(bearer);
        }
        // Nothing known is newer than the question, so that a token issued before it is found.
        let bearers = self.ask_after(asked).await?;
        find(&bearers, &digest).ok_or(AuthError::Unknown)
    }

    /// Every token in force at some moment after `asked`.
    async fn ask_after(&self, asked: Instant) -> Result<Arc<[Bearer]>, StoreError> {
        let _turn = self.0.turn.acquire().await.expect("the semaphore is never closed");
        if let Some(known) = self.known().filter(|known| known.at >= asked) {
            return Ok(known.bearers);
        }
        let at = Instant::now();
        let bearers: Arc<[Bearer]> = self.0.ingest.bearers().await?.into();
        *self.0.known.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Known { at, bearers: Arc::clone(&bearers) });
        Ok(bearers)
    }

    fn known(&self) -> Option<Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn presented(headers: &HeaderMap) -> Result<&str, AuthError> {
    let token = bearer_of(headers).filter(|token| !token.is_empty()).ok_or(AuthError::Missing)?;
    if token.len() > TOKEN_BYTES_MAX { Err(AuthError::Unknown) } else { Ok(token) }
}

/// Looks at every one, so that the time says nothing of which it is.
fn find(bearers: &[Bearer], digest: &Digest) -> Option<Bearer> {
    let mut found = None;
    for bearer in bearers {
        if same(bearer.digest.as_bytes(), digest.as_bytes()) {
            found = Some(bearer);
        }
    }
    found.cloned()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::header::AUTHORIZATION;

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        [(AUTHORIZATION, HeaderValue::from_str(value).unwrap())].into_iter().collect()
    }

    #[test]
    fn only_a_bearer_token_is_one() {
        for (value, token) in [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("BEARER a", "a")] {
            assert_eq!(presented(&headers(value)).unwrap(), token, "{value}");
        }
        for value in ["", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert!(matches!(presented(&headers(value)), Err(AuthError::Missing)), "{value}");
        }
        assert!(matches!(presented(&HeaderMap::new()), Err(AuthError::Missing)));
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        assert!(matches!(presented(&headers(&long)), Err(AuthError::Unknown)));
    }
}
