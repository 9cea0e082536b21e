//! The schema of a blank database, made at the bridge's start; and whether the record has the schema.
//!
//! A database in which nothing stands yet has nothing to lose, so the first bridge on it may make what
//! it needs. Everything else, an older schema or another program's tables, is a person's decision, and
//! `stampd migrate`'s work: it is named in the log and in health, the bridge is not ready, and it goes
//! on to look until that was done.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api::{Component, Probe};
use crate::model::class::Class;
use crate::runtime::chain::chain;
use crate::store::address::Address;
use crate::store::migrate::{self, MigrateError, Standing};
use crate::store::{Config, Session};

/// How often it is looked at until it is ready.
const EVERY: Duration = Duration::from_secs(2);
/// How long others wait for the first connection: the first requests do, and have their answer within
/// a second. What takes longer goes on without them.
const FIRST_CONNECT_MAX: Duration = Duration::from_millis(700);

/// What is known of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: it could not be looked at yet.
    Unknown,
    /// It has the schema.
    Ready,
    /// A person has to do something first.
    Work(String),
}

/// What is known of the record, for the health routes.
pub(super) fn probe(found: watch::Receiver<Found>) -> Probe {
    Arc::new(move || {
        let found = found.borrow().clone();
        Box::pin(async move {
            let (healthy, details) = match found {
                Found::Ready => (true, json!({})),
                Found::Unknown => (false, json!({"reason": "it could not be looked at yet"})),
                Found::Work(what) => (false, json!({ "reason": what })),
            };
            Component { name: "schema", healthy, vital: true, details }
        })
    })
}

/// Looks until the record has the schema, and makes that of a blank database. Cancels `tried` after the
/// first look, however it ended, or when its connection takes long.
pub(super) async fn prepare(
    config: Config,
    tell: watch::Sender<Found>,
    tried: CancellationToken,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut warned = false;
    loop {
        let looked = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            looked = look(&config, &tried) => looked,
        };
        match looked {
            Ok(found) => note(&tell, &found),
            Err(error) if warned => tracing::debug!(%error, "no look at the schema"),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "failed to look at the database's schema; trying again");
                warned = true;
            }
        }
        tried.cancel();
        if *tell.borrow() == Found::Ready {
            return Ok(());
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Says it once, in the log.
fn note(tell: &watch::Sender<Found>, found: &Found) {
    let is_new = tell.send_if_modified(|known| {
        let is_new = known != found;
        known.clone_from(found);
        is_new
    });
    if is_new && let Found::Work(what) = found {
        tracing::error!("the record is not usable: {what}");
    }
}

/// One look. An error is to be tried again.
async fn look(config: &Config, tried: &CancellationToken) -> Result<Found, MigrateError> {
    let address = match Address::parse(config) {
        Ok(address) => address,
        Err(error) => return Ok(Found::Work(error.to_string())),
    };
    let mut opening = pin!(Session::open(&address));
    let opened = timeout(FIRST_CONNECT_MAX, &mut opening).await;
    let mut session = if let Ok(opened) = opened {
        opened?
    } else {
        tried.cancel();
        opening.await?
    };
    let survey = migrate::survey(&mut session).await?;
    match survey.standing {
        Standing::Current => Ok(Found::Ready),
        Standing::Blank if !survey.standby => make(&mut session).await,
        Standing::Behind(_) => Ok(work("its schema is older than this stampd")),
        Standing::Foreign(_) => Ok(work("it has another program's tables")),
        Standing::Blank => Ok(work("it is blank and a standby")),
        Standing::Ahead(_) | Standing::Altered(_) => Ok(work("another stampd made its schema")),
    }
}

fn work(why: &str) -> Found {
    Found::Work(format!("{why}; see what `stampd migrate --check` says"))
}

async fn make(session: &mut Session) -> Result<Found, MigrateError> {
    match migrate::run(session, &mut |_| {}).await {
        Ok(done) => {
            tracing::info!(steps = done.steps.len(), "made the schema of a blank database");
            Ok(Found::Ready)
        }
        Err(MigrateError::Step { source, .. }) if source.class() != Class::Retry => {
            let why = source.reason();
            Ok(work(&format!("it is blank and this login cannot make the schema ({why})")))
        }
        Err(error) => Err(error),
    }
}
