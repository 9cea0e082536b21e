//! Postgres as a destination: one session, and `store::streams::append` over it.
//!
//! Climbs the two rungs above TLS: that it is a migrated record which this login may append to,
//! and which one. What the answers lead to is left to `sync`.

use std::time::Instant;

use super::{Delivery, Endpoint, Identity, Sink, SinkError};
use crate::model::batch::Batch;
use crate::model::class::Class;
use crate::model::rung::{Height, Rung};
pub use crate::store::Config;
use crate::store::address::{Address, AddressError};
use crate::store::migrate::{self, MIGRATIONS, Standing, Survey};
use crate::store::streams::{self, Gaps};
use crate::store::{Session, StoreError};

/// A record in Postgres.
pub struct Postgres {
    address: Address,
    /// Taken out for the time of each use: a delivery that is dropped in the middle leaves none,
    /// and not one in an unknown state.
    session: Option<Session>,
}

impl Postgres {
    /// Understands a config; connects to nothing.
    pub fn new(config: &Config) -> Result<Self, AddressError> {
        Ok(Self { address: Address::parse(config)?, session: None })
    }
}

impl Sink for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        // TLS comes after words of Postgres' own protocol, so that rung is ours.
        let hosts = self.address.hosts().into_iter();
        hosts.map(|(host, port)| Endpoint { host, port, tls: None }).collect()
    }

    async fn probe(&mut self) -> Result<Identity, Rung> {
        self.session = None;
        let login = self.address.login();
        let mut session =
            Session::open(&self.address).await.map_err(|error| rung(&error, login))?;
        let survey = migrate::survey(&mut session).await.map_err(|error| rung(&error, login))?;
        let identity = accept(&survey, login)?;
        self.session = Some(session);
        Ok(identity)
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let Some(mut session) = self.session.take() else {
            return Err(SinkError::new(Class::Retry, "connection", "use Postgres: not connected"));
        };
        let outcome = streams::append(&mut session, &[batch], Gaps::Refused).await;
        if outcome.as_ref().err().is_none_or(StoreError::leaves_session_usable) {
            self.session = Some(session);
        }
        let answers = outcome.map_err(sink_error)?;
        let answer = answers.first().expect("one answer for each batch");
        Ok(Delivery {
            size: answer.size,
            leaf: answer.head,
            accepted: answer.accepted,
            duplicates: answer.duplicates,
        })
    }

    async fn close(&mut self, deadline: Instant) {
        if let Some(session) = self.session.take() {
            session.close(deadline).await;
        }
    }
}

/// Whether the record is one that this binary can append to as this login.
fn accept(survey: &Survey, login: &str) -> Result<Identity, Rung> {
    let park = |text: String| Err(Rung::park(Height::Application, text));
    let known = MIGRATIONS.len();
    if survey.standby {
        let text = "the server is a standby and takes no writes; waiting for a primary";
        return Err(Rung::retry(Height::Application, text));
    }
    if let Some(unfit) = survey.unfit() {
        return park(unfit);
    }
    match &survey.standing {
        Standing::Current => {}
        Standing::Blank | Standing::Foreign(_) => {
            return park("the database was never migrated; run `stampd migrate`".to_owned());
        }
        Standing::Behind(version) => {
            return park(format!(
                "the database has schema version {version} of {known}; run `stampd migrate`"
            ));
        }
        Standing::Ahead(version) => {
            return park(format!(
                "the database has schema version {version}, newer than this stampd knows \
                 ({known}); upgrade stampd"
            ));
        }
        Standing::Altered(version) => {
            return park(format!(
                "schema version {version} of the database was made by another build of stampd; \
                 use that build"
            ));
        }
    }
    if !survey.may_append {
        return park(format!(
            "login {login} may not append; as the database's owner: GRANT stampd_agent TO {login}"
        ));
    }
    let Some(ledger) = survey.ledger else {
        let text =
            "stampd_ledger is empty: the database does not say which record it is; restore it";
        return Err(Rung::park(Height::Identity, text));
    };
    Ok(Identity(ledger.to_string()))
}

/// The rung on which an attempt to connect failed.
fn rung(error: &StoreError, login: &str) -> Rung {
    let height = match error.code() {
        _ if error.is_tls() => Height::Tls,
        "28P01" | "28000" => Height::Login,
        _ => Height::Application,
    };
    let class = match error.class() {
        Class::Retry | Class::RetrySmaller => Class::Retry,
        Class::Park | Class::Reject | Class::Fork => Class::Park,
    };
    let advice = match error.code() {
        "28P01" | "28000" => "; check [postgres] password, and pg_hba.conf on the server",
        "3D000" => "; check the database's name in [postgres] url",
        "42501" => return Rung::park(height, no_right(error, login)),
        _ => "",
    };
    Rung { height, text: format!("{}{advice}", error.reason()), class }
}

fn no_right(error: &StoreError, login: &str) -> String {
    format!("{}; as the database's owner: GRANT stampd_agent TO {login}", error.reason())
}

fn sink_error(error: StoreError) -> SinkError {
    let seq = error.seq();
    let answer = SinkError::new(error.class(), error.code(), error.reason()).because(error);
    match seq {
        Some(seq) => answer.at(seq),
        None => answer,
    }
}
