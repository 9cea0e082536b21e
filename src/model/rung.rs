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
    /// It does not speak as we do.
    Version,
    /// It does not believe who we are.
    Login,
    /// It is not who it was at first contact, or does not say who it is.
    Identity,
    /// It says to go on at an address that cannot be reached from here.
    Listener,
    /// It is there and will not take stamps.
    Application,
}

impl Height {
    /// The word for it in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Version => "version",
            Self::Login => "login",
            Self::Identity => "identity",
            Self::Listener => "listener",
            Self::Application => "application",
        }
    }
}

/// A rung that was climbed: what was found on it, or why it does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which one.
    pub height: Height,
    /// What a person may want to know of it.
    pub found: Result<String, Rung>,
}

impl Step {
    /// A rung that holds.
    pub fn holds(height: Height, found: impl Into<String>) -> Self {
        Self { height, found: Ok(found.into()) }
    }
}

impl From<Rung> for Step {
    fn from(rung: Rung) -> Self {
        Self { height: rung.height, found: Err(rung) }
    }
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
