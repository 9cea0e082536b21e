//! How far a group of consumers has read each partition, in the transaction of the rows that it
//! read up to there.
//!
//! **Invariant**: an offset moves only from the value that its mover was told or last wrote. Who
//! lost a partition and does not know it writes nothing at all, since its whole transaction fails.
//! The records' own offsets are not compared: they skip where a topic was compacted.

use tokio_postgres::{Client, Statement};

use super::error::StoreError;
use super::session::Session;

pub(super) const ADVANCE: &str = "WITH given AS (
        SELECT * FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bigint[])
            AS g (topic, partition, known, next_offset)
    ), moved AS (
        UPDATE public.adapter_offsets o SET next_offset = g.next_offset, updated_at = now()
        FROM given g
        WHERE o.consumer_group = $1 AND o.topic = g.topic AND o.partition = g.partition
            AND o.next_offset = g.known
        RETURNING 1
    ), begun AS (
        INSERT INTO public.adapter_offsets (consumer_group, topic, partition, next_offset)
        SELECT $1, topic, partition, next_offset FROM given WHERE known IS NULL
        ORDER BY topic, partition
        ON CONFLICT DO NOTHING
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM moved) + (SELECT count(*) FROM begun)";

const LOAD: &str = "SELECT topic, partition, next_offset FROM public.adapter_offsets \
     WHERE consumer_group = $1 AND topic = ANY ($2)";

const RESET: &str = "INSERT INTO public.adapter_offsets AS o
        (consumer_group, topic, partition, next_offset) VALUES ($1, $2, $3, $4)
     ON CONFLICT (consumer_group, topic, partition)
        DO UPDATE SET next_offset = EXCLUDED.next_offset, updated_at = now()";

/// Where reading of a partition goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The topic.
    pub topic: String,
    /// Which of its partitions.
    pub partition: i32,
    /// The first offset that was not read.
    pub next: i64,
}

/// A step forward in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The topic.
    pub topic: String,
    /// Which of its partitions.
    pub partition: i32,
    /// Where the group stood when we last heard; none when it never read the partition.
    pub known: Option<i64>,
    /// Where it stands now.
    pub next: i64,
}

/// Tells where a group goes on in each partition of these topics that it has ever read.
pub async fn load(
    session: &mut Session,
    group: &str,
    topics: &[&str],
) -> Result<Vec<Offset>, StoreError> {
    let rows = session.run(async |client| client.query(LOAD, &[&group, &topics]).await).await?;
    let offset = |row: &tokio_postgres::Row| {
        Ok(Offset { topic: row.try_get(0)?, partition: row.try_get(1)?, next: row.try_get(2)? })
    };
    rows.iter().map(offset).collect::<Result<_, tokio_postgres::Error>>().map_err(StoreError::from)
}

/// Sets where a group goes on, whatever it knew: for a person who decided it, or a topic that was
/// made anew and counts from 0 again. Whoever reads the partition now fails at its next commit.
pub async fn reset(session: &mut Session, group: &str, to: &Offset) -> Result<(), StoreError> {
    let Offset { topic, partition, next } = to;
    session
        .run(async |client| client.execute(RESET, &[&group, topic, partition, next]).await)
        .await?;
    Ok(())
}

/// Moves a group forward, all or nothing; whether it still stood where the steps begin.
pub(super) async fn advance(
    client: &Client,
    statement: &Statement,
    group: &str,
    steps: &[Advance],
) -> Result<bool, tokio_postgres::Error> {
    let topics: Vec<&str> = steps.iter().map(|step| step.topic.as_str()).collect();
    let partitions: Vec<i32> = steps.iter().map(|step| step.partition).collect();
    let known: Vec<Option<i64>> = steps.iter().map(|step| step.known).collect();
    let next: Vec<i64> = steps.iter().map(|step| step.next).collect();
    let row = client.query_one(statement, &[&group, &topics, &partitions, &known, &next]).await?;
    let moved: i64 = row.try_get(0)?;
    Ok(moved as usize == steps.len())
}
