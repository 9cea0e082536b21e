//! The session with the database: opened when it is needed, dropped when it failed, and told of.

use std::time::{Duration, Instant};

use super::outlet::OutletError;
use super::view::Side;
use super::{Config, Parts};
use crate::store::offsets::{self, Advance, Offset};
use crate::store::operations::{Intake, Item, TakeError, Taken};
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
        let mut intake = self.open().await?;
        let began = Instant::now();
        let taken = intake.take(&self.group, items, steps).await;
        self.count("take", began, taken.is_ok());
        match taken {
            Ok(taken) => {
                self.intake = Some(intake);
                self.good();
                self.tell(items, &taken);
                Ok(())
            }
            Err(TakeError::Overtaken) => {
                self.intake = Some(intake);
                Err(Failure::Overtaken)
            }
            Err(TakeError::Store(error)) => Err(self.bad(error)),
        }
    }

    /// Asks the database something else.
    pub(super) async fn ask<T>(
        &mut self,
        kind: &'static str,
        question: impl AsyncFnOnce(&mut Session) -> Result<T, StoreError>,
    ) -> Result<T, Failure> {
        let mut intake = self.open().await?;
        let began = Instant::now();
        let answer = question(intake.session()).await;
        self.count(kind, began, answer.is_ok());
        match answer {
            Ok(answer) => {
                self.intake = Some(intake);
                self.good();
                Ok(answer)
            }
            Err(error) => Err(self.bad(error)),
        }
    }

    async fn open(&mut self) -> Result<Intake, Failure> {
        self.parts.figures.pool_usage.set(1.0);
        match self.intake.take() {
            Some(intake) => Ok(intake),
            None => match Intake::open(&self.parts.address).await {
                Ok(intake) => {
                    self.parts.figures.pool_size.set(1.0);
                    Ok(intake)
                }
                Err(error) => Err(self.bad(error)),
            },
        }
    }

    fn count(&self, kind: &'static str, began: Instant, is_ok: bool) {
        let figures = &self.parts.figures;
        figures.pool_usage.set(0.0);
        figures.durations.of([kind]).observe(began.elapsed().as_secs_f64());
        figures.operations.of([kind, if is_ok { "success" } else { "error" }]).inc();
    }

    fn good(&self) {
        if self.parts.view.database(Side::Good) {
            tracing::info!("the database takes what is read");
        }
    }

    fn bad(&self, error: StoreError) -> Failure {
        let figures = &self.parts.figures;
        figures.pool_size.set(0.0);
        figures.pool_usage.set(0.0);
        figures.errors.of([error.code()]).inc();
        let why = error.reason();
        if self.parts.view.database(Side::Bad(why.clone())) {
            tracing::warn!(why, "the database takes nothing: trying on");
        }
        Failure::Store(error)
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
