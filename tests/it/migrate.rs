//! Migrating a database: whole or not at all, once, and never one that is not ours.

use stampd::cli::migrate::{Error, Outcome, run};
use stampd::store::migrate::{MIGRATIONS, MigrateError};

use crate::support::postgres::{Address, Database};
use crate::support::record::{Record, config};

async fn migrate(address: &Address, check: bool) -> (Result<Outcome, Error>, String) {
    let mut out = Vec::new();
    let outcome = run(&config(address), check, &mut out).await;
    (outcome, String::from_utf8(out).unwrap())
}

/// Everything that a migration could have made, to compare before with after.
async fn shape(database: &Database) -> Vec<String> {
    let client = database.admin().connect().await;
    let query = "SELECT relname || relkind::text FROM pg_class
            WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        ORDER BY 1";
    client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn check_tells_what_is_to_be_done_and_does_nothing() {
    let database = Database::create();
    let (outcome, text) = migrate(&database.admin(), true).await;
    assert_eq!(outcome.unwrap().exit_code(), 4);
    assert_eq!(text, "to do: 0001 record\nto do: 0002 append\nto do: 0003 roles\n");
    assert_eq!(shape(&database).await, [""; 0]);
}

#[tokio::test]
async fn twice_is_as_once() {
    let database = Database::create();
    let (outcome, text) = migrate(&database.admin(), false).await;
    assert_eq!(outcome.unwrap(), Outcome::Current);
    assert_eq!(text, "done: 0001 record\ndone: 0002 append\ndone: 0003 roles\n");
    let after = shape(&database).await;
    for check in [true, false] {
        let (outcome, text) = migrate(&database.admin(), check).await;
        assert_eq!(outcome.unwrap().exit_code(), 0);
        assert_eq!(text, "nothing to do: the schema is version 3\n");
    }
    assert_eq!(shape(&database).await, after);
}

#[tokio::test]
async fn several_at_once_do_the_work_of_one() {
    // Two databases, since roles belong to the whole server.
    let databases = [Database::create(), Database::create()];
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..8 {
        let admin = databases[lane % 2].admin();
        tasks.spawn(async move { migrate(&admin, false).await });
    }
    let mut workers = 0;
    for (outcome, text) in tasks.join_all().await {
        assert_eq!(outcome.unwrap(), Outcome::Current);
        workers += i32::from(text.starts_with("done"));
    }
    assert_eq!(workers, 2);
}

#[tokio::test]
async fn a_failure_in_the_middle_leaves_what_was_there() {
    let database = Database::create();
    database.batch(
        "CREATE FUNCTION public.stampd_leaf(uuid, bigint) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    let before = shape(&database).await;
    let (outcome, text) = migrate(&database.admin(), false).await;
    let error = outcome.unwrap_err();
    let Error::Migrate(MigrateError::Step { version: 2, .. }) = &error else {
        panic!("failed otherwise: {error:?}");
    };
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert_eq!((error.exit_code(), text.as_str()), (1, ""));
    assert_eq!(shape(&database).await, before);
    database.batch("DROP FUNCTION public.stampd_leaf");
    migrate(&database.admin(), false).await.0.unwrap();
}

#[tokio::test]
async fn tables_that_stampd_did_not_make_are_refused_and_left_alone() {
    let database = Database::create();
    database.batch(
        "CREATE TABLE metadata_stamps (id SERIAL PRIMARY KEY, file_hash VARCHAR(64) NOT NULL);
         INSERT INTO metadata_stamps (file_hash) VALUES ('kept')",
    );
    let before = shape(&database).await;
    for check in [true, false] {
        let (outcome, _) = migrate(&database.admin(), check).await;
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("metadata_stamps"), "{error}");
        assert_eq!(error.exit_code(), 78);
    }
    assert_eq!(shape(&database).await, before);
}

#[tokio::test]
async fn a_schema_that_is_newer_or_another_is_refused() {
    for (change, word) in [
        ("INSERT INTO stampd_schema VALUES (99, 'future', '')", "newer"),
        ("UPDATE stampd_schema SET checksum = '' WHERE version = 2", "another build"),
    ] {
        let record = Record::create().await;
        record.database.batch(change);
        for check in [true, false] {
            let error = migrate(&record.database.admin(), check).await.0.unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(error.exit_code(), 78);
        }
    }
}

#[tokio::test]
async fn a_database_that_cannot_hold_the_record_is_refused() {
    let database = Database::create();
    let latin = format!("{}_latin", database.admin().database);
    database
        .batch(&format!("CREATE DATABASE {latin} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"));
    let there = Address { database: latin.clone(), ..database.admin() };
    let error = migrate(&there, false).await.0.unwrap_err();
    database.batch(&format!("DROP DATABASE {latin} WITH (FORCE)"));
    assert!(error.to_string().contains("LATIN1"), "{error}");
    assert_eq!(error.exit_code(), 78);
}

#[tokio::test]
async fn each_mistake_has_its_exit_code() {
    let mut record = Record::create().await;
    let stranger = record.database.login("pg_monitor");
    record.database.batch(
        "DROP TABLE stampd_schema; DROP TABLE stampd_ledger; DROP TABLE streams,
        stamp_events, withheld, metadata_stamps",
    );
    assert_eq!(migrate(&stranger, false).await.0.unwrap_err().exit_code(), 8);
    let admin = record.database.admin();
    let wrong = Address { password: "wrong".to_owned(), ..admin.clone() };
    assert_eq!(migrate(&wrong, false).await.0.unwrap_err().exit_code(), 78);
    let nowhere = Address { database: "nowhere".to_owned(), ..admin.clone() };
    assert_eq!(migrate(&nowhere, false).await.0.unwrap_err().exit_code(), 78);
    let nobody = Address { port: 1, ..admin };
    assert_eq!(migrate(&nobody, false).await.0.unwrap_err().exit_code(), 75);
}

#[tokio::test]
async fn the_ledger_is_one_and_stays() {
    let record = Record::create().await;
    assert_eq!(record.count("SELECT count(*) FROM stampd_ledger").await, 1);
    let admin = record.database.admin().connect().await;
    let error = admin.batch_execute("INSERT INTO stampd_ledger DEFAULT VALUES").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "23505");
    let versions = record.count("SELECT count(*) FROM stampd_schema").await;
    assert_eq!(versions, MIGRATIONS.len() as i64);
}
