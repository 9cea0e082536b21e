//! `Authorization: Bearer`, against one secret that all callers share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::runtime::secret::{Secret, SecretError};

/// How long a fetched secret is taken for the current one: reading a file for each request would cost
/// more than the request, and a changed token need not act at once.
const FRESH: Duration = Duration::from_secs(10);

/// The secret that lets callers in; clones share it.
#[derive(Clone, Debug)]
pub struct Bearer {
    secret: Secret,
    fetched: Arc<Mutex<Fetched>>,
}

struct Fetched {
    value: String,
    at: Instant,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Fetched").finish_non_exhaustive()
    }
}

impl Bearer {
    /// Fetches the secret for the first time.
    ///
    /// # Errors
    /// When it cannot be fetched: nobody could ever be let in.
    pub fn open(secret: Secret) -> Result<Self, SecretError> {
        let fetched = Fetched { value: secret.fetch()?, at: Instant::now() };
        Ok(Self { secret, fetched: Arc::new(Mutex::new(fetched)) })
    }

    /// Whether the headers carry the secret.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        self.admits_at(headers, Instant::now())
    }

    fn admits_at(&self, headers: &HeaderMap, now: Instant) -> bool {
        let Some(given) = bearer_of(headers) else { return false };
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(fetched.at) > FRESH {
            fetched.at = now;
            match self.secret.fetch() {
                Ok(value) => fetched.value = value,
                Err(error) => tracing::warn!(%error, "the last token stays in force"),
            }
        }
        same(fetched.value.as_bytes(), given.as_bytes())
    }
}

/// The token that a request carries.
pub fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares secrets in a time that tells at most their length.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_lets_in_and_a_changed_one_takes_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "sesame\n").unwrap();
        let bearer = Bearer::open(Secret::file(&file)).unwrap();
        let mut now = Instant::now();
        let admits = |value: &str, now: Instant| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            bearer.admits_at(&headers, now)
        };
        assert!(!bearer.admits(&HeaderMap::new()));
        for (value, enters) in [
            ("Bearer sesame", true),
            ("bearer  sesame", true),
            ("Bearer sesam", false),
            ("Bearer sesamE", false),
            ("Bearer", false),
            ("Basic sesame", false),
            ("sesame", false),
        ] {
            assert_eq!(admits(value, now), enters, "{value}");
        }
        std::fs::write(&file, "open").unwrap();
        now += FRESH * 2;
        assert!(admits("Bearer open", now) && !admits("Bearer sesame", now));
        std::fs::remove_file(&file).unwrap();
        now += FRESH * 2;
        assert!(admits("Bearer open", now), "what cannot be read again stays in force");
    }

    #[test]
    fn without_a_secret_nothing_is_opened() {
        let missing = Secret::file(std::path::Path::new("/nowhere/token"));
        assert!(matches!(Bearer::open(missing), Err(SecretError::Unreadable(..))));
    }
}
