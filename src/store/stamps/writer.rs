//! A writer: a task that serves groups, one transaction at a time.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use uuid::Uuid;

use super::group::{Fate, Group};
use super::line::{Line, Piece, Said, Tail};
use super::opening::Opening;
use super::outage::Outage;
use super::queue::Queue;
use super::{CONNECT_MAX, Config, Job, PIECE_MAX, Refused};
use crate::model::batch::Batch;
use crate::model::class::Class;
use crate::model::content::{Order, Row};
use crate::store::address::Address;
use crate::store::error::StoreError;
use crate::store::pool::Carrier;

/// How often a piece is tried again because another was faster or the connection was lost.
const TRIES_MAX: u32 = 5;
/// One of the writers of a desk.
pub struct Writer {
    config: Config,
    address: Address,
    /// Which one.
    number: usize,
    queue: Arc<Queue>,
    outage: Arc<Outage>,
    /// None before the first connection and after each loss.
    line: Option<Line>,
    /// The line that is being made.
    opening: Opening<Line>,
    /// Who makes the sessions for reading that their callers did not wait for.
    carrier: Option<Carrier>,
    /// None before the first stream, and when it must not be used any more.
    tail: Option<Tail>,
    /// Whether the stream holds something of which `tail` does not know.
    is_forked: bool,
}

/// Why a piece was not taken.
enum Trouble {
    /// It is to be sent again, made anew.
    Again(StoreError),
    /// Its data is at fault.
    Data(StoreError),
    /// The database cannot be used.
    Away(Arc<StoreError>),
}

/// What became of a piece: its rows, or the ids of those that were held.
enum Outcome {
    Fresh(Piece, Option<i64>),
    Held(Vec<Option<Row>>),
}

impl Writer {
    /// The writers of a queue.
    pub(super) fn several(config: &Config, address: &Address, queue: Queue) -> Vec<Self> {
        let outage = Arc::new(Outage::new(config.outbox.clone()));
        let queue = Arc::new(queue);
        let writer = |number| Self {
            config: config.clone(),
            address: address.clone(),
            number,
            queue: Arc::clone(&queue),
            outage: Arc::clone(&outage),
            line: None,
            opening: Opening::default(),
            carrier: None,
            tail: None,
            is_forked: false,
        };
        (0..config.writers).map(writer).collect()
    }

    /// Makes the sessions for reading as well.
    pub(super) fn carries(&mut self, carrier: Carrier) {
        self.carrier = Some(carrier);
    }

    /// Serves until the last desk is dropped.
    pub async fn run(mut self) -> Result<(), Infallible> {
        // Told to the log there; the first order tries again.
        let _ = self.connect(None).await;
        while let Some(jobs) = self.next().await {
            let group = Group::of(jobs);
            let fates = self.serve(group.orders()).await;
            group.answer(&fates);
        }
        Ok(())
    }

    /// Waits for jobs, while connections that nobody waits for are made.
    async fn next(&mut self) -> Option<Vec<Job>> {
        let queue = Arc::clone(&self.queue);
        let mut taken = pin!(queue.take(self.number, PIECE_MAX));
        loop {
            // What is not done goes on in the next turn.
            tokio::select! {
                biased;
                jobs = &mut taken => return jobs,
                line = self.opening.made() => {
                    self.line = Some(line);
                    let _ = self.look(None).await;
                }
                () = carry(self.carrier.as_mut()) => {}
            }
        }
    }

    /// Finds the fate of every order.
    async fn serve(&mut self, orders: &[Order]) -> Vec<Fate> {
        let mut fates: Vec<Option<Fate>> = orders.iter().map(|_| None).collect();
        let mut pieces: Vec<Vec<usize>> = vec![(0..orders.len()).collect()];
        let mut tries = TRIES_MAX;
        while let Some(places) = pieces.pop() {
            match self.attempt(orders, &places).await {
                Ok(Outcome::Fresh(piece, event)) => {
                    settle_fresh(&mut fates, &places, &piece, event);
                    self.lay(piece, event);
                }
                Ok(Outcome::Held(rows)) => {
                    let rest = settle_held(&mut fates, &places, rows);
                    pieces.extend((!rest.is_empty()).then_some(rest));
                }
                Err(Trouble::Data(error)) if places.len() == 1 => {
                    fates[places[0]] = Some(Fate::Refused(refused(&error)));
                }
                Err(Trouble::Data(_)) => {
                    let (left, right) = places.split_at(places.len() / 2);
                    pieces.extend([right.to_vec(), left.to_vec()]);
                }
                Err(Trouble::Again(_)) if tries > 0 => {
                    tries -= 1;
                    pieces.push(places);
                }
                Err(Trouble::Again(error)) => fail(&mut fates, &places, &Arc::new(error)),
                Err(Trouble::Away(error)) => fail(&mut fates, &places, &error),
            }
        }
        fates.into_iter().map(|fate| fate.expect("every place was in a piece")).collect()
    }

    /// Sends the orders at `places` as one piece.
    async fn attempt(&mut self, orders: &[Order], places: &[usize]) -> Result<Outcome, Trouble> {
        let tail = self.ready().await?;
        let agent = &self.config.agent;
        let now = self.config.clock.now();
        let piece = Piece::of(places.iter().map(|&place| &orders[place]), tail, agent, now);
        let line = self.line.as_mut().expect("it was made ready");
        match line.send(&piece, self.config.outbox.is_some()).await {
            Ok(Said::Taken(event)) => {
                self.tail = Some(piece.end());
                Ok(Outcome::Fresh(piece, event))
            }
            Ok(Said::Held(ids)) => {
                let rows = line.rows(&ids.iter().flatten().copied().collect::<Vec<_>>()).await;
                let rows = rows.map_err(|error| self.trouble(error))?;
                Ok(Outcome::Held(in_place(ids, rows)))
            }
            Err(error) if error.is_lost() => self.resolve(piece, error).await,
            Err(error) => Err(self.trouble(error)),
        }
    }

    /// What is to be done after an error by which nothing was written.
    fn trouble(&mut self, error: StoreError) -> Trouble {
        // Something of ours came late by another road and is there: the next stream takes what is
        // not held.
        let is_fork = error.class() == Class::Fork || error.collides_in() == Some("stamp_events");
        self.is_forked |= is_fork;
        if is_fork || !error.leaves_session_usable() {
            self.line = None;
        }
        // Another writer has stamped one of the contents meanwhile.
        if is_fork || error.collides_in().is_some() {
            return Trouble::Again(error);
        }
        match error.class() {
            Class::Reject => Trouble::Data(error),
            Class::Retry if error.code().starts_with("40") || error.is_lost() => {
                Trouble::Again(error)
            }
            Class::Fork | Class::Retry | Class::RetrySmaller | Class::Park => {
                Trouble::Away(Arc::new(error))
            }
        }
    }

    /// Finds out what became of a piece whose connection was lost on the way.
    async fn resolve(&mut self, piece: Piece, error: StoreError) -> Result<Outcome, Trouble> {
        self.line = None;
        tracing::info!(%error, "the connection to Postgres was lost during a transaction");
        if self.connect(Some(&piece)).await? {
            // Its row in the outbox may be gone already; nobody waits for what nobody can name.
            return Ok(Outcome::Fresh(piece, None));
        }
        Err(Trouble::Again(error))
    }

    /// Lays a piece that is committed ready for whoever publishes it.
    fn lay(&self, piece: Piece, event: Option<i64>) {
        let Some(tray) = &self.config.outbox else { return };
        let Some(batch) = Batch::of(piece.sealed) else { return };
        match event {
            Some(row) => tray.lay(row, batch),
            None => tray.ring(batch.stream),
        }
    }

    /// The end of a stream to which a piece may be appended.
    async fn ready(&mut self) -> Result<Tail, Trouble> {
        if self.line.is_none() || self.tail.is_none() {
            self.connect(None).await?;
        }
        Ok(self.tail.expect("a connection comes with a stream"))
    }

    /// Connects where that is needed, and makes sure of the stream; whether `doubt` is in it.
    async fn connect(&mut self, doubt: Option<&Piece>) -> Result<bool, Arc<StoreError>> {
        if let Some(error) = self.outage.recent() {
            return Err(error);
        }
        self.look(doubt).await
    }

    /// As [`connect`](Self::connect), however it went the last time.
    async fn look(&mut self, doubt: Option<&Piece>) -> Result<bool, Arc<StoreError>> {
        match self.try_connect(doubt).await {
            Ok(landed) => {
                self.outage.ends();
                Ok(landed)
            }
            Err(error) => {
                let error = Arc::new(error);
                self.line = None;
                self.outage.goes_on(&error);
                Err(error)
            }
        }
    }

    async fn try_connect(&mut self, doubt: Option<&Piece>) -> Result<bool, StoreError> {
        let mut line = if let Some(line) = self.line.take() {
            line
        } else {
            let (address, config) = (self.address.clone(), self.config.clone());
            let fresh = async move { Line::open(&address, &config).await };
            self.opening.within(CONNECT_MAX, fresh).await?
        };
        let mut landed = false;
        let mut previous = None;
        if let Some(tail) = self.tail {
            let end = line.end(tail.stream).await?;
            landed = doubt.is_some_and(|piece| piece.end() == end);
            previous = Some(end);
            self.tail = (landed || (end == tail && !self.is_forked)).then_some(end);
        }
        if self.tail.is_none() {
            self.tail = Some(line.open_stream(&self.config, previous).await?);
            self.is_forked = false;
        }
        self.line = Some(line);
        Ok(landed)
    }
}

async fn carry(carrier: Option<&mut Carrier>) {
    match carrier {
        Some(carrier) => carrier.carry().await,
        None => pending().await,
    }
}

impl From<Arc<StoreError>> for Trouble {
    fn from(error: Arc<StoreError>) -> Self {
        Self::Away(error)
    }
}

fn settle_fresh(fates: &mut [Option<Fate>], places: &[usize], piece: &Piece, event: Option<i64>) {
    for (&place, sealed) in places.iter().zip(&piece.sealed) {
        let row = Row::told_by(&sealed.stamp).expect("an api stamp tells of a content");
        fates[place] = Some(Fate::stamped(row, event, true));
    }
}

/// Settles those whose row is there; returns the places of the others.
fn settle_held(fates: &mut [Option<Fate>], places: &[usize], rows: Vec<Option<Row>>) -> Vec<usize> {
    let mut rest = Vec::new();
    for (&place, row) in places.iter().zip(rows) {
        match row {
            Some(row) => {
                fates[place] = Some(Fate::stamped(row, None, false));
            }
            None => rest.push(place),
        }
    }
    rest
}

fn fail(fates: &mut [Option<Fate>], places: &[usize], error: &Arc<StoreError>) {
    for &place in places {
        fates[place] = Some(Fate::Failed(Arc::clone(error)));
    }
}

/// Each id's row, where there is an id.
fn in_place(ids: Vec<Option<Uuid>>, rows: Vec<Row>) -> Vec<Option<Row>> {
    let rows: HashMap<Uuid, Row> = rows.into_iter().map(|row| (row.id, row)).collect();
    // Two contents can be held by one row only where their paths differ by being empty or none.
    ids.into_iter().map(|id| rows.get(&id?).cloned()).collect()
}

fn refused(error: &StoreError) -> Refused {
    Refused { code: error.code().to_owned(), reason: error.reason() }
}
