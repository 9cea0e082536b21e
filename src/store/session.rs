//! One connection to a database.
//!
//! Nobody drives it but whoever uses it: there is no task beside it, so an idle session costs no
//! wake-up, and a caller who is dropped in the middle drops the exchange with it. Such a session
//! must not be used again; taking it out of its place before each use sees to that.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, NoTls, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Address;
use super::error::StoreError;
use super::tls;

type Driver = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

/// What the wire may take on top of the server's own bound, before we give up hearing from it.
const WIRE: Duration = Duration::from_secs(15);

/// One connection to a database.
pub struct Session {
    pub(super) client: Client,
    driver: Driver,
    /// Bound of one exchange; none for a migration.
    patience: Option<Duration>,
    /// `stampd_append`, once it was prepared.
    pub(super) append: Option<Statement>,
}

impl Session {
    /// Connects, proves who we are and bounds every wait.
    pub async fn open(address: &Address) -> Result<Self, StoreError> {
        let config = &address.config;
        let opened = timeout(config.connect_timeout, Self::connect(address)).await;
        let mut session = opened.map_err(|_| StoreError::Timeout(config.connect_timeout))??;
        session.bound_statements(address).await?;
        Ok(session)
    }

    /// Gives up hearing from the server after `patience`.
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    async fn connect(address: &Address) -> Result<Self, StoreError> {
        let mut client = address.client.clone();
        if let Some(password) = &address.config.password {
            client.password(password.fetch()?);
        }
        let (client, driver) = match address.trust {
            None => start(&client, NoTls).await?,
            Some(trust) => {
                let ca_file = address.config.ca_file.as_deref();
                let connector = MakeRustlsConnect::new(tls::client_config(trust, ca_file)?);
                start(&client, connector).await?
            }
        };
        let patience = address.config.statement_timeout.map(|bound| bound + WIRE);
        Ok(Self { client, driver, patience, append: None })
    }

    async fn bound_statements(&mut self, address: &Address) -> Result<(), StoreError> {
        let config = &address.config;
        let millis = |bound: Duration| bound.as_millis();
        let settings = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = {}; SET client_min_messages = warning",
            config.statement_timeout.map_or(0, millis),
            millis(config.lock_timeout),
            config.statement_timeout.map_or(0, millis),
        );
        let Self { client, driver, patience, .. } = self;
        drive(driver, *patience, client.batch_execute(&settings)).await
    }

    /// Does `work`, which uses the client given, while driving the connection.
    pub(super) async fn run<'s, T, F>(
        &'s mut self,
        work: impl FnOnce(&'s mut Client) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, tokio_postgres::Error>>,
    {
        let Self { client, driver, patience, .. } = self;
        drive(driver, *patience, work(client)).await
    }

    /// Says goodbye, so that the server need not find out by itself.
    pub async fn close(self, deadline: std::time::Instant) {
        let Self { client, driver, .. } = self;
        drop(client);
        // Past the deadline, or when the goodbye fails, the socket closes all the same.
        let _ = timeout_at(Instant::from_std(deadline), driver).await;
    }
}

async fn start<T>(
    config: &tokio_postgres::Config,
    tls: T,
) -> Result<(Client, Driver), tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    Ok((client, Box::pin(connection)))
}

/// Drives the connection until `work` is done.
async fn drive<T>(
    driver: &mut Driver,
    patience: Option<Duration>,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StoreError> {
    let exchange = async {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => done,
            // The work says why if the server told it, else the connection knows better.
            ended = &mut *driver => {
                // What it still owed the work ends with it, or the work would wait for ever.
                *driver = Box::pin(std::future::poll_fn(|_| Poll::Ready(Ok(()))));
                match work.await {
                    Err(error) if error.is_closed() => Err(ended.err().unwrap_or(error)),
                    done => done,
                }
            }
        }
    };
    let done = match patience {
        None => exchange.await,
        Some(bound) => timeout(bound, exchange).await.map_err(|_| StoreError::Timeout(bound))?,
    };
    Ok(done?)
}
