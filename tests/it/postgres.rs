//! The road to Postgres as a sink walks it: who is there, whom to trust, what a failure means.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use stampd::model::class::Class;
use stampd::model::rung::{Height, Rung};
use stampd::sink::postgres::{Config, Postgres};
use stampd::sink::{Identity, Sink};
use stampd::store::migrate::MIGRATIONS;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::bed;
use crate::support::postgres::{Address, Database};
use crate::support::record::{Record, config, piece, stream};
use crate::support::wait::wait_for_async;

fn sink(config: &Config) -> Postgres {
    Postgres::new(config).expect("the config is good")
}

async fn probe(config: &Config) -> Result<Identity, Rung> {
    sink(config).probe().await
}

/// Demands that a probe fails on this rung, with these words in what a person reads.
async fn stops(config: &Config, height: Height, class: Class, words: &str) {
    let rung = probe(config).await.expect_err("the probe fails");
    assert_eq!((rung.height, rung.class), (height, class), "{rung}");
    assert!(rung.text.contains(words), "{rung}");
}

#[tokio::test]
async fn a_migrated_record_says_which_one_it_is() {
    let record = Record::create().await;
    let mut sink = sink(&config(&record.agent));
    assert_eq!(sink.endpoints()[0].port, record.agent.port);
    let identity = sink.probe().await.unwrap();
    let admin = record.database.admin().connect().await;
    let row = admin.query_one("SELECT id::text FROM stampd_ledger", &[]).await.unwrap();
    assert_eq!(identity.0, row.get::<_, String>(0));
    assert_eq!(sink.deliver(&piece(stream(), 0..2)).await.unwrap().accepted, 2);
    sink.close(Instant::now() + Duration::from_mins(1)).await;
    assert_eq!(sink.deliver(&piece(stream(), 0..2)).await.unwrap_err().class(), Class::Retry);
}

#[tokio::test]
async fn a_database_that_cannot_take_stamps_says_what_to_do() {
    let (application, park) = (Height::Application, Class::Park);
    let blank = Database::create();
    stops(&config(&blank.admin()), application, park, "run `stampd migrate`").await;

    let mut record = Record::create().await;
    let outsider = record.database.login("pg_monitor");
    stops(&config(&outsider), application, park, "GRANT stampd_agent TO").await;
    let agent = config(&record.agent);
    let known = MIGRATIONS.len();
    for (change, words) in [
        ("REVOKE EXECUTE ON FUNCTION stampd_append FROM stampd_agent", "GRANT stampd_agent TO"),
        (
            &format!(
                "GRANT EXECUTE ON FUNCTION stampd_append TO stampd_agent;
                 DELETE FROM stampd_schema WHERE version = {known}"
            ),
            &format!("version {} of {known}; run `stampd migrate`", known - 1),
        ),
        ("UPDATE stampd_schema SET checksum = ''", "another build of stampd"),
        ("DROP TABLE stampd_ledger", "run `stampd migrate`"),
    ] {
        record.database.batch(change);
        stops(&agent, application, park, words).await;
    }

    let record = Record::create().await;
    let agent = config(&record.agent);
    record.database.batch("INSERT INTO stampd_schema VALUES (99, 'future', '')");
    stops(&agent, application, park, "upgrade stampd").await;
    record
        .database
        .batch("DELETE FROM stampd_schema WHERE version = 99; DELETE FROM stampd_ledger");
    stops(&agent, Height::Identity, park, "stampd_ledger is empty").await;
}

#[tokio::test]
async fn a_login_that_is_refused_is_parked() {
    let record = Record::create().await;
    let wrong = |change: fn(&mut Address)| {
        let mut address = record.agent.clone();
        change(&mut address);
        config(&address)
    };
    let password = wrong(|address| address.password = "wrong".into());
    stops(&password, Height::Login, Class::Park, "check [postgres] password").await;
    let database = wrong(|address| address.database = "nowhere".into());
    stops(&database, Height::Application, Class::Park, "check the database's name").await;
    let mut none = config(&record.agent);
    none.password = None;
    stops(&none, Height::Application, Class::Park, "asks for a password").await;
}

/// The agent's road with TLS: `host` as the certificate should name it.
fn encrypted(record: &Record, host: &str, parameters: &str, ca_file: Option<PathBuf>) -> Config {
    let Address { user, port, database, .. } = &record.agent;
    let url = format!("postgres://{user}@{host}:{port}/{database}?{parameters}");
    Config { url, ca_file, ..config(&record.agent) }
}

#[tokio::test]
async fn a_server_is_trusted_as_far_as_sslmode_says() {
    let record = Record::create().await;
    let ours = || Some(PathBuf::from(bed("STAMPD_TEST_CA")));
    let dir = tempfile::tempdir().unwrap();
    let theirs = || Some(dir.path().join("other.pem"));
    std::fs::write(theirs().unwrap(), another_authority()).unwrap();
    let elsewhere = "hostaddr=127.0.0.1&sslmode=";
    for (host, parameters, ca_file) in [
        ("localhost", "sslmode=verify-full", ours()),
        ("127.0.0.1", "sslmode=verify-full", ours()),
        ("db.example", &format!("{elsewhere}verify-ca"), ours()),
        ("localhost", "sslmode=require", None),
        ("localhost", "sslmode=require", theirs()),
    ] {
        let road = encrypted(&record, host, parameters, ca_file);
        assert!(probe(&road).await.is_ok(), "{host} {parameters}");
    }
    for (host, parameters, ca_file, words) in [
        ("localhost", "sslmode=verify-full", theirs(), "UnknownIssuer"),
        ("localhost", "sslmode=verify-ca", theirs(), "UnknownIssuer"),
        ("db.example", &format!("{elsewhere}verify-full"), ours(), "not valid for name"),
        ("db.example", "hostaddr=127.0.0.1", ours(), "not valid for name"),
    ] {
        // It may pass by itself: a captive portal is not the server's fault.
        let road = encrypted(&record, host, parameters, ca_file);
        stops(&road, Height::Tls, Class::Retry, words).await;
    }
    let nothing = encrypted(&record, "localhost", "sslmode=verify-full", Some("/nowhere".into()));
    stops(&nothing, Height::Tls, Class::Park, "/nowhere").await;
}

/// The certificate of an authority that signed nobody.
fn another_authority() -> String {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

#[tokio::test]
async fn the_connection_is_encrypted_when_it_should_be() {
    let record = Record::create().await;
    for (parameters, encrypted_now) in [("sslmode=require", true), ("sslmode=disable", false)] {
        let mut sink = sink(&encrypted(&record, "localhost", parameters, None));
        sink.probe().await.unwrap();
        let query = format!(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE usename = '{}' AND ssl = {encrypted_now}",
            record.agent.user
        );
        assert_eq!(record.count(&query).await, 1, "{parameters}");
    }
}

#[tokio::test]
async fn a_server_without_tls_needs_a_person() {
    let record = Record::create().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut road = record.agent.clone();
    road.port = listener.local_addr().unwrap().port();
    let mut refused = config(&road);
    refused.url.push_str("?sslmode=require");
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 8]).await.unwrap();
        stream.write_all(b"N").await.unwrap();
        stream
    };
    let check = stops(&refused, Height::Tls, Class::Park, "does not support TLS");
    tokio::join!(server, check);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let record = Record::create().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut silent = record.agent.clone();
    silent.port = listener.local_addr().unwrap().port();
    let silent = Config { connect_timeout: Duration::from_millis(50), ..config(&silent) };
    stops(&silent, Height::Application, Class::Retry, "did not answer within").await;
    drop(listener);
    stops(&silent, Height::Application, Class::Retry, "refused").await;
}

#[tokio::test]
async fn a_terminated_backend_costs_one_delivery() {
    let record = Record::create().await;
    let mut sink = sink(&config(&record.agent));
    sink.probe().await.unwrap();
    let stream = stream();
    sink.deliver(&piece(stream, 0..2)).await.unwrap();
    record.database.batch(&format!(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = '{}'",
        record.agent.user
    ));
    let error = sink.deliver(&piece(stream, 2..4)).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry, "{error}");
    sink.probe().await.unwrap();
    assert_eq!(sink.deliver(&piece(stream, 2..4)).await.unwrap().size, 4);
}

#[tokio::test]
async fn a_delivery_that_is_dropped_leaves_nothing_behind() {
    let record = Record::create().await;
    let mut sink = sink(&config(&record.agent));
    sink.probe().await.unwrap();
    let stream = stream();
    sink.deliver(&piece(stream, 0..2)).await.unwrap();
    let mut admin = record.database.admin().connect().await;
    let lock = admin.transaction().await.unwrap();
    lock.execute("SELECT FROM streams FOR UPDATE", &[]).await.unwrap();
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE usename = '{}' AND wait_event_type = 'Lock'",
        record.agent.user
    );
    let next = piece(stream, 2..4);
    tokio::select! {
        _ = sink.deliver(&next) => panic!("the stream is locked"),
        () = wait_for_async("the delivery waits for the lock", async || {
            (record.count(&waits).await == 1).then_some(())
        }) => {}
    }
    let error = sink.deliver(&next).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry, "{error}");
    lock.rollback().await.unwrap();
    sink.probe().await.unwrap();
    assert_eq!(sink.deliver(&next).await.unwrap().size, 4);
}

#[tokio::test]
async fn waiting_is_bounded_and_the_session_goes_on() {
    let record = Record::create().await;
    let short = Duration::from_millis(50);
    let stream = stream();
    sink_with(&record, |_| ()).await.deliver(&piece(stream, 0..1)).await.unwrap();
    let mut by_lock = sink_with(&record, |config| config.lock_timeout = short).await;
    let mut by_statement =
        sink_with(&record, |config| config.statement_timeout = Some(short)).await;
    let mut admin = record.database.admin().connect().await;
    let lock = admin.transaction().await.unwrap();
    lock.execute("SELECT FROM streams FOR UPDATE", &[]).await.unwrap();
    let error = by_lock.deliver(&piece(stream, 1..2)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.class()), ("55P03", Class::Retry));
    let error = by_statement.deliver(&piece(stream, 1..2)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.class()), ("57014", Class::RetrySmaller));
    lock.rollback().await.unwrap();
    assert_eq!(by_lock.deliver(&piece(stream, 1..2)).await.unwrap().size, 2);
    drop(by_statement);
}

async fn sink_with(record: &Record, change: impl FnOnce(&mut Config)) -> Postgres {
    let mut config = config(&record.agent);
    change(&mut config);
    let mut sink = sink(&config);
    sink.probe().await.unwrap();
    sink
}

#[tokio::test]
async fn a_database_made_read_only_is_waited_for() {
    let record = Record::create().await;
    let name = record.agent.database.clone();
    let mut sink = sink(&config(&record.agent));
    record.database.batch(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    sink.probe().await.unwrap();
    let error = sink.deliver(&piece(stream(), 0..1)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.class()), ("25006", Class::Retry));
}

#[tokio::test]
async fn a_fork_names_its_position() {
    let record = Record::create().await;
    let mut sink = sink_with(&record, |_| ()).await;
    let stream = stream();
    let delivery = sink.deliver(&piece(stream, 0..4)).await.unwrap();
    let mut forked = piece(stream, 2..6);
    assert_eq!(delivery.leaf.as_ref(), Some(forked.entries[1].leaf()));
    forked.entries.swap(1, 2);
    let error = sink.deliver(&forked).await.unwrap_err();
    assert_eq!((error.class(), error.seq), (Class::Fork, Some(3)), "{error}");
}
