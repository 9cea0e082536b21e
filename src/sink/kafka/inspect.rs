//! Who is at the other end of the road: what a cluster says of itself, without touching a topic.
//!
//! For the rungs of the ladder above TLS, and for the addresses by which brokers want to be called,
//! which are what most often keeps a client from them. Whether these can be reached is left to
//! whoever climbs.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner};
use tokio::sync::oneshot;

use super::settings::{road, tls};
use super::{Config, fault, versions};
use crate::model::class::Class;
use crate::model::rung::{Height, Rung};
use crate::sink::Endpoint;

/// How long the cluster may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long one question may take, before what went wrong meanwhile is looked at.
const QUESTION: Duration = Duration::from_millis(500);

/// What a cluster says of itself.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its id.
    pub id: String,
    /// How old it is at most, where it could be asked.
    pub version: Option<String>,
    /// Each broker's number, and the address by which it wants to be called.
    pub brokers: Vec<(i32, Endpoint)>,
}

/// Asks the cluster who it is.
///
/// # Errors
/// The rung that does not hold: TLS, login, or a version that is too old to speak to.
pub async fn inspect(config: &Config) -> Result<Cluster, Rung> {
    let settings = road(config)?;
    let (has_sasl, tls) = (config.security.has_sasl(), tls(config).ok().flatten());
    let brokers = super::endpoints(config, tls.as_ref());
    let (reply, answer) = oneshot::channel();
    // Both ways of asking block.
    let asked = std::thread::Builder::new().name("kafka-inspect".to_owned()).spawn(move || {
        let _ = reply.send(ask(&brokers, &settings, has_sasl));
    });
    let gone = || Rung::retry(Height::Application, "the Kafka client did not start");
    asked.map_err(|_| gone())?;
    let Told { id, version, brokers } = answer.await.map_err(|_| gone())??;
    let endpoint = |(number, host, port)| (number, Endpoint { host, port, tls: tls.clone() });
    Ok(Cluster { id, version, brokers: brokers.into_iter().map(endpoint).collect() })
}

struct Told {
    id: String,
    version: Option<String>,
    brokers: Vec<(i32, String, u16)>,
}

fn ask(brokers: &[Endpoint], settings: &ClientConfig, has_sasl: bool) -> Result<Told, Rung> {
    let mut version = None;
    for broker in brokers {
        version = versions::check(broker)?;
        if version.is_some() {
            break;
        }
    }
    let (id, brokers) = introduce(settings, has_sasl)?;
    Ok(Told { id, version, brokers })
}

type Introduction = (String, Vec<(i32, String, u16)>);

fn introduce(settings: &ClientConfig, has_sasl: bool) -> Result<Introduction, Rung> {
    let failed = |error: KafkaError| Rung::park(Height::Application, error.to_string());
    let client: BaseProducer<Ear> = settings.create_with_context(Ear::default()).map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metadata = client.client().fetch_metadata(Some(NO_TOPIC), QUESTION);
        client.poll(Duration::ZERO);
        if let Ok(metadata) = metadata
            && let Some(id) = client.client().fetch_cluster_id(QUESTION)
        {
            let broker = |broker: &rdkafka::metadata::MetadataBroker| {
                let port = u16::try_from(broker.port()).unwrap_or_default();
                (broker.id(), broker.host().to_owned(), port)
            };
            return Ok((id, metadata.brokers().iter().map(broker).collect()));
        }
        if let Some(rung) = client.context().rung(has_sasl) {
            return Err(rung);
        }
        if Instant::now() >= deadline {
            return Err(client.context().silence());
        }
    }
}

/// A legal name that nobody's topic has; asking for all topics could be a long answer.
const NO_TOPIC: &str = "stampd-netcheck-asks-for-no-topic";

/// What librdkafka said went wrong, the most telling of it.
#[derive(Default)]
struct Ear(Mutex<Option<(KafkaError, String)>>);

impl Ear {
    fn heard(&self) -> Option<(KafkaError, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The rung that librdkafka's words are about, once they are certain.
    fn rung(&self, has_sasl: bool) -> Option<Rung> {
        let (error, reason) = self.heard()?;
        let code = error.rdkafka_error_code()?;
        match code {
            Code::SSL => Some(Rung::park(Height::Tls, format!("TLS fails: {reason}"))),
            Code::Authentication | Code::SaslAuthenticationFailed => {
                let text = format!("{reason}{}", fault::advice(Code::Authentication, ""));
                Some(Rung::park(Height::Login, text))
            }
            Code::UnsupportedFeature => {
                let text = format!("the broker is too old for this client: {reason}");
                Some(Rung::park(Height::Application, text))
            }
            code if has_sasl && fault::class(code) == Class::Park => {
                Some(Rung::park(Height::Login, format!("{code}: {reason}")))
            }
            _ => None,
        }
    }

    fn silence(&self) -> Rung {
        let heard = self.heard().map(|(_, reason)| format!(" ({reason})")).unwrap_or_default();
        let text = format!(
            "the broker accepts connections and does not say who it is within {} s{heard}: look at \
             its log",
            PATIENCE.as_secs()
        );
        Rung::retry(Height::Identity, text)
    }
}

impl ClientContext for Ear {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        // That all brokers are down follows from what is wrong with each, which says more.
        if error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
            let heard = (error, reason.to_owned());
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for Ear {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
