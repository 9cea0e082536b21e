//! The deployed system, as `packaging/compose.yaml` starts it: PostgreSQL, Kafka, a bridge, an adapter
//! and the agents of two machines, one of them with OnexTree, each a process.
//!
//! The scenarios are those that the original system was proved by, and the three that it could not
//! pass. They are played in order on one deployment, as a team would meet them, and told meanwhile:
//! `make demo` shows that slowly.

mod deployment;
mod scenarios;
mod story;
mod trouble;

use self::deployment::Deployment;
use self::story::Story;
use self::{scenarios as plain, trouble as hard};

/// What is told of a scenario, and how it is played.
type Scenario = (&'static str, fn(&mut Deployment));

const SCENARIOS: [Scenario; 17] = [
    ("Service health: everything that runs says so", plain::service_health),
    ("Single file: a content is stamped", plain::single_file),
    ("Batch: several at once, each with an answer of its own", plain::batch),
    ("Idempotency: the same again is the same stamp", plain::idempotency),
    ("File types: a stamp fits into each", plain::file_types),
    ("Validation: an altered text is found out", plain::validation),
    ("Large file: five megabytes over HTTP, forty on a machine", plain::large_file),
    ("Invalid namespace: refused, with the reason", plain::invalid_namespace),
    ("Empty content: refused as a request, stamped as a file", plain::empty_content),
    ("Ten files: saved on both machines", plain::ten_files),
    ("Concurrency: twenty callers at once", plain::concurrency),
    ("Kafka: an event, seen from the host", plain::kafka_event),
    ("Adapter: what is on Kafka comes to the database", plain::persistence),
    ("Broken schema: a table that another program left", hard::broken_schema),
    ("The outage: neither PostgreSQL nor Kafka", hard::outage),
    ("The crash: everything is killed in the middle of work", hard::crash),
    ("The audit: nothing is missing, nothing is doubled, nothing was altered", hard::audit),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_holds_one_after_the_other() {
    let mut story = Story::begin();
    story.chapter("The deployment");
    let mut deployment = Deployment::start(story).await;
    for (title, play) in SCENARIOS {
        deployment.story.chapter(title);
        play(&mut deployment);
    }
    deployment.story.chapter("Everything is told to stop, and does");
    deployment.end();
}
