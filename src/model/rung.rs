//! The rungs of the probe ladder: how far the road to a sink holds.

use super::class::Class;

/// How far up the ladder a probe came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Height {
    /// No network leads there.
    Route,
    /// The name does not resolve.
    Dns,
    /// Nothing accepts the connection.
    Tcp,
    /// No trust was established.
    Tls,
    /// It is not who it was at first contact, or does not say who it is.
    Identity,
    /// It is there and will not take stamps.
    Application,
}

/// The rung of the probe ladder that failed, as the text a person reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Rung {
    /// Which one.
    pub height: Height,
    /// What failed and what to do about it.
    pub text: String,
    /// [`Class::Retry`] when it may pass by itself, [`Class::Park`] when it needs a person.
    pub class: Class,
}

impl Rung {
    /// A rung that may hold at the next attempt.
    pub fn retry(height: Height, text: impl Into<String>) -> Self {
        Self { height, text: text.into(), class: Class::Retry }
    }

    /// A rung that needs a person.
    pub fn park(height: Height, text: impl Into<String>) -> Self {
        Self { height, text: text.into(), class: Class::Park }
    }
}
