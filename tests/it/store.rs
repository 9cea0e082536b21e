//! Appending to a record in Postgres: whole, once, in order, and to one's own streams only.

use stampd::model::batch::Batch;
use stampd::model::class::Class;
use stampd::model::namespace::Namespace;
use stampd::model::path::RepoPath;
use stampd::model::stamp::{Kind, Previous, Stamp};
use stampd::model::stream::{Leaf, StreamId};
use stampd::store::streams::{Appended, Gaps, append};
use stampd::store::{Session, StoreError};

use crate::support::postgres::Address;
use crate::support::record::{Record, entry, piece, sealed, session, stamp, stream, withheld};

async fn send(session: &mut Session, batch: &Batch) -> Result<Appended, StoreError> {
    append(session, &[batch], Gaps::Refused).await.map(|answers| answers[0])
}

/// What a stream of `size` stamps answers.
fn answer(stream: StreamId, size: u64, accepted: u64, duplicates: u64) -> Appended {
    let head = size.checked_sub(1).map(|last| sealed(stamp(stream, last)).leaf);
    Appended { size, head, accepted, duplicates }
}

/// Demands that `batch` is refused in this class, and that nothing of it is there.
async fn refused(
    record: &Record,
    session: &mut Session,
    batch: &Batch,
    class: Class,
) -> StoreError {
    let error = send(session, batch).await.expect_err("it is refused");
    assert_eq!(error.class(), class, "{error}");
    let left = format!(
        "SELECT count(*) FROM stamp_events WHERE stream_id = '{}' AND seq >= {}",
        batch.stream, batch.first_seq
    );
    assert_eq!(record.count(&left).await, 0);
    error
}

#[tokio::test]
async fn stamps_rest_in_all_three_tables_as_their_bodies_say() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let stream = stream();
    assert_eq!(send(&mut session, &piece(stream, 0..3)).await.unwrap(), answer(stream, 3, 3, 0));

    let admin = record.database.admin().connect().await;
    let of_second = sealed(stamp(stream, 1));
    let row = admin
        .query_one(
            "SELECT e.leaf, e.body = $2::text::jsonb, e.kind, e.path, e.digest, e.mode, e.size,
                e.stamped = '2025-11-25T04:05:57.000000002Z', m.file_path, m.file_size, m.namespace,
                m.file_metadata->>'digest_of', m.stamp_data->>'hash', m.id
             FROM stamp_events e JOIN metadata_stamps m ON m.file_hash = e.digest
             WHERE e.stream_id = $1 AND e.seq = 1",
            &[&stream.as_uuid(), &of_second.body],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, Vec<u8>>(0), of_second.leaf.as_bytes());
    assert!(row.get::<_, bool>(1) && row.get::<_, bool>(7));
    let digest = of_second.stamp.digest.unwrap();
    assert_eq!((row.get(2), row.get(3)), ("created", "src/1.rs"));
    assert_eq!(row.get::<_, String>(4), digest.to_string());
    assert_eq!((row.get::<_, i32>(5), row.get::<_, i64>(6)), (0o644, 1));
    assert_eq!((row.get(8), row.get::<_, i64>(9)), ("src/1.rs", 1));
    assert_eq!((row.get(10), row.get(11)), ("projecta.services.metadata", "bytes"));
    assert_eq!(row.get::<_, String>(12), digest.to_string());
    let namespace: Namespace = "projecta.services.metadata".parse().unwrap();
    let id =
        stampd::model::identity::stamp_id(&namespace, &digest, RepoPath::new(b"src/1.rs").as_ref());
    assert_eq!(row.get::<_, uuid::Uuid>(13), id);

    let row = admin
        .query_one(
            "SELECT writer, size, agent_id, repo, namespace, agent_version FROM streams",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get(0), row.get(1)), (record.agent.user.as_str(), 3_i64));
    assert_eq!((row.get(2), row.get(3)), ("agent-1", "app"));
    assert_eq!((row.get(4), row.get(5)), ("projecta.services.metadata", "0.1.0"));
}

#[tokio::test]
async fn a_second_time_changes_nothing() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let stream = stream();
    send(&mut session, &piece(stream, 0..4)).await.unwrap();
    assert_eq!(send(&mut session, &piece(stream, 0..4)).await.unwrap(), answer(stream, 4, 0, 4));
    assert_eq!(send(&mut session, &piece(stream, 2..6)).await.unwrap(), answer(stream, 6, 2, 2));
    assert_eq!(send(&mut session, &piece(stream, 1..3)).await.unwrap(), answer(stream, 6, 0, 2));
    assert_eq!(record.count("SELECT count(*) FROM stamp_events").await, 6);
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 6);
}

#[tokio::test]
async fn eight_at_once_append_each_stamp_once() {
    let record = Record::create().await;
    let stream = stream();
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..8 {
        // Pieces of another length in each lane, so that they overlap in every way.
        tasks.spawn(append_up_to_300(record.agent.clone(), stream, 7 + lane));
    }
    tasks.join_all().await;
    assert_eq!(record.count("SELECT count(*) FROM stamp_events").await, 300);
    assert_eq!(record.count("SELECT size FROM streams").await, 300);
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 300);
}

async fn append_up_to_300(agent: Address, stream: StreamId, step: u64) {
    let mut session = session(&agent).await;
    let mut size = 0;
    while size < 300 {
        let end = (size + step).min(300);
        size = send(&mut session, &piece(stream, size..end)).await.unwrap().size;
    }
}

#[tokio::test]
async fn streams_that_share_contents_do_not_deadlock() {
    let record = Record::create().await;
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..6 {
        tasks.spawn(append_shared_contents(record.agent.clone(), lane));
    }
    tasks.join_all().await;
    assert_eq!(record.count("SELECT count(*) FROM stamp_events").await, 3000);
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 500);
}

/// Appends the same contents at the same paths as every other lane, in another order.
async fn append_shared_contents(agent: Address, lane: u64) {
    let mut session = session(&agent).await;
    let (mine, shared) = (stream(), StreamId::from_uuid(uuid::Uuid::from_u128(1)));
    let one = |seq: u64| {
        let content = stamp(shared, seq / 50 * 50 + (seq * 7 + lane * 13) % 50);
        let (digest, path) = (content.digest, content.path);
        entry(Stamp { digest, path, ..stamp(mine, seq) })
    };
    for round in 0..10 {
        let first_seq = round * 50;
        let entries = (first_seq..first_seq + 50).map(one).collect();
        send(&mut session, &Batch { stream: mine, first_seq, entries }).await.unwrap();
    }
}

#[tokio::test]
async fn another_stamp_at_a_position_is_a_fork_that_is_named() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let stream = stream();
    send(&mut session, &piece(stream, 0..3)).await.unwrap();
    let mut batch = piece(stream, 1..5);
    let mut other = stamp(stream, 2);
    other.size = Some(77);
    batch.entries[1] = entry(other.clone());
    let error = send(&mut session, &batch).await.unwrap_err();
    assert_eq!((error.class(), error.seq(), error.code()), (Class::Fork, Some(2), "ST001"));
    assert!(error.to_string().contains(&stream.to_string()), "{error}");
    // Also where only the leaf comes.
    batch.entries[1] = withheld(other);
    assert_eq!(send(&mut session, &batch).await.unwrap_err().class(), Class::Fork);
    assert_eq!(record.count("SELECT size FROM streams").await, 3);
    assert_eq!(record.count("SELECT count(*) FROM stamp_events").await, 3);
}

#[tokio::test]
async fn a_piece_beyond_the_end_is_answered_with_the_size() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let stream = stream();
    assert_eq!(send(&mut session, &piece(stream, 2..4)).await.unwrap(), answer(stream, 0, 0, 0));
    assert_eq!(record.count("SELECT count(*) FROM streams").await, 0);
    send(&mut session, &piece(stream, 0..2)).await.unwrap();
    assert_eq!(send(&mut session, &piece(stream, 3..4)).await.unwrap(), answer(stream, 2, 0, 0));
    assert_eq!(record.count("SELECT count(*) FROM stamp_events").await, 2);
}

#[tokio::test]
async fn a_server_may_leave_a_gap_which_counts_once_it_is_closed() {
    let mut record = Record::create().await;
    let server = record.database.login("stampd_server");
    let mut server = session(&server).await;
    let stream = stream();
    for (seqs, size) in [(4..6, 0), (7..8, 0), (0..2, 2), (2..4, 6), (6..7, 8)] {
        let batch = piece(stream, seqs);
        let count = batch.entries.len() as u64;
        let answers = append(&mut server, &[&batch], Gaps::Kept).await.unwrap();
        assert_eq!(answers, [answer(stream, size, count, 0)]);
    }
    let mut agent = session(&record.agent).await;
    let error = append(&mut agent, &[&piece(stream, 9..10)], Gaps::Kept).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Park, "42501"));
}

#[tokio::test]
async fn a_withheld_position_has_no_body_until_one_comes_late() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let stream = stream();
    let mut batch = piece(stream, 0..4);
    batch.entries[0] = withheld(stamp(stream, 0));
    batch.entries[2] = withheld(stamp(stream, 2));
    assert_eq!(send(&mut session, &batch).await.unwrap(), answer(stream, 4, 4, 0));
    assert_eq!(send(&mut session, &batch).await.unwrap(), answer(stream, 4, 0, 4));
    assert_eq!(record.count("SELECT count(*) FROM stamp_events").await, 2);
    assert_eq!(record.count("SELECT count(*) FROM withheld WHERE reason = 'purged'").await, 2);

    let late = piece(stream, 0..3);
    assert_eq!(send(&mut session, &late).await.unwrap(), answer(stream, 4, 2, 1));
    assert_eq!(record.count("SELECT count(*) FROM stamp_events").await, 4);
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 4);
    // What is there with its body is not withheld again.
    batch.entries[1] = withheld(stamp(stream, 1));
    assert_eq!(send(&mut session, &batch).await.unwrap(), answer(stream, 4, 0, 4));
    assert_eq!(record.count("SELECT count(*) FROM withheld").await, 2);
}

#[tokio::test]
async fn a_stream_that_begins_withheld_is_described_later() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let stream = stream();
    let entries = vec![withheld(stamp(stream, 0)), withheld(stamp(stream, 1))];
    send(&mut session, &Batch { stream, first_seq: 0, entries }).await.unwrap();
    assert_eq!(record.count("SELECT count(*) FROM streams WHERE agent_id IS NULL").await, 1);
    send(&mut session, &piece(stream, 2..3)).await.unwrap();
    let known = "SELECT size FROM streams WHERE agent_id = 'agent-1' AND repo = 'app'";
    assert_eq!(record.count(known).await, 3);
}

#[tokio::test]
async fn a_new_epoch_counts_from_the_one_it_names() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let mut before = None;
    for epoch in 0..3 {
        let now = stream();
        let mut opened = stamp(now, 0);
        (opened.kind, opened.path, opened.digest) = (Kind::Opened, None, None);
        opened.detail.previous = before.map(|stream| Previous { stream, size: 1, leaf: None });
        let batch = Batch { stream: now, first_seq: 0, entries: vec![entry(opened)] };
        send(&mut session, &batch).await.unwrap();
        let query = format!("SELECT epoch FROM streams WHERE stream_id = '{now}'");
        assert_eq!(record.count(&query).await, epoch);
        before = Some(now);
    }
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 0);
}

#[tokio::test]
async fn several_streams_go_in_one_transaction_whatever_their_order() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let (first, second) = (stream(), stream());
    let batches = [piece(second, 0..2), piece(first, 0..3), piece(second, 2..4)];
    let batches: Vec<&Batch> = batches.iter().collect();
    let answers = append(&mut session, &batches, Gaps::Refused).await.unwrap();
    assert_eq!(answers, [answer(second, 2, 2, 0), answer(first, 3, 3, 0), answer(second, 4, 2, 0)]);

    let mut fork = stamp(first, 0);
    fork.size = Some(99);
    let fork = Batch { stream: first, first_seq: 0, entries: vec![entry(fork)] };
    let more = piece(second, 4..5);
    let error = append(&mut session, &[&more, &fork], Gaps::Refused).await.unwrap_err();
    assert_eq!(error.class(), Class::Fork);
    assert_eq!(record.count("SELECT count(*) FROM stamp_events").await, 7);
}

#[tokio::test]
async fn a_stream_belongs_to_the_login_that_opened_it() {
    let mut record = Record::create().await;
    let other = record.database.login("stampd_agent");
    let server = record.database.login("stampd_server");
    let (mut mine, mut theirs) = (session(&record.agent).await, session(&other).await);
    let mut servers = session(&server).await;
    let stream = stream();
    send(&mut mine, &piece(stream, 0..1)).await.unwrap();
    let error = refused(&record, &mut theirs, &piece(stream, 1..2), Class::Park).await;
    assert!(error.to_string().contains("belongs to login"), "{error}");
    // Not even to learn that it is there already.
    assert_eq!(send(&mut theirs, &piece(stream, 0..1)).await.unwrap_err().code(), "42501");
    // A server speaks for many agents, and does not take their streams from them.
    send(&mut servers, &piece(stream, 1..2)).await.unwrap();
    send(&mut mine, &piece(stream, 2..3)).await.unwrap();
}

#[tokio::test]
async fn what_a_server_opened_belongs_to_the_first_agent_that_comes() {
    let mut record = Record::create().await;
    let other = record.database.login("stampd_agent");
    let server = record.database.login("stampd_server");
    let stream = stream();
    send(&mut session(&server).await, &piece(stream, 0..1)).await.unwrap();
    send(&mut session(&record.agent).await, &piece(stream, 0..2)).await.unwrap();
    let mut other = session(&other).await;
    refused(&record, &mut other, &piece(stream, 2..3), Class::Park).await;
    send(&mut session(&server).await, &piece(stream, 2..3)).await.unwrap();
}

#[tokio::test]
async fn an_agent_may_read_and_append_and_nothing_else() {
    let record = Record::create().await;
    send(&mut session(&record.agent).await, &piece(stream(), 0..1)).await.unwrap();
    let client = record.agent.connect().await;
    for table in
        ["stamp_events", "streams", "withheld", "metadata_stamps", "stampd_ledger", "stampd_schema"]
    {
        client.query(&format!("SELECT * FROM {table}"), &[]).await.unwrap();
        for statement in [
            format!("INSERT INTO {table} DEFAULT VALUES"),
            format!("INSERT INTO {table} SELECT * FROM {table}"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
            format!("CREATE TRIGGER t BEFORE INSERT ON {table} EXECUTE FUNCTION version()"),
            format!("DROP TABLE {table}"),
        ] {
            let error = client.batch_execute(&statement).await.unwrap_err();
            assert_eq!(error.code().unwrap().code(), "42501", "{statement}: {error:?}");
        }
    }
    for statement in [
        "UPDATE streams SET writer = session_user",
        "UPDATE stamp_events SET leaf = ''",
        "UPDATE metadata_stamps SET file_path = ''",
        "SELECT stampd_lock(gen_random_uuid(), true)",
        "SELECT stampd_insert_bodies(gen_random_uuid(), 0, '{}', '', '')",
        "CREATE TABLE public.mine ()",
        "SET ROLE stampd_server",
    ] {
        let error = client.batch_execute(statement).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{statement}: {error:?}");
    }
}

#[tokio::test]
async fn a_search_path_cannot_put_other_objects_in_the_way() {
    let record = Record::create().await;
    let client = record.agent.connect().await;
    // What an attacker can make: temporary objects under the names that the functions use.
    client
        .batch_execute(
            "CREATE TEMP TABLE stamp_events (LIKE public.stamp_events);
             CREATE TEMP TABLE streams (LIKE public.streams);
             CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql
                 AS $$ SELECT ''::bytea $$;
             SET search_path = pg_temp, public, pg_catalog",
        )
        .await
        .unwrap();
    let one = sealed(stamp(stream(), 0));
    let row = client
        .query_one(
            "SELECT new_size FROM public.stampd_append($1, 0, $2, $3, $4, '{NULL}', '{NULL}', false)",
            &[
                &one.stamp.stream.as_uuid(),
                &[one.body.as_str()].as_slice(),
                &one.leaf.as_bytes().as_slice(),
                &[0_u8; 16].as_slice(),
            ],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    assert_eq!(record.count("SELECT count(*) FROM public.stamp_events").await, 1);
}

#[tokio::test]
async fn a_body_must_be_what_its_leaf_and_position_say() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let stream = stream();
    send(&mut session, &piece(stream, 0..1)).await.unwrap();

    let mut wrong_leaf = sealed(stamp(stream, 2));
    wrong_leaf.leaf = Leaf::of(b"another body");
    let mut batch = piece(stream, 1..4);
    batch.entries[1] = stampd::model::batch::Entry::Stamp(Box::new(wrong_leaf));
    let error = refused(&record, &mut session, &batch, Class::Reject).await;
    assert_eq!(error.seq(), Some(2), "{error}");

    batch.entries[1] = entry(stamp(stream, 7));
    let error = refused(&record, &mut session, &batch, Class::Reject).await;
    assert_eq!(error.seq(), Some(2), "{error}");
    batch.entries[1] = entry(stamp(crate::support::record::stream(), 2));
    refused(&record, &mut session, &batch, Class::Reject).await;
    // The session goes on.
    assert_eq!(send(&mut session, &piece(stream, 1..4)).await.unwrap(), answer(stream, 4, 3, 0));
}

#[tokio::test]
async fn odd_bodies_are_rejected_and_large_ones_taken() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let stream = stream();
    let labelled = |value: &str| {
        let mut one = stamp(stream, 0);
        let mut context = (*one.context).clone();
        context.labels.insert("odd".to_owned(), value.to_owned());
        one.context = std::sync::Arc::new(context);
        Batch { stream, first_seq: 0, entries: vec![entry(one)] }
    };
    refused(&record, &mut session, &labelled("\0"), Class::Reject).await;

    let mut nested = sealed(stamp(stream, 0));
    let depth = 100_000;
    nested.body = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    nested.leaf = Leaf::of(nested.body.as_bytes());
    let nested = stampd::model::batch::Entry::Stamp(Box::new(nested));
    let nested = Batch { stream, first_seq: 0, entries: vec![nested] };
    refused(&record, &mut session, &nested, Class::Reject).await;

    let ten_megabytes = labelled(&"\u{e4}\"\\\n".repeat(2 << 20));
    let taken = send(&mut session, &ten_megabytes).await.unwrap();
    assert_eq!((taken.size, taken.accepted), (1, 1));

    let mut long_path = stamp(stream, 1);
    long_path.path = RepoPath::new("ö/".repeat(20_000).trim_end_matches('/').as_bytes());
    let mut bytes_path = stamp(stream, 2);
    bytes_path.path = RepoPath::new(b"\xff\n\x1b[2J");
    let entries = vec![entry(long_path), entry(bytes_path)];
    let taken = send(&mut session, &Batch { stream, first_seq: 1, entries }).await.unwrap();
    assert_eq!((taken.size, taken.accepted), (3, 2));
}

#[tokio::test]
async fn a_constraint_rejects_the_batch_and_not_the_session() {
    let record = Record::create().await;
    record.database.batch("ALTER TABLE stamp_events ADD CHECK (path <> 'src/3.rs')");
    let mut session = session(&record.agent).await;
    let stream = stream();
    refused(&record, &mut session, &piece(stream, 0..5), Class::Reject).await;
    assert_eq!(send(&mut session, &piece(stream, 0..3)).await.unwrap(), answer(stream, 3, 3, 0));
    // The one at fault goes on as its leaf alone.
    let entries = vec![withheld(stamp(stream, 3)), entry(stamp(stream, 4))];
    let rest = Batch { stream, first_seq: 3, entries };
    assert_eq!(send(&mut session, &rest).await.unwrap(), answer(stream, 5, 2, 0));
}

#[tokio::test]
async fn more_than_five_thousand_at_once_are_refused() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let stream = stream();
    let error = refused(&record, &mut session, &piece(stream, 0..5001), Class::Reject).await;
    assert_eq!(error.code(), "54000");
    assert_eq!(send(&mut session, &piece(stream, 0..5000)).await.unwrap().size, 5000);
}

#[tokio::test]
async fn a_database_restored_to_an_older_state_goes_on_from_there() {
    let record = Record::create().await;
    let mut session = session(&record.agent).await;
    let stream = stream();
    send(&mut session, &piece(stream, 0..6)).await.unwrap();
    // As a restored backup is: everything of before, nothing of after.
    record.database.batch(
        "DELETE FROM stamp_events WHERE seq >= 3; DELETE FROM metadata_stamps;
         UPDATE streams SET size = 3",
    );
    assert_eq!(send(&mut session, &piece(stream, 6..8)).await.unwrap(), answer(stream, 3, 0, 0));
    assert_eq!(send(&mut session, &piece(stream, 3..8)).await.unwrap(), answer(stream, 8, 5, 0));
}

#[tokio::test]
async fn what_is_confirmed_is_on_disk_whatever_the_servers_default() {
    let record = Record::create().await;
    let settings = "SELECT current_setting('synchronous_commit')";
    for (default, during) in [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")] {
        let mut client = record.agent.connect().await;
        client.batch_execute(&format!("SET synchronous_commit = {default}")).await.unwrap();
        let transaction = client.transaction().await.unwrap();
        transaction
            .execute(
                "SELECT stampd_append($1, 0, '{}', '', '', '{}', '{}', false)",
                &[&stream().as_uuid()],
            )
            .await
            .unwrap();
        let row = transaction.query_one(settings, &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), during);
        drop(transaction);
    }
}
