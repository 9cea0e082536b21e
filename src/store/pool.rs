//! A bounded number of sessions for reading, each used by one caller at a time.
//!
//! A session that failed is dropped, and so is one whose caller was: what comes back into the pool
//! is known to be between two exchanges. Sessions are opened when they are needed and never tested
//! before use; a read that finds its session dead is repeated on a new one. Where callers wait less
//! long than a session may take to be opened, a [`Carrier`] goes on with one that they left.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::address::Address;
use super::error::StoreError;
use super::session::Session;

/// A parameter and its type, so that a query needs one exchange only.
pub(super) type Parameter<'p> = (&'p (dyn ToSql + Sync), Type);

type Opening = Pin<Box<dyn Future<Output = Result<Session, StoreError>> + Send>>;

/// Sessions for reading. Cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    address: Address,
    patience: Duration,
    /// One permit for each session that may be in use.
    permits: Semaphore,
    sessions_max: usize,
    /// How long a caller waits for a session to be opened, and where it leaves one that was not.
    haste: Option<(Duration, mpsc::Sender<Opening>)>,
    /// Sessions that nobody uses; taken and given back by callers, never held across a wait.
    idle: Mutex<Vec<Session>>,
}

/// How many sessions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Sessions that are open or being opened.
    pub size: usize,
    /// Sessions in somebody's hands.
    pub used: usize,
    /// The most there can be.
    pub max: usize,
}

impl Pool {
    /// A pool of at most `sessions_max` sessions, none of which is opened yet. A caller waits at
    /// most for `patience`, first for a session and then for its answer.
    pub(super) fn new(address: Address, sessions_max: usize, patience: Duration) -> Self {
        Self::with(address, sessions_max, patience, None)
    }

    /// The same for callers who wait for a session to be opened for `haste` at most; it is opened in
    /// the end by the carrier, for the next ones.
    pub(super) fn hasty(
        address: Address,
        sessions_max: usize,
        patience: Duration,
        haste: Duration,
    ) -> (Self, Carrier) {
        let (leave, left) = mpsc::channel(1);
        let pool = Self::with(address, sessions_max, patience, Some((haste, leave)));
        let carrier = Carrier { pool: pool.clone(), left, carried: None };
        (pool, carrier)
    }

    fn with(
        address: Address,
        sessions_max: usize,
        patience: Duration,
        haste: Option<(Duration, mpsc::Sender<Opening>)>,
    ) -> Self {
        Self(Arc::new(Inner {
            address,
            patience,
            permits: Semaphore::new(sessions_max),
            sessions_max,
            haste,
            idle: Mutex::default(),
        }))
    }

    /// How many sessions there are now.
    pub fn usage(&self) -> Usage {
        let max = self.0.sessions_max;
        let used = max - self.0.permits.available_permits();
        let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).len();
        Usage { size: (used + idle).min(max), used, max }
    }

    /// The rows that a query gives. It must be one that may be asked twice.
    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let _permit = self.permit().await?;
        if let Some(session) = self.take_idle() {
            match self.ask(session, sql, parameters).await {
                // It was dead already, and so are probably those beside it.
                Err(error) if error.is_cut() => {
                    self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                answer => return answer,
            }
        }
        self.ask(self.open().await?, sql, parameters).await
    }

    async fn open(&self) -> Result<Session, StoreError> {
        let (address, patience) = (self.0.address.clone(), self.0.patience);
        let opening = async move { Ok(Session::open(&address).await?.with_patience(patience)) };
        let Some((haste, leave)) = &self.0.haste else { return opening.await };
        let mut opening: Opening = Box::pin(opening);
        if let Ok(opened) = timeout(*haste, &mut opening).await {
            return opened;
        }
        // One is enough to know that the road is there: when there are more already, this one ends.
        let _ = leave.try_send(opening);
        Err(StoreError::Timeout(*haste))
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        let permit = timeout(self.0.patience, self.0.permits.acquire()).await;
        let permit = permit.map_err(|_| StoreError::Timeout(self.0.patience))?;
        Ok(permit.expect("the semaphore is never closed"))
    }

    async fn ask(
        &self,
        mut session: Session,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let answer = session.run(async |client| client.query_typed(sql, parameters).await).await;
        if answer.as_ref().err().is_none_or(StoreError::leaves_session_usable) {
            self.put_idle(session);
        }
        answer
    }

    fn put_idle(&self, session: Session) {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    fn take_idle(&self) -> Option<Session> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// Opens the sessions that a pool's callers did not wait for.
pub(super) struct Carrier {
    pool: Pool,
    left: mpsc::Receiver<Opening>,
    carried: Option<Opening>,
}

impl Carrier {
    /// Goes on with the session that was left, until it is in the pool or has failed; waits for one
    /// when there is none. Cancel-safe.
    pub(super) async fn carry(&mut self) {
        if self.carried.is_none() {
            self.carried = self.left.recv().await;
        }
        let Some(opening) = &mut self.carried else { return };
        let opened = opening.await;
        self.carried = None;
        // Why it failed, the next caller is told.
        if let Ok(session) = opened {
            self.pool.put_idle(session);
        }
    }
}
