//! What may be asked about: the entities, and the fields of each. Whatever is not here cannot be
//! named by a question.

use Kind::{Integer, Json, Text, Time, Uuid};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    /// Told, but not compared.
    Json,
    Text,
    Time,
    Uuid,
}

/// Something that rows tell of.
#[derive(Debug)]
pub(super) struct Entity {
    /// The name first, then those by which it goes elsewhere.
    pub(super) names: &'static [&'static str],
    pub(super) table: &'static str,
    /// The first is the key.
    pub(super) fields: &'static [(&'static str, Kind)],
}

impl Entity {
    /// Finds one by its name, in any case.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        let known = |entity: &&Self| entity.names.iter().any(|own| own.eq_ignore_ascii_case(name));
        ALL.iter().find(known)
    }

    /// The key, which makes every order total.
    pub(super) const fn key(&self) -> &'static str {
        self.fields[0].0
    }

    /// Finds a field; the name returned is our own text.
    pub(super) fn field(&self, name: &str) -> Option<(&'static str, Kind)> {
        self.fields.iter().find(|(own, _)| *own == name).copied()
    }
}

/// Every entity.
pub(super) const ALL: &[Entity] = &[
    Entity {
        names: &["workflow_execution", "workflow_executions"],
        table: "workflow_executions",
        fields: &[
            ("id", Uuid),
            ("correlation_id", Uuid),
            ("workflow_type", Text),
            ("current_state", Text),
            ("namespace", Text),
            ("started_at", Time),
            ("completed_at", Time),
            ("execution_time_ms", Integer),
            ("error_message", Text),
            ("metadata", Json),
            ("created_at", Time),
            ("updated_at", Time),
        ],
    },
    Entity {
        names: &["workflow_step", "workflow_steps"],
        table: "workflow_steps",
        fields: &[
            ("id", Uuid),
            ("workflow_id", Uuid),
            ("step_name", Text),
            ("step_order", Integer),
            ("status", Text),
            ("execution_time_ms", Integer),
            ("step_data", Json),
            ("error_message", Text),
            ("created_at", Time),
        ],
    },
    Entity {
        names: &["metadata_stamp", "metadata_stamps"],
        table: "metadata_stamps",
        fields: &[
            ("id", Uuid),
            ("file_hash", Text),
            ("file_path", Text),
            ("file_size", Integer),
            ("content_type", Text),
            ("namespace", Text),
            ("protocol_version", Text),
            ("metadata_version", Text),
            ("stamp_data", Json),
            ("intelligence_data", Json),
            ("file_metadata", Json),
            ("version", Integer),
            ("op_id", Uuid),
            ("workflow_id", Uuid),
            ("created_at", Time),
            ("updated_at", Time),
        ],
    },
    Entity {
        names: &["fsm_transition", "fsm_transitions"],
        table: "fsm_transitions",
        fields: &[
            ("id", Uuid),
            ("entity_id", Uuid),
            ("entity_type", Text),
            ("from_state", Text),
            ("to_state", Text),
            ("transition_event", Text),
            ("transition_data", Json),
            ("created_at", Time),
        ],
    },
    Entity {
        names: &["bridge_state", "bridge_states"],
        table: "bridge_states",
        fields: &[
            ("bridge_id", Uuid),
            ("namespace", Text),
            ("total_workflows_processed", Integer),
            ("total_items_aggregated", Integer),
            ("aggregation_metadata", Json),
            ("current_fsm_state", Text),
            ("last_aggregation_timestamp", Time),
            ("created_at", Time),
            ("updated_at", Time),
        ],
    },
    Entity {
        names: &["node_registration", "node_registrations", "node_heartbeat"],
        table: "node_registrations",
        fields: &[
            ("node_id", Text),
            ("node_type", Text),
            ("node_version", Text),
            ("capabilities", Json),
            ("endpoints", Json),
            ("metadata", Json),
            ("health_status", Text),
            ("last_heartbeat", Time),
            ("registered_at", Time),
            ("updated_at", Time),
        ],
    },
];
