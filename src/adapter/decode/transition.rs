//! Transitions of state machines.

use super::Refusal;
use super::fields::{Fields, required};
use crate::model::operation::Transition;

/// One transition. The first of an entity comes from nowhere.
pub(super) fn decode(data: Fields<'_>) -> Result<Transition, Refusal> {
    Ok(Transition {
        entity_id: required("entity_id", data.uuid("entity_id")?)?,
        entity_type: data.word("entity_type", 100)?,
        from_state: data.note("from_state", 50)?,
        to_state: data.word("to_state", 50)?,
        transition_event: data.word("transition_event", 100)?,
        transition_data: data.extra("transition_data")?,
    })
}
