//! What went wrong between us and a database, and what is to be done about it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::{DbError, SqlState};

use super::address::AddressError;
use super::tls::TlsError;
use crate::model::class::Class;
use crate::runtime::chain::chain;
use crate::runtime::secret::SecretError;

/// The stream holds another stamp at a position of ours; `stampd_append` raises it.
const FORK: &str = "ST001";

/// A failure between us and a database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is refused.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The password cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// There is nobody to trust.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It did not answer in time.
    #[error("hear from Postgres within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The work was one with others', and all of it failed.
    #[error(transparent)]
    Shared(#[from] Arc<StoreError>),
    /// Whoever does the work has stopped.
    #[error("use Postgres: stampd is stopping; try again when it is back")]
    Stopped,
    /// It said no, or the connection failed.
    #[error("use Postgres: {}", explain(.0))]
    Postgres(#[from] tokio_postgres::Error),
}

impl StoreError {
    /// What is to be done about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Address(_) | Self::Secret(_) | Self::Tls(_) => Class::Park,
            // A batch that takes too long on this road may pass in halves.
            Self::Timeout(_) => Class::RetrySmaller,
            Self::Shared(error) => error.class(),
            Self::Stopped => Class::Retry,
            Self::Postgres(error) => match error.code() {
                Some(code) => class_of(code.code()),
                None if self.is_tls_refused() || self.is_login_incomplete() => Class::Park,
                None => Class::Retry,
            },
        }
    }

    /// What is wrong, as a clause of its own: for status and dead letters.
    pub fn reason(&self) -> String {
        match self {
            Self::Postgres(error) => explain(error),
            Self::Timeout(bound) => {
                format!("the server did not answer within {} s", bound.as_secs_f32())
            }
            Self::Shared(error) => error.reason(),
            Self::Stopped => "stampd is stopping".to_owned(),
            Self::Address(_) | Self::Secret(_) | Self::Tls(_) => {
                format!("failed to {}", chain(self))
            }
        }
    }

    /// A code for dead letters and metrics: the SQLSTATE where there is one.
    pub fn code(&self) -> &str {
        match self {
            Self::Address(_) => "address",
            Self::Secret(_) => "secret",
            Self::Tls(_) => "tls",
            Self::Timeout(_) => "timeout",
            Self::Shared(error) => error.code(),
            Self::Stopped => "stopped",
            Self::Postgres(error) => error.code().map_or("connection", SqlState::code),
        }
    }

    /// The position at fault, where the server names it.
    pub fn seq(&self) -> Option<u64> {
        self.reply().and_then(|reply| reply.detail()?.parse().ok())
    }

    /// Whether the session can be used again: the server answered, and not that it ends.
    pub(crate) fn leaves_session_usable(&self) -> bool {
        self.reply().is_some_and(|reply| {
            // After a migration a kept plan no longer fits: a new session makes a new one.
            let stale = ["57P", "08", "0A000", "42883"];
            reply.severity() == "ERROR"
                && !stale.iter().any(|code| reply.code().code().starts_with(code))
        })
    }

    /// The table that has a row already where another was to be inserted.
    pub(super) fn collides_in(&self) -> Option<&str> {
        let reply = self.reply().filter(|reply| *reply.code() == SqlState::UNIQUE_VIOLATION)?;
        reply.table()
    }

    /// Whether the connection was lost, so that it is unknown whether the server did what it was
    /// asked.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::Postgres(error) => {
                // 57P01 to 57P03: the server says goodbye to everyone.
                error.as_db_error().is_none_or(|reply| reply.code().code().starts_with("57P"))
            }
            Self::Shared(error) => error.is_lost(),
            Self::Address(_) | Self::Secret(_) | Self::Tls(_) | Self::Stopped => false,
        }
    }

    /// Whether the connection ended, as against a server that lets us wait.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_lost() && !matches!(self, Self::Timeout(_))
    }

    /// Whether TLS failed, as opposed to what lies below and above.
    pub(crate) fn is_tls(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Postgres(error) => error.to_string() == "error performing TLS handshake",
            _ => false,
        }
    }

    /// Whether the server has no TLS at all; a captive portal's certificate passes by itself, this
    /// does not.
    fn is_tls_refused(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        error.source().is_some_and(|cause| cause.to_string() == "server does not support TLS")
    }

    /// Whether the server asks for a proof that we do not have: no password, or no way to show it.
    fn is_login_incomplete(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        ["invalid configuration", "authentication error"].contains(&error.to_string().as_str())
    }

    fn reply(&self) -> Option<&DbError> {
        match self {
            Self::Postgres(error) => error.as_db_error(),
            Self::Shared(error) => error.reply(),
            _ => None,
        }
    }
}

/// The class of an SQLSTATE.
pub(super) fn class_of(code: &str) -> Class {
    match code {
        FORK => Class::Fork,
        "57014" => Class::RetrySmaller,
        // A standby, or a server that was made read-only for a while.
        "25006" => Class::Retry,
        _ => match &code[..2] {
            // Connections, rollbacks, resources, objects in use, operators.
            "08" | "40" | "53" | "55" | "57" => Class::Retry,
            // Data, constraints, limits.
            "22" | "23" | "54" => Class::Reject,
            _ => Class::Park,
        },
    }
}

/// What the server said, or what became of the connection.
pub(super) fn explain(error: &tokio_postgres::Error) -> String {
    let asks_password = error.source().is_some_and(|cause| cause.to_string() == "password missing");
    if asks_password {
        return "the server asks for a password; say where it is: password = { file = \"…\" }, \
                { credential = \"…\" } or { env = \"…\" } in [postgres]"
            .to_owned();
    }
    match error.as_db_error() {
        Some(reply) => {
            let hint = reply.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{}{hint} [SQLSTATE {}]", reply.message(), reply.code().code())
        }
        None => chain(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sqlstate_decides_what_is_done() {
        for (code, class) in [
            ("ST001", Class::Fork),
            ("57014", Class::RetrySmaller),
            ("08006", Class::Retry),
            ("25006", Class::Retry),
            ("40P01", Class::Retry),
            ("53100", Class::Retry),
            ("55P03", Class::Retry),
            ("57P01", Class::Retry),
            ("22P05", Class::Reject),
            ("23514", Class::Reject),
            ("54000", Class::Reject),
            ("25001", Class::Park),
            ("28P01", Class::Park),
            ("3D000", Class::Park),
            ("42501", Class::Park),
            ("42P01", Class::Park),
            ("XX000", Class::Park),
        ] {
            assert_eq!(class_of(code), class, "{code}");
        }
    }
}
