//! The session with the database: opened when it is needed, dropped when it failed, and told of.

use std::time::{Duration, Instant};

use super::outlet::OutletError;
use super::view::Side;
use super::{Config, Parts};
use crate::store::offsets::{self, Advance, Offset};
use crate::store::operations::{EQUIVOCATION, Intake, Item, TakeError, Taken};
use crate::store::{Session, StoreError};

/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// The session with the database.
pub(super) struct Writer {
    parts: Parts,
    group: String,
    /// Taken out for the time of each use: whatever fails leaves none.
    intake: Option<Intake>,
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// Somebody else goes on in one of our partitions.
    Overtaken,
    /// The database or the road to it.
    Store(StoreError),
    /// The topic of answers, or the road to it.
    Outlet(OutletError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<TakeError> for Failure {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Overtaken => Self::Overtaken,
            TakeError::Store(error) => Self::Store(error),
        }
    }
}

impl Writer {
    pub(super) fn new(config: &Config, parts: &Parts) -> Self {
        Self { parts: parts.clone(), group: config.reading.group.clone(), intake: None }
    }

    /// Where the group goes on in these topics.
    pub(super) async fn offsets(&mut self, topics: &[&str]) -> Result<Vec<Offset>, Failure> {
        let group = self.group.clone();
        self.ask("offsets", async |session| offsets::load(session, &group, topics).await).await
    }

    /// Takes records and steps forward, all or nothing.
    pub(super) async fn take(&mut self, items: &[Item], steps: &[Advance]) -> Result<(), Failure> {
        let group = self.group.clone();
        let take = async |intake: &mut Intake| intake.take(&group, items, steps).await;
        let taken = self.with("take", take).await?;
        self.tell(items, &taken);
        Ok(())
    }

    /// Asks the database something else.
    pub(super) async fn ask<T>(
        &mut self,
        kind: &'static str,
        question: impl AsyncFn(&mut Session) -> Result<T, StoreError>,
    ) -> Result<T, Failure> {
        self.with(kind, async |intake| Ok(question(intake.session()).await?)).await
    }

    /// Uses the session that is there. Where that turns out to have ended, a new one decides: so no
    /// failure is made of a session that was only old, and an outage is what a new one cannot get by.
    async fn with<T>(
        &mut self,
        kind: &'static str,
        work: impl AsyncFn(&mut Intake) -> Result<T, TakeError>,
    ) -> Result<T, Failure> {
        if let Some(intake) = self.intake.take() {
            match self.attempt(kind, intake, &work).await {
                Err(TakeError::Store(error)) if error.is_cut() => {
                    tracing::debug!(why = error.reason(), "the session ended: making a new one");
                }
                done => return self.judge(done),
            }
        }
        let done = match Intake::open(&self.parts.address).await {
            Ok(intake) => self.attempt(kind, intake, &work).await,
            Err(error) => Err(error.into()),
        };
        self.judge(done)
    }

    async fn attempt<T>(
        &mut self,
        kind: &'static str,
        mut intake: Intake,
        work: impl AsyncFn(&mut Intake) -> Result<T, TakeError>,
    ) -> Result<T, TakeError> {
        let figures = &self.parts.figures;
        figures.pool_size.set(1.0);
        figures.pool_usage.set(1.0);
        let began = Instant::now();
        let done = work(&mut intake).await;
        let is_usable = !matches!(done, Err(TakeError::Store(_)));
        figures.pool_usage.set(0.0);
        figures.pool_size.set(f64::from(u8::from(is_usable)));
        figures.durations.of([kind]).observe(began.elapsed().as_secs_f64());
        figures.operations.of([kind, if done.is_ok() { "success" } else { "error" }]).inc();
        self.intake = is_usable.then_some(intake);
        done
    }

    /// Tells how the database is by what it did.
    fn judge<T>(&self, done: Result<T, TakeError>) -> Result<T, Failure> {
        match &done {
            Err(TakeError::Store(error)) => {
                self.parts.figures.errors.of([error.code()]).inc();
                let why = error.reason();
                if self.parts.view.database(Side::Bad(why.clone())) {
                    tracing::warn!(why, "the database takes nothing: trying on");
                }
            }
            Ok(_) | Err(TakeError::Overtaken) => {
                if self.parts.view.database(Side::Good) {
                    tracing::info!("the database takes what is read");
                }
            }
        }
        done.map_err(Failure::from)
    }

    fn tell(&self, items: &[Item], taken: &Taken) {
        let figures = &self.parts.figures;
        figures.events.inc_by(taken.events as u64);
        figures.dead.inc_by(taken.dead.len() as u64);
        for (place, reason) in &taken.dead {
            figures.errors.of([&reason.error_type]).inc();
            let record = &items[*place].record;
            let (topic, partition, offset) = (&record.topic, record.partition, record.offset);
            let why = &reason.error_message;
            tracing::warn!(topic, partition, offset, why, "a record became a dead letter");
            if reason.error_type == EQUIVOCATION {
                tracing::error!(
                    topic,
                    partition,
                    offset,
                    "EQUIVOCATION: two records tell different stamps of one position; an agent's \
                     spool was copied, or somebody else writes to the topic"
                );
            }
        }
        if !taken.dead.is_empty() {
            self.parts.letters.notify_one();
        }
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        if let Some(intake) = self.intake {
            intake.close(Instant::now() + GOODBYE).await;
        }
    }
}
