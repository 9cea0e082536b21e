//! Transitions, each once.

use std::time::SystemTime;

use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::to_text;
use crate::model::identity::row_id;
use crate::model::operation::{Event, Operation};

pub(super) const WRITE: &str = "
    INSERT INTO public.fsm_transitions (id, entity_id, entity_type, from_state, to_state,
        transition_event, transition_data, created_at, event_key)
    SELECT id, entity_id, entity_type, from_state, to_state, transition_event,
        transition_data::jsonb, created_at, event_key
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::timestamptz[], $9::text[])
        AS g (id, entity_id, entity_type, from_state, to_state, transition_event,
            transition_data, created_at, event_key)
    ORDER BY event_key
    ON CONFLICT DO NOTHING";

/// The statement's arrays.
#[derive(Default)]
struct Columns<'e> {
    id: Vec<Uuid>,
    entity_id: Vec<Uuid>,
    entity_type: Vec<&'e str>,
    from_state: Vec<Option<&'e str>>,
    to_state: Vec<&'e str>,
    transition_event: Vec<&'e str>,
    transition_data: Vec<String>,
    created_at: Vec<SystemTime>,
    event_key: Vec<&'e str>,
}

/// Writes the transitions.
pub(super) async fn write<'e>(
    client: &Client,
    statement: &Statement,
    events: impl Iterator<Item = &'e Event>,
) -> Result<(), tokio_postgres::Error> {
    let mut columns = Columns::default();
    for event in events {
        let Operation::Transition(transition) = &event.operation else { continue };
        columns.id.push(row_id("fsm_transitions", &event.origin.key));
        columns.entity_id.push(transition.entity_id);
        columns.entity_type.push(&transition.entity_type);
        columns.from_state.push(transition.from_state.as_deref());
        columns.to_state.push(&transition.to_state);
        columns.transition_event.push(&transition.transition_event);
        columns.transition_data.push(to_text(&transition.transition_data));
        columns.created_at.push(event.origin.at.into());
        columns.event_key.push(&event.origin.key);
    }
    if columns.id.is_empty() {
        return Ok(());
    }
    client
        .execute(
            statement,
            &[
                &columns.id,
                &columns.entity_id,
                &columns.entity_type,
                &columns.from_state,
                &columns.to_state,
                &columns.transition_event,
                &columns.transition_data,
                &columns.created_at,
                &columns.event_key,
            ],
        )
        .await?;
    Ok(())
}
