//! What an event asks to be done to the tables of workflows, steps, transitions, bridges and nodes,
//! and to the record.
//!
//! Holds data only, within the limits of its columns. `adapter::decode` makes it from what came
//! over Kafka; `store::operations` says what each does to the rows.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::batch::Entry;
use super::digest::Digest;
use super::namespace::Namespace;
use super::stream::StreamId;
use crate::runtime::time::Timestamp;

/// Which event an operation came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// When it happened, as its sender says, else when it was sent.
    pub at: Timestamp,
    /// Its identity: an operation that has an effect once has it once per key.
    pub key: String,
}

impl Origin {
    /// A text that sorts as origins do: of two events about one row the greater is the newer,
    /// whichever arrives first.
    pub fn order(&self) -> String {
        format!("{} {}", self.at, self.key)
    }
}

/// An event, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Which event it is.
    pub origin: Origin,
    /// What the event belongs to, for logs and replies.
    pub correlation_id: Option<String>,
    /// What it asks for.
    pub operation: Operation,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// A workflow began.
    Started(Started),
    /// A workflow ended, well or not.
    Finished(Finished),
    /// A step of a workflow.
    Step(Step),
    /// A content, without a position in a stream.
    Content(Box<Content>),
    /// A position of a stream.
    Position(Position),
    /// Something went from a state to another.
    Transition(Transition),
    /// What a bridge has aggregated since its last word.
    Bridge(Bridge),
    /// A node is alive.
    Heartbeat(Heartbeat),
    /// A question, which changes nothing.
    Query(Query),
}

/// A workflow began.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// Names the workflow.
    pub correlation_id: Uuid,
    /// What kind of workflow.
    pub workflow_type: String,
    /// In the sender's spelling.
    pub current_state: String,
    /// The tenant.
    pub namespace: String,
    /// When, where it is said.
    pub started_at: Option<Timestamp>,
    /// Whatever was sent along.
    pub metadata: Map<String, Value>,
}

/// A workflow ended, well or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Names the workflow.
    pub correlation_id: Uuid,
    /// In the sender's spelling.
    pub current_state: String,
    /// What kind of workflow, where it is said.
    pub workflow_type: Option<String>,
    /// The tenant, where it is said.
    pub namespace: Option<String>,
    /// When, where it is said.
    pub completed_at: Option<Timestamp>,
    /// How long it took.
    pub execution_time_ms: Option<i64>,
    /// What went wrong.
    pub error_message: Option<String>,
    /// Whatever was sent along.
    pub metadata: Map<String, Value>,
}

/// A step of a workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The id or the correlation id of the workflow.
    pub workflow: Uuid,
    /// The step's name.
    pub step_name: String,
    /// Its place among the others.
    pub step_order: i32,
    /// In the sender's spelling.
    pub status: String,
    /// How long it took.
    pub execution_time_ms: Option<i64>,
    /// Whatever was sent along.
    pub step_data: Map<String, Value>,
    /// What went wrong.
    pub error_message: Option<String>,
}

/// A content as a sender without streams tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// The tenant.
    pub namespace: Namespace,
    /// The sender's word for what the content is.
    pub file_hash: Digest,
    /// Where it is.
    pub file_path: Option<String>,
    /// In bytes.
    pub file_size: Option<i64>,
    /// Media type.
    pub content_type: Option<String>,
    /// Of the stamp protocol.
    pub protocol_version: String,
    /// Of the metadata's layout.
    pub metadata_version: String,
    /// The sender's version of the content.
    pub version: i32,
    /// The sender's operation.
    pub op_id: Option<Uuid>,
    /// The workflow it came from.
    pub workflow_id: Option<Uuid>,
    /// The stamp.
    pub stamp_data: Map<String, Value>,
    /// What an intelligence service said.
    pub intelligence_data: Map<String, Value>,
    /// When it was stamped, where it is said.
    pub created_at: Option<Timestamp>,
}

/// A position of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The stream.
    pub stream: StreamId,
    /// The place in it.
    pub seq: u64,
    /// What is there.
    pub entry: Entry,
}

/// Something went from a state to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// What changed.
    pub entity_id: Uuid,
    /// What kind of thing it is.
    pub entity_type: String,
    /// None for the first state.
    pub from_state: Option<String>,
    /// In the sender's spelling.
    pub to_state: String,
    /// What made it change.
    pub transition_event: String,
    /// Whatever was sent along.
    pub transition_data: Map<String, Value>,
}

/// What a bridge has aggregated since its last word.
#[derive(Clone, Debug, PartialEq)]
pub struct Bridge {
    /// Names the bridge.
    pub bridge_id: Uuid,
    /// The tenant.
    pub namespace: String,
    /// To be added.
    pub total_workflows_processed: i64,
    /// To be added.
    pub total_items_aggregated: i64,
    /// In the sender's spelling.
    pub current_fsm_state: String,
    /// Whatever was sent along.
    pub aggregation_metadata: Map<String, Value>,
    /// When, where it is said.
    pub last_aggregation_timestamp: Option<Timestamp>,
}

/// A node is alive.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// Names the node.
    pub node_id: String,
    /// In the sender's spelling.
    pub health_status: String,
    /// What kind of node, where it is said.
    pub node_type: Option<String>,
    /// Its version, where it is said.
    pub node_version: Option<String>,
    /// What it can do, where it is said.
    pub capabilities: Option<Map<String, Value>>,
    /// Where it listens, where it is said.
    pub endpoints: Option<Map<String, Value>>,
    /// When the node spoke, where it is said.
    pub last_heartbeat: Option<Timestamp>,
    /// Whatever was sent along.
    pub metadata: Map<String, Value>,
}

/// A question about the tables. Its words are checked against the allowed ones by whoever answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What is asked about.
    pub entity_type: String,
    /// Field, or field and operator, with the value to compare with.
    pub filters: Map<String, Value>,
    /// The field to sort by.
    pub sort_by: Option<String>,
    /// `asc` or `desc`.
    pub sort_order: Option<String>,
    /// Rows at most.
    pub limit: u32,
    /// Rows to skip.
    pub offset: u32,
}
