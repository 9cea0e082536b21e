//! Whether the cluster would take our stamps, asked without leaving any there.
//!
//! Kafka tells nobody what they may do. But it looks at the right to write before it looks at how a
//! record wants to be confirmed: so one is sent with a wish that no broker grants, and what it is
//! refused for tells the rest. A topic that is missing is created for show only.

use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use tokio::sync::oneshot;

use super::client::{Creation, create_topic};
use super::reports::Quiet;
use super::{Config, fault, settings};
use crate::model::class::Class;
use crate::model::rung::{Height, Rung, Step};

/// How long the cluster may take to answer each question.
const PATIENCE: Duration = Duration::from_secs(6);

/// Neither none, nor the leader alone, nor all replicas.
const IMPOSSIBLE_ACKS: &str = "2";

/// Says whether stamps would be taken; what does not hold takes a person.
pub async fn rights(config: &Config) -> Step {
    match ask(config).await {
        Ok(found) => Step::holds(Height::Application, found),
        Err(rung) => rung.into(),
    }
}

async fn ask(config: &Config) -> Result<String, Rung> {
    let topic = config.topic.clone();
    let road = settings::road(config)?;
    let (reply, answer) = oneshot::channel();
    let (asked, of) = (road.clone(), topic.clone());
    let gone = || Rung::retry(Height::Application, "the Kafka client did not start");
    // librdkafka's questions block.
    let thread = std::thread::Builder::new().name("kafka-rights".to_owned());
    thread.spawn(move || drop(reply.send(look(&asked, &of)))).map_err(|_| gone())?;
    match answer.await.map_err(|_| gone())?? {
        Found::Writable => Ok(format!("the topic {topic} takes stamps")),
        Found::Missing => {
            create_topic(&road, &topic, Creation::ForShow).await?;
            Ok(format!(
                "the topic {topic} does not exist; a first delivery makes it as the brokers' \
                 defaults have it, so make it before if it is to be otherwise"
            ))
        }
    }
}

enum Found {
    Writable,
    Missing,
}

fn look(road: &ClientConfig, topic: &str) -> Result<Found, Rung> {
    let failed = |error: KafkaError| refusal(&error, topic);
    let mut settings = road.clone();
    settings
        .set("acks", IMPOSSIBLE_ACKS)
        .set("message.timeout.ms", PATIENCE.as_millis().to_string());
    let client: BaseProducer<Verdict> =
        settings.create_with_context(Verdict::default()).map_err(failed)?;
    let metadata = client.client().fetch_metadata(Some(topic), PATIENCE).map_err(failed)?;
    match metadata.topics().first().and_then(MetadataTopic::error).map(Code::from) {
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Ok(Found::Missing),
        Some(code) => return Err(failed(KafkaError::MetadataFetch(code))),
        None => {}
    }
    let record = BaseRecord::<str, str>::to(topic).key("stampd").payload("");
    client.send(record).map_err(|(error, _)| failed(error))?;
    client.flush(PATIENCE).map_err(failed)?;
    match client.context().0.get() {
        Some(Err(error)) if error.rdkafka_error_code() != Some(Code::InvalidRequiredAcks) => {
            Err(failed(error.clone()))
        }
        _ => Ok(Found::Writable),
    }
}

fn refusal(error: &KafkaError, topic: &str) -> Rung {
    let code = error.rdkafka_error_code();
    let advice = code.map_or_else(String::new, |code| fault::advice(code, topic));
    let text = format!("{error}{advice}");
    match code.map(fault::class) {
        Some(Class::Park) => Rung::park(Height::Application, text),
        _ => Rung::retry(Height::Application, text),
    }
}

/// What became of the one record.
#[derive(Default)]
struct Verdict(OnceLock<Result<(), KafkaError>>);

impl ClientContext for Verdict {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

impl ProducerContext for Verdict {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // There is one record, so nothing was set before.
        let _ = self.0.set(result.as_ref().map(drop).map_err(|(error, _)| error.clone()));
    }
}
