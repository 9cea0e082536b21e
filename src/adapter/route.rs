//! Topics: which are read, and what kind of event each carries.
//!
//! A topic is spelled in one of two published ways: `{environment}.{tenant}.{context}.evt.{slug}.v1`,
//! or `{environment}.{tenant with hyphens}.{domain}.{slug}.v1`. Dead letters, `*.dlq`, are spelled
//! in neither and so are never read.

/// The domains of the shorter spelling.
const DOMAINS: [&str; 5] = ["orchestrator", "reducer", "registry", "stamping", "database"];

/// What kind of event a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slug {
    /// A workflow began.
    WorkflowStarted,
    /// A workflow ended well.
    WorkflowCompleted,
    /// A workflow ended in an error.
    WorkflowFailed,
    /// A step of a workflow.
    StepCompleted,
    /// A stamp, a retired or noted one too.
    StampCreated,
    /// A state followed another.
    StateTransition,
    /// A bridge has aggregated.
    StateAggregationCompleted,
    /// A node is alive.
    NodeHeartbeat,
    /// A question about the tables.
    QueryRequested,
}

impl Slug {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::WorkflowStarted,
        Self::WorkflowCompleted,
        Self::WorkflowFailed,
        Self::StepCompleted,
        Self::StampCreated,
        Self::StateTransition,
        Self::StateAggregationCompleted,
        Self::NodeHeartbeat,
        Self::QueryRequested,
    ];

    /// Its spellings in a topic's name, the canonical one first.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::WorkflowStarted => &["workflow-started"],
            Self::WorkflowCompleted => &["workflow-completed"],
            Self::WorkflowFailed => &["workflow-failed"],
            Self::StepCompleted => &["step-completed", "workflow-step-completed"],
            Self::StampCreated => &["stamp-created", "metadata-stamp-created"],
            Self::StateTransition => &["state-transition", "workflow-state-transition"],
            Self::StateAggregationCompleted => &["state-aggregation-completed"],
            Self::NodeHeartbeat => &["node-heartbeat"],
            Self::QueryRequested => &["query-requested"],
        }
    }

    /// The canonical spelling.
    pub const fn as_str(self) -> &'static str {
        self.names()[0]
    }

    /// The words that an event of this kind may have as its type though no topic is called so.
    const fn types(self) -> &'static [&'static str] {
        match self {
            Self::StampCreated => &["stamp-retired", "stamp-noted"],
            Self::StepCompleted
            | Self::WorkflowStarted
            | Self::WorkflowCompleted
            | Self::WorkflowFailed
            | Self::StateTransition
            | Self::StateAggregationCompleted
            | Self::NodeHeartbeat
            | Self::QueryRequested => &[],
        }
    }

    /// The kind that a topic's name has as its slug.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slug| slug.names().contains(&name))
    }

    /// The kind that an event's type means, however it is spelled: `WORKFLOW_STARTED`,
    /// `WorkflowStarted`, `workflow.started`. None for a type that is nobody's.
    pub fn of_type(event_type: &str) -> Option<Self> {
        let letters = |text: &str| -> String {
            text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
        };
        let wanted = letters(event_type);
        Self::ALL.into_iter().find(|slug| {
            let mut words = slug.names().iter().chain(slug.types());
            words.any(|word| letters(word) == wanted)
        })
    }
}

/// The topics of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    environment: String,
    tenant: String,
    context: String,
}

impl Topics {
    /// The topics of a tenant and context in an environment, each one segment of a topic's name.
    pub fn new(environment: &str, tenant: &str, context: &str) -> Self {
        Self {
            environment: environment.to_owned(),
            tenant: tenant.to_owned(),
            context: context.to_owned(),
        }
    }

    /// The topics of the installation that this one belongs to, in the longer spelling.
    pub fn beside(topic: &str) -> Option<Self> {
        let mut words = topic.split('.');
        let (environment, tenant) = (words.next()?, words.next()?);
        let (context, kind) = (words.next()?, words.next()?);
        let legal = kind == "evt" && ![environment, tenant, context].contains(&"");
        legal.then(|| Self::new(environment, tenant, context))
    }

    /// The environment, which stands in events too.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The topic of a name, in the longer spelling.
    pub fn of(&self, name: &str) -> String {
        format!("{}.{}.{}.evt.{name}.v1", self.environment, self.tenant, self.context)
    }

    /// What a topic carries; none for a topic that is not ours to read.
    pub fn slug(&self, topic: &str) -> Option<Slug> {
        let rest = topic.strip_prefix(&self.environment)?.strip_prefix('.')?;
        let rest = rest.strip_suffix(".v1")?;
        if let Some(rest) = self.after_long(rest) {
            return Slug::named(rest);
        }
        let rest = rest.strip_prefix(&self.hyphened())?.strip_prefix('.')?;
        let (domain, name) = rest.split_once('.')?;
        DOMAINS.contains(&domain).then(|| Slug::named(name)).flatten()
    }

    fn after_long<'t>(&self, rest: &'t str) -> Option<&'t str> {
        let rest = rest.strip_prefix(&self.tenant)?.strip_prefix('.')?;
        rest.strip_prefix(&self.context)?.strip_prefix(".evt.")
    }

    fn hyphened(&self) -> String {
        self.tenant.replace('_', "-")
    }

    /// The subscription: an extended regular expression that matches exactly the topics with a
    /// slug, also those that do not exist yet.
    pub fn pattern(&self) -> String {
        let names: Vec<&str> = Slug::ALL.iter().flat_map(|slug| slug.names()).copied().collect();
        format!(
            "^{}\\.({}\\.{}\\.evt|{}\\.({}))\\.({})\\.v1$",
            escape(&self.environment),
            escape(&self.tenant),
            escape(&self.context),
            escape(&self.hyphened()),
            DOMAINS.join("|"),
            names.join("|"),
        )
    }
}

/// A name as a regular expression for itself. A topic's name has no other mark than these.
fn escape(name: &str) -> String {
    name.replace('.', "\\.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::new("dev", "omninode_bridge", "onex")
    }

    #[test]
    fn both_spellings_of_every_name_are_known() {
        let named = |slug: Slug| slug.names().iter().map(move |name| (slug, name));
        for (slug, name) in Slug::ALL.into_iter().flat_map(named) {
            let long = format!("dev.omninode_bridge.onex.evt.{name}.v1");
            let short = |domain| format!("dev.omninode-bridge.{domain}.{name}.v1");
            for topic in DOMAINS.map(short).into_iter().chain([long]) {
                assert_eq!(topics().slug(&topic), Some(slug), "{topic}");
            }
        }
    }

    #[test]
    fn dead_letters_and_topics_of_others_have_no_slug() {
        for topic in [
            "",
            "dev",
            "dev.omninode_bridge.onex.evt.workflow-started.v1.dlq",
            "dev.omninode-bridge.orchestrator.workflow-started.v1.dlq",
            "dev.omninode_bridge.onex.evt.workflow-started.v2",
            "dev.omninode_bridge.onex.evt.workflow-started",
            "dev.omninode_bridge.onex.evt.query-completed.v1",
            "dev.omninode_bridge.onex.cmd.workflow-started.v1",
            "dev.omninode-bridge.onex.evt.workflow-started.v1",
            "dev.omninode_bridge.orchestrator.workflow-started.v1",
            "dev.omninode-bridge.elsewhere.workflow-started.v1",
            "devs.omninode_bridge.onex.evt.workflow-started.v1",
            "prod.omninode_bridge.onex.evt.workflow-started.v1",
        ] {
            assert_eq!(topics().slug(topic), None, "{topic}");
        }
    }

    #[test]
    fn the_pattern_names_every_topic_and_is_closed_at_both_ends() {
        let pattern = Topics::new("a.b", "omninode_bridge", "onex").pattern();
        assert!(pattern.starts_with("^a\\.b\\.(omninode_bridge\\.onex\\.evt|omninode-bridge\\."));
        assert!(pattern.ends_with("\\.v1$"));
        for name in Slug::ALL.iter().flat_map(|slug| slug.names()) {
            assert!(pattern.contains(name), "{name}");
        }
    }

    #[test]
    fn a_type_is_known_in_every_spelling() {
        for text in ["WORKFLOW_STARTED", "WorkflowStarted", "workflow.started", "workflow-started"]
        {
            assert_eq!(Slug::of_type(text), Some(Slug::WorkflowStarted), "{text}");
        }
        for text in ["STAMP_CREATED", "STAMP_RETIRED", "STAMP_NOTED", "metadata-stamp-created"] {
            assert_eq!(Slug::of_type(text), Some(Slug::StampCreated), "{text}");
        }
        assert_eq!(Slug::of_type("com.example.thing"), None);
    }
}
