//! Migrating a database: whole or not at all, once, and never one that is not ours.

use stampd::cli::exit::Exit;
use stampd::cli::migrate::{Report, run};
use stampd::model::class::Class;
use stampd::store::StoreError;
use stampd::store::migrate::{MIGRATIONS, MigrateError, Migration};

use crate::adopt::shapes::SERVICE;
use crate::support::cluster::Cluster;
use crate::support::postgres::{Address, Database};
use crate::support::record::{Record, config};
use crate::support::wait::wait_for_async;

async fn migrate(address: &Address, check: bool) -> Result<Report, MigrateError> {
    run(&config(address), check, &mut |_| ()).await
}

/// The report on all migrations.
fn every(word: &str) -> String {
    let line = |step: &Migration| format!("{word}: {:04} {}\n", step.version, step.name);
    MIGRATIONS.iter().map(line).collect()
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
    let report = migrate(&database.admin(), true).await.unwrap();
    assert_eq!(report.exit(), Exit::Degraded);
    assert_eq!(report.text(), every("to do"));
    assert_eq!(shape(&database).await, [""; 0]);
}

#[tokio::test]
async fn twice_is_as_once() {
    let database = Database::create();
    let report = migrate(&database.admin(), false).await.unwrap();
    assert_eq!(report.text(), every("done"));
    let after = shape(&database).await;
    for check in [true, false] {
        let report = migrate(&database.admin(), check).await.unwrap();
        assert_eq!(report.exit(), Exit::Fine);
        assert_eq!(
            report.text(),
            format!("nothing to do: the schema is version {}\n", MIGRATIONS.len())
        );
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
    for report in tasks.join_all().await {
        workers += i32::from(report.unwrap().text().starts_with("done"));
    }
    assert_eq!(workers, 2);
}

/// Roles belong to the whole server. Two databases that were migrated for the first time at once both
/// made them, and the one that had waited for the other was told that there are none. (Not always: a
/// session that had looked at much of the catalog before, as for a table that it adopts.)
#[tokio::test]
async fn roles_that_another_databases_migration_is_making_are_waited_for_and_used() {
    let cluster = Cluster::start();
    let admin = cluster.admin();
    admin.connect().await.batch_execute(&SERVICE.with_rows(5)).await.unwrap();
    let (mut other, watcher) = (admin.connect().await, admin.connect().await);
    let making = other.transaction().await.unwrap();
    let both = "CREATE ROLE stampd_agent NOLOGIN; CREATE ROLE stampd_server NOLOGIN";
    making.batch_execute(both).await.unwrap();
    let committing = async {
        let waiting = "SELECT FROM pg_stat_activity WHERE wait_event = 'transactionid'";
        wait_for_async("the migration waits for the role", async || {
            (!watcher.query(waiting, &[]).await.unwrap().is_empty()).then_some(())
        })
        .await;
        making.commit().await.unwrap();
    };
    let (report, ()) = tokio::join!(migrate(&admin, false), committing);
    assert!(report.unwrap().text().ends_with(&every("done")));
}

#[tokio::test]
async fn a_failure_in_the_middle_leaves_what_was_there() {
    let database = Database::create();
    database.batch(
        "CREATE FUNCTION public.stampd_leaf(uuid, bigint) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    let before = shape(&database).await;
    let error = migrate(&database.admin(), false).await.unwrap_err();
    assert!(matches!(error, MigrateError::Step { version: 2, .. }), "{error:?}");
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert_eq!(shape(&database).await, before);
    database.batch("DROP FUNCTION public.stampd_leaf");
    migrate(&database.admin(), false).await.unwrap();
}

#[tokio::test]
async fn tables_that_stampd_did_not_make_are_refused_and_left_alone() {
    let database = Database::create();
    database.batch(
        "CREATE TABLE streams (id SERIAL PRIMARY KEY, name text NOT NULL);
         INSERT INTO streams (name) VALUES ('kept'); CREATE VIEW withheld AS SELECT 1",
    );
    let before = shape(&database).await;
    for check in [true, false] {
        let error = migrate(&database.admin(), check).await.unwrap_err();
        assert!(matches!(error, MigrateError::Foreign(_)), "{error:?}");
        assert!(error.to_string().contains("streams, withheld"), "{error}");
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
            let error = migrate(&record.database.admin(), check).await.unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
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
    let error = migrate(&there, false).await.unwrap_err();
    database.batch(&format!("DROP DATABASE {latin} WITH (FORCE)"));
    assert!(error.to_string().contains("LATIN1"), "{error}");
}

#[tokio::test]
async fn a_mistake_is_told_from_an_outage() {
    let mut record = Record::create().await;
    record.database.batch(
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC",
    );
    let stranger = record.database.login("pg_monitor");
    let admin = record.database.admin();
    let wrong = Address { password: "wrong".to_owned(), ..admin.clone() };
    let nowhere = Address { database: "nowhere".to_owned(), ..admin.clone() };
    let nobody = Address { port: 1, ..admin };
    for (address, code, class) in [
        (stranger, "42501", Class::Park),
        (wrong, "28P01", Class::Park),
        (nowhere, "3D000", Class::Park),
        (nobody, "connection", Class::Retry),
    ] {
        let (MigrateError::Store(error) | MigrateError::Step { source: error, .. }) =
            migrate(&address, false).await.unwrap_err()
        else {
            panic!("{code}: failed otherwise");
        };
        assert_eq!((StoreError::code(&error), error.class()), (code, class));
    }
}

#[tokio::test]
async fn an_owner_without_other_rights_can_migrate() {
    let mut record = Record::create().await;
    let owner = record.database.login("pg_monitor");
    record.database.batch(&format!("CREATE DATABASE {0} OWNER {0}", owner.user));
    let theirs = Address { database: owner.user.clone(), ..owner };
    let report = migrate(&theirs, false).await;
    record.database.batch(&format!("DROP DATABASE {}", theirs.user));
    // The roles are there from the record above.
    assert_eq!(report.unwrap().exit(), Exit::Fine);
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
