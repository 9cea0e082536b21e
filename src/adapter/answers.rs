//! Answers to questions about the tables: on `…query-completed.v1`, or `…query-failed.v1`, beside the
//! topic of the question and with its correlation id.
//!
//! A question is answered before it counts as read, so none goes unanswered; after a crash it may be
//! answered twice, with the same `causation_id`. What may be asked is `store::queries`'s to say.

use serde_json::{Value, json};

use super::outlet::{Outgoing, Outlet, OutletError};
use super::writer::{Failure, Writer};
use super::{Config, Parts};
use crate::model::identity::row_id;
use crate::model::operation::{Event, Operation, Query};
use crate::runtime::clock::Clock;
use crate::runtime::failpoint;
use crate::runtime::metrics::Counter;
use crate::store::operations::Item;
use crate::store::queries::{self, Answer, QueryError};

/// What answers.
pub(super) struct Answers {
    outlet: Outlet,
    clock: Clock,
    environment: String,
    published: Counter,
}

impl Answers {
    pub(super) fn new(config: &Config, parts: &Parts) -> Result<Self, OutletError> {
        Ok(Self {
            outlet: Outlet::new(&config.kafka)?,
            clock: parts.clock.clone(),
            environment: config.topics.environment().to_owned(),
            published: parts.figures.published.clone(),
        })
    }

    /// Answers the questions among some records.
    pub(super) async fn answer(
        &mut self,
        writer: &mut Writer,
        items: &[Item],
    ) -> Result<(), Failure> {
        for item in items {
            let Ok(event) = &item.read else { continue };
            let Operation::Query(query) = &event.operation else { continue };
            let answer = self.compose(&item.record.topic, event, query, writer).await?;
            self.outlet.send(&answer).await.map_err(Failure::Outlet)?;
            failpoint::pass("question-answered");
            self.published.inc();
        }
        Ok(())
    }

    async fn compose(
        &self,
        topic: &str,
        event: &Event,
        query: &Query,
        writer: &mut Writer,
    ) -> Result<Outgoing, Failure> {
        let asked = self.clock.now();
        let found = writer
            .ask("query", async |session| match queries::answer(session, query).await {
                Ok(answer) => Ok(Ok(answer)),
                Err(QueryError::Store(error)) => Err(error),
                Err(refused) => Ok(Err(refused)),
            })
            .await?;
        let took = self.clock.now().since(asked).as_millis() as u64;
        let (slug, payload) = match found {
            Ok(answer) => ("query-completed", completed(query, &answer, took)),
            Err(refused) => ("query-failed", failed(query, &refused, took)),
        };
        Ok(self.envelope(topic, slug, event, &payload))
    }

    fn envelope(&self, topic: &str, slug: &str, event: &Event, payload: &Value) -> Outgoing {
        let now = self.clock.now();
        let question = &event.origin.key;
        // Answers to one question have one identity, so that a reader can drop the second.
        let id = row_id(slug, question).to_string();
        let correlation_id = event.correlation_id.as_ref();
        let kind = slug.replace('-', "_").to_uppercase();
        let value = json!({
            "envelope_version": "1.0",
            "event_id": id,
            "event_type": kind,
            "event_version": "1.0",
            "timestamp": now,
            "event_timestamp": now,
            "correlation_id": correlation_id,
            "causation_id": question,
            "source_service": "stampd",
            "source_version": crate::VERSION,
            "source_instance": "adapter",
            "environment": self.environment,
            "payload": payload,
            "metadata": {},
        });
        let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        Outgoing {
            topic: topic.replace("query-requested", slug),
            key: Some(correlation_id.unwrap_or(question).as_bytes().to_vec()),
            value: value.to_string().into_bytes(),
            headers: vec![
                header("ce_specversion", "1.0"),
                header("ce_id", &id),
                header("ce_source", "urn:stampd:adapter"),
                header("ce_type", &kind),
                header("ce_time", &now.to_string()),
                header("content-type", "application/json"),
            ],
        }
    }
}

fn completed(query: &Query, answer: &Answer, took: u64) -> Value {
    json!({
        "entity_type": query.entity_type,
        "results": answer.rows,
        "result_count": answer.rows.len(),
        "has_more": answer.has_more,
        "limit": query.limit,
        "offset": query.offset,
        "execution_time_ms": took,
    })
}

fn failed(query: &Query, refused: &QueryError, took: u64) -> Value {
    let (error_type, field) = match refused {
        QueryError::Refused { field, .. } => ("refused", Some(field)),
        QueryError::TooSlow => ("too_slow", None),
        QueryError::Store(_) => ("store", None),
    };
    json!({
        "entity_type": query.entity_type,
        "error_type": error_type,
        "error_message": format!("failed to {refused}"),
        "error_context": { "field": field },
        "execution_time_ms": took,
    })
}
