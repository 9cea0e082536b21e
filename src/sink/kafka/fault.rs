//! What a Kafka error means: its class, its name and what a person can do about it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::model::class::Class;
use crate::sink::SinkError;

/// The error of a delivery.
pub(super) fn sink_error(error: KafkaError, topic: &str) -> SinkError {
    let code = error.rdkafka_error_code();
    let name = code.map_or_else(|| "client".to_owned(), |code| format!("{code:?}"));
    let advice = code.map_or_else(String::new, |code| advice(code, topic));
    let class = code.map_or(Class::Retry, class);
    SinkError::new(class, name, format!("{error}{advice}")).because(error)
}

/// What is to be done about a code.
pub(super) const fn class(code: Code) -> Class {
    match code {
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidMessage
        | Code::InvalidRecord
        | Code::InvalidTimestamp => Class::Reject,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::InvalidTopic
        | Code::PolicyViolation
        | Code::UnsupportedCompressionType
        | Code::UnsupportedVersion
        | Code::InvalidConfig => Class::Park,
        // Everything else is the weather: brokers that move, leaders that change, roads that close.
        _ => Class::Retry,
    }
}

/// What a person can do.
pub(super) fn advice(code: Code, topic: &str) -> String {
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "; check [kafka] username, password and mechanism".to_owned()
        }
        Code::TopicAuthorizationFailed => {
            format!("; grant this user WRITE and DESCRIBE on the topic {topic}")
        }
        Code::ClusterAuthorizationFailed => format!(
            "; grant this user WRITE and DESCRIBE on the topic {topic}, and where the brokers are \
             older than 3.0 IDEMPOTENT_WRITE on the cluster"
        ),
        Code::UnknownTopic | Code::UnknownTopicOrPartition => {
            format!("; create the topic {topic}: kafka-topics.sh --create --topic {topic}")
        }
        _ => String::new(),
    }
}
