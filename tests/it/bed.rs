//! The test bed itself: what the other tests stand on.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::support::kafka::{Topic, plaintext};
use super::support::postgres::Database;
use super::support::{bed, block_on};

#[test]
fn a_database_is_fresh_and_takes_logins_of_its_own() {
    let mut database = Database::create();
    database.batch("CREATE TABLE mine (n INT); INSERT INTO mine VALUES (7)");
    let login = database.login("pg_read_all_data");
    let row = block_on(|| async {
        login.connect().await.query_one("SELECT n, current_user::text FROM mine", &[]).await
    });
    let row = row.expect("the login may read");
    assert_eq!((row.get::<_, i32>(0), row.get::<_, String>(1)), (7, login.user.clone()));
}

#[test]
fn a_topic_reads_back_what_was_written() {
    let topic = Topic::create(2);
    assert_eq!(topic.read_to_end(), []);
    let producer: BaseProducer = plaintext().create().expect("a producer starts");
    for partition in [0, 1] {
        let headers = OwnedHeaders::new().insert(Header { key: "ce_id", value: Some("s/0") });
        let record =
            BaseRecord::to(topic.name()).partition(partition).key("s").payload("{\"n\":1}");
        producer.send(record.headers(headers)).expect("the queue has room");
    }
    producer.flush(Duration::from_mins(1)).expect("the broker takes the records");
    let records = topic.read_to_end();
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!((record.header("ce_id"), record.offset), ("s/0", 0));
        assert_eq!(record.json(), serde_json::json!({"n": 1}));
    }
}

#[test]
fn kafka_lets_the_login_in_over_tls_by_every_mechanism() {
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bed("STAMPD_TEST_KAFKA_SASL"))
            .set("security.protocol", "SASL_SSL")
            .set("ssl.ca.location", bed("STAMPD_TEST_CA"))
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", bed("STAMPD_TEST_USER"))
            .set("sasl.password", bed("STAMPD_TEST_PASSWORD"))
            .create()
            .expect("a consumer starts");
        let metadata = consumer.fetch_metadata(None, Duration::from_mins(1));
        let metadata = metadata.unwrap_or_else(|error| panic!("{mechanism}: {error}"));
        assert_eq!(metadata.brokers().len(), 1, "{mechanism}");
    }
}
