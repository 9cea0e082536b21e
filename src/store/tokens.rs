//! Tokens: how a bridge knows an agent. Issued, listed and revoked by whoever runs the database.
//!
//! A token is 256 random bits, shown once, at its birth; the database holds its digest. A name has at
//! most one token in force, and stands for the agent: a new token under an old name gets the streams
//! of the old one. Who presents which token is `api::auth`'s to decide.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::crypto::ring;
use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::error::StoreError;
use super::session::Session;
use crate::model::digest::Digest;
use crate::model::namespace::Namespace;
use crate::runtime::time::Timestamp;

/// What every token begins with, so that scanners for leaked secrets can find it.
const PREFIX: &str = "stampd_";

/// The name of a token: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// The text cannot name a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token's name is 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', such as \"laptop-of-ann\"")]
pub struct NotAName;

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(legal);
        fits.then(|| Self(text.to_owned())).ok_or(NotAName)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A token's text. Whoever has it is the agent.
pub struct Token(String);

impl Token {
    /// The text, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn random() -> Result<Self, TokenError> {
        let mut bits = [0; 32];
        ring::default_provider().secure_random.fill(&mut bits).map_err(|_| TokenError::Entropy)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits))))
    }
}

/// What the database knows a token by. A digest suffices, since a token cannot be guessed.
pub fn digest(token: &str) -> Digest {
    Digest::of(token.as_bytes())
}

/// Why a token was not issued or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The name has a token in force.
    #[error("issue a token for {0}: it has one; `stampd token revoke {0}` first")]
    Taken(Name),
    /// No token in force has the name.
    #[error("revoke a token: none in force is named {0}; `stampd token ls` lists them")]
    Unknown(Name),
    /// The system gave no randomness.
    #[error("issue a token: the system gives no random bits")]
    Entropy,
}

/// Issues a token for `name`, with `namespaces` in scope; none means all.
pub async fn issue(
    session: &mut Session,
    name: &Name,
    namespaces: &[Namespace],
) -> Result<Token, TokenError> {
    let token = Token::random()?;
    let digest = digest(&token.0);
    let scope: Vec<&str> = namespaces.iter().map(Namespace::as_str).collect();
    let sql = "INSERT INTO public.stampd_tokens (name, digest, namespaces) VALUES ($1, $2, $3)";
    let insert = session
        .run(async |client| {
            client.execute(sql, &[&name.as_str(), &digest.as_bytes().as_slice(), &scope]).await
        })
        .await;
    match insert {
        Ok(_) => Ok(token),
        Err(error) if error.code() == SqlState::UNIQUE_VIOLATION.code() => {
            Err(TokenError::Taken(name.clone()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Revokes the token in force under `name`.
pub async fn revoke(session: &mut Session, name: &Name) -> Result<(), TokenError> {
    let sql = "UPDATE public.stampd_tokens SET revoked_at = now() \
         WHERE name = $1 AND revoked_at IS NULL";
    match session.run(async |client| client.execute(sql, &[&name.as_str()]).await).await? {
        0 => Err(TokenError::Unknown(name.clone())),
        _ => Ok(()),
    }
}

/// A token as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Whose it is.
    pub name: String,
    /// What is in scope; empty for all.
    pub namespaces: Vec<String>,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
    /// How many streams its name has.
    pub streams: i64,
    /// When one of them grew last.
    pub last_seen: Option<Timestamp>,
}

/// Every token ever issued, by name and age.
pub async fn list(session: &mut Session) -> Result<Vec<Listed>, StoreError> {
    let sql = "SELECT t.name, t.namespaces, t.created_at, t.revoked_at, \
         count(s.stream_id), max(s.last_seen) \
         FROM public.stampd_tokens t LEFT JOIN public.streams s ON s.token = t.name \
         GROUP BY t.id ORDER BY t.name, t.created_at, t.id";
    session.run(async |client| client.query(sql, &[]).await?.iter().map(listed).collect()).await
}

fn listed(row: &Row) -> Result<Listed, tokio_postgres::Error> {
    let time = |index| -> Result<Option<Timestamp>, tokio_postgres::Error> {
        let time: Option<std::time::SystemTime> = row.try_get(index)?;
        Ok(time.map(Timestamp::from))
    };
    Ok(Listed {
        name: row.try_get(0)?,
        namespaces: row.try_get(1)?,
        created_at: row.try_get::<_, std::time::SystemTime>(2)?.into(),
        revoked_at: time(3)?,
        streams: row.try_get(4)?,
        last_seen: time(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word() {
        for good in ["a", "laptop-of-ann", "Build.7_x"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "é", "a\n", &"x".repeat(65)] {
            assert_eq!(bad.parse::<Name>(), Err(NotAName), "{bad}");
        }
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let (one, two) = (Token::random().unwrap(), Token::random().unwrap());
        assert_eq!(one.reveal().len(), PREFIX.len() + 43);
        assert_ne!(one.reveal(), two.reveal());
        assert_ne!(digest(one.reveal()), digest(two.reveal()));
    }
}
