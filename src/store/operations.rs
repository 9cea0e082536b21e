//! What events ask for, done: a batch of records becomes rows, dead letters and offsets in one
//! transaction.
//!
//! Each operation has its effect once however often and in whatever order its event comes: inserts
//! and counters by the event's key, rows that change by whether the event is newer than the one
//! they are from. A record that the database refuses for its content is found by halving, and
//! becomes a dead letter; the others of its batch are taken.
//!
//! **Invariants**: rows, dead letters and offsets commit together or not at all. Every transaction
//! writes its tables in one order and each table's rows in the order of their keys, so that two
//! consumers do not wait in a circle; where streams share contents they still may, and one repeats.
//!
//! Which records make a batch, and what to do about an error, is left to the adapter.

mod bridges;
mod contents;
mod executions;
mod heartbeats;
mod positions;
mod steps;
mod transitions;

use serde_json::{Map, Value, json};
use tokio_postgres::{Client, Statement, Transaction};

use super::address::Address;
use super::dead::{self, Reason, Record};
use super::error::{StoreError, class_of, explain};
use super::offsets::{self, Advance};
use super::session::Session;
use super::streams;
use crate::model::class::Class;
use crate::model::operation::Event;
use crate::runtime::failpoint;

pub use steps::{Waiting, waiting};

/// What is confirmed is on disk, whatever the server's default; a stronger default stays. And plans
/// are kept with the session, made when the tables may still be empty: they must not read them whole.
const SETTINGS: &str = "SELECT set_config('enable_seqscan', 'off', true),
    CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
        THEN set_config('synchronous_commit', 'on', true) END";

/// Two streams that tell of the same contents in another order can meet here, by whichever roads.
/// One of both transactions has done nothing then, and is done again.
const DEADLOCK: &str = "40P01";

/// Transactions for one batch, at most.
const ATTEMPTS_MAX: u32 = 10;

/// The reason of a dead letter that the database did not take.
pub const REFUSED: &str = "refused";

/// The reason of one that tells of another stamp than the one at its position.
pub const EQUIVOCATION: &str = "equivocation";

/// A record, and what it asks for or why it asks for nothing.
pub struct Item {
    /// The record, whole: it may become a dead letter.
    pub record: Record,
    /// What was read in it.
    pub read: Result<Event, Reason>,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// Records whose operations are in effect, now or before.
    pub events: usize,
    /// Places in the batch of those that became dead letters, and why.
    pub dead: Vec<(usize, Reason)>,
}

/// Why a batch was not taken. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The road or the server; its class says what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else has moved an offset: the partition is no longer this consumer's.
    #[error("take a batch: another consumer has gone on in one of its partitions")]
    Overtaken,
}

/// A session with what is prepared in it.
pub struct Intake {
    session: Session,
    statements: Statements,
}

/// What a transaction is made of.
struct Statements {
    advance: Statement,
    append: Statement,
    bridges: Statement,
    contents: Statement,
    dead: Statement,
    executions: Statement,
    gaps: Statement,
    heartbeats: Statement,
    orphans: Statement,
    steps: Statement,
    transitions: Statement,
}

impl Intake {
    /// Connects and prepares.
    pub async fn open(address: &Address) -> Result<Self, StoreError> {
        let mut session = Session::open(address).await?;
        // Boxed, since eleven conversations at once are a large future.
        let prepare = async |client: &mut Client| Box::pin(Statements::prepare(client)).await;
        let statements = session.run(prepare).await?;
        Ok(Self { session, statements })
    }

    /// The session, for what else is to be asked.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Takes a batch for `group`, durable when this returns.
    pub async fn take(
        &mut self,
        group: &str,
        items: &[Item],
        steps: &[Advance],
    ) -> Result<Taken, TakeError> {
        let mut attempts = 0;
        loop {
            let Self { session, statements } = self;
            let taken = session
                .run(async |client| take(client, statements, group, items, steps).await)
                .await;
            attempts += 1;
            match taken {
                Err(error) if error.code() == DEADLOCK && attempts < ATTEMPTS_MAX => {}
                taken => return taken?.ok_or(TakeError::Overtaken),
            }
        }
    }

    /// Does what events ask for without reading on: for dead letters that are tried again. What is
    /// refused again is told, and becomes no further dead letter.
    pub async fn retry(&mut self, events: &[Event]) -> Result<Taken, StoreError> {
        let Self { session, statements } = self;
        session.run(async |client: &mut Client| retry(client, statements, events).await).await
    }

    /// Says goodbye.
    pub async fn close(self, deadline: std::time::Instant) {
        self.session.close(deadline).await;
    }
}

impl Statements {
    /// Prepares all of them in one round trip: one for each would be most of what a short session does.
    async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let (
            advance,
            append,
            bridges,
            contents,
            dead,
            executions,
            gaps,
            heartbeats,
            orphans,
            steps,
            transitions,
        ) = tokio::try_join!(
            client.prepare(offsets::ADVANCE),
            client.prepare(streams::APPEND),
            client.prepare(bridges::WRITE),
            client.prepare(contents::WRITE),
            client.prepare(dead::INSERT),
            client.prepare(executions::WRITE),
            client.prepare(positions::GAPS),
            client.prepare(heartbeats::WRITE),
            client.prepare(steps::ORPHANS),
            client.prepare(steps::WRITE),
            client.prepare(transitions::WRITE),
        )?;
        Ok(Self {
            advance,
            append,
            bridges,
            contents,
            dead,
            executions,
            gaps,
            heartbeats,
            orphans,
            steps,
            transitions,
        })
    }
}

/// Takes a batch; none when the offsets are no longer where it begins.
async fn take(
    client: &mut Client,
    statements: &Statements,
    group: &str,
    items: &[Item],
    moves: &[Advance],
) -> Result<Option<Taken>, tokio_postgres::Error> {
    let mut transaction = client.transaction().await?;
    transaction.execute(SETTINGS, &[]).await?;
    // First, so that who lost a partition finds out before it writes.
    if !offsets::advance(transaction.client(), &statements.advance, group, moves).await? {
        transaction.rollback().await?;
        return Ok(None);
    }
    failpoint::pass("take-begun");
    let mut dead = Vec::new();
    let mut events = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        match &item.read {
            Ok(event) => events.push((place, event)),
            Err(reason) => dead.push((place, reason.clone())),
        }
    }
    dead.extend(isolate(&mut transaction, statements, &events).await?);
    dead.sort_by_key(|(place, _)| *place);
    for (place, reason) in &dead {
        let record = &items[*place].record;
        dead::insert(transaction.client(), &statements.dead, record, reason).await?;
    }
    failpoint::pass("take-written");
    transaction.commit().await?;
    failpoint::pass("take-committed");
    Ok(Some(Taken { events: items.len() - dead.len(), dead }))
}

/// Does what some events ask for, outside of any partition.
async fn retry(
    client: &mut Client,
    statements: &Statements,
    events: &[Event],
) -> Result<Taken, tokio_postgres::Error> {
    let mut transaction = client.transaction().await?;
    transaction.execute(SETTINGS, &[]).await?;
    let events: Vec<(usize, &Event)> = events.iter().enumerate().collect();
    let dead = isolate(&mut transaction, statements, &events).await?;
    transaction.commit().await?;
    Ok(Taken { events: events.len() - dead.len(), dead })
}

/// Does what the events ask for, but for those that the database refuses, which it returns.
async fn isolate(
    transaction: &mut Transaction<'_>,
    statements: &Statements,
    events: &[(usize, &Event)],
) -> Result<Vec<(usize, Reason)>, tokio_postgres::Error> {
    steps::lock(transaction.client(), &statements.orphans, events).await?;
    let mut refused = Vec::new();
    let mut waiting = vec![events];
    while let Some(some) = waiting.pop() {
        let attempt = transaction.savepoint("attempt").await?;
        match write(attempt.client(), statements, some).await {
            Ok(()) => attempt.commit().await?,
            Err(failure) => {
                let reason = failure.refusal()?;
                attempt.rollback().await?;
                if let [(place, event)] = some {
                    refused.push((*place, reason.of(event)));
                } else {
                    let (first, second) = some.split_at(some.len() / 2);
                    waiting.extend([second, first]);
                }
            }
        }
    }
    Ok(refused)
}

/// Writes the rows of some events, table by table.
async fn write(
    client: &Client,
    statements: &Statements,
    events: &[(usize, &Event)],
) -> Result<(), Failure> {
    let events = || events.iter().map(|(_, event)| *event);
    let brought = executions::write(client, &statements.executions, events()).await?;
    steps::write(client, &statements.steps, events(), &brought).await?;
    contents::write(client, &statements.contents, events()).await?;
    transitions::write(client, &statements.transitions, events()).await?;
    bridges::write(client, &statements.bridges, events()).await?;
    heartbeats::write(client, &statements.heartbeats, events()).await?;
    positions::write(client, &statements.append, &statements.gaps, events()).await
}

/// Why some rows were not written.
enum Failure {
    Postgres(tokio_postgres::Error),
    /// Two of the events tell different things of one position.
    Forked,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

/// What the database said to the content of an event.
struct Said {
    error_type: &'static str,
    words: String,
}

impl Failure {
    /// What the content is refused for; else the error is of the road or the server.
    fn refusal(self) -> Result<Said, tokio_postgres::Error> {
        let Self::Postgres(error) = self else {
            let words = "store the stamp: two records tell different stamps of one position";
            return Ok(Said { error_type: EQUIVOCATION, words: words.to_owned() });
        };
        let error_type = match error.code().map(|code| class_of(code.code())) {
            Some(Class::Fork) => EQUIVOCATION,
            Some(Class::Reject) => REFUSED,
            _ => return Err(error),
        };
        Ok(Said { error_type, words: explain(&error) })
    }
}

impl Said {
    fn of(self, event: &Event) -> Reason {
        Reason {
            error_type: self.error_type.to_owned(),
            error_message: self.words,
            error_context: json!({ "event_key": event.origin.key }),
        }
    }
}

/// A JSON object as the text that a `jsonb` is read from.
fn to_text(map: &Map<String, Value>) -> String {
    serde_json::to_string(map).expect("JSON is written as it was read")
}
