//! The processes of a deployment, each with a home of its own, and what can be asked of them.
//!
//! As in a network of containers there are two ways to Kafka: the servers take the inner listener, and
//! the machines of developers, as anybody on the host, the outer one.

use serde_json::Value;

use super::story::Story;
use crate::agent::{Workplace, text};
use crate::bridge::{self, Bridge};
use crate::support::broker::Broker;
use crate::support::cluster::Cluster;
use crate::support::kafka::{Record, read_to_end};
use crate::support::postgres::Address;
use crate::support::process::{Agent, Home};
use crate::support::wait::wait_until;
use crate::support::web::{Reply, Web};
use crate::support::{block_on, free_port};

/// The topic that every stamp comes to.
pub const TOPIC: &str = "dev.omninode_bridge.onex.evt.metadata-stamp-created.v1";
/// What a broker of the tests gives a topic that somebody makes.
pub const PARTITIONS: i32 = 3;

/// Below it are the routes as the older service had them.
pub const PREFIX: &str = "/api/v1/metadata-stamping";

/// A developer's machine: a repo and its agent.
pub struct Machine {
    /// Before the home that it runs in: it ends first.
    pub agent: Option<Agent>,
    pub place: Workplace,
}

/// Everything that runs.
pub struct Deployment {
    pub story: Story,
    /// Delivers to PostgreSQL and Kafka, and has OnexTree.
    pub desk: Machine,
    /// Delivers through the bridge.
    pub train: Machine,
    pub adapter: Option<Agent>,
    pub bridge: Option<Bridge>,
    pub database: Address,
    pub broker: Broker,
    pub cluster: Cluster,
    servers: Home,
}

impl Deployment {
    /// Starts everything, servers first.
    pub async fn start(story: Story) -> Self {
        story.says("PostgreSQL and Apache Kafka start, each on ports of its own");
        let (cluster, broker) = (Cluster::start(), Broker::start().await);
        let database = Address { database: "omninode_bridge".to_owned(), ..cluster.admin() };
        run_sql(&cluster.admin(), "CREATE DATABASE omninode_bridge");
        let mut servers = bridge::events::home(&database, &broker.inner.to_string(), TOPIC);
        servers.set("SERVICE_PORT", &free_port().to_string());
        servers.set("DATABASE_ADAPTER_PORT", &free_port().to_string());
        // How long Kafka keeps the place of an adapter that was killed.
        servers.set("STAMPD_ADAPTER__SESSION_TIMEOUT", "6s");
        let (desk, train) = (Machine::new(), Machine::new());
        let (adapter, bridge) = (None, None);
        let mut it =
            Self { story, desk, train, adapter, bridge, database, broker, cluster, servers };
        it.start_bridge();
        it.start_adapter();
        it.start_machines();
        it
    }

    /// Starts the bridge, which makes the schema of a blank database.
    pub fn start_bridge(&mut self) {
        self.story.says("$ stampd bridge");
        let bridge = Bridge::start(&self.servers, "bridge");
        wait_until("the bridge is ready", || bridge.web.get("/health/ready").status == 200);
        self.bridge = Some(bridge);
    }

    /// Starts the adapter.
    pub fn start_adapter(&mut self) {
        self.story.says("$ stampd adapter");
        let mut process = self.servers.start_role(&["adapter"], "adapter");
        process.wait_ready();
        self.adapter = Some(process);
        self.wait_adapter();
    }

    fn start_machines(&mut self) {
        let login = Address {
            user: "desk".to_owned(),
            password: "desk".to_owned(),
            ..self.database.clone()
        };
        run_sql(&self.database, "CREATE ROLE desk LOGIN PASSWORD 'desk' IN ROLE stampd_agent");
        self.desk.place.home.set("DESK_PASSWORD", &login.password);
        self.desk.place.configure(&format!(
            "[postgres]\nurl = {:?}\npassword = {{ env = \"DESK_PASSWORD\" }}\n\
             [kafka]\nbrokers = [{:?}]\ntopic = {TOPIC:?}\n\
             [onextree]\nlisten = \"127.0.0.1:0\"\n",
            login.url_without_tls(),
            self.broker.address(),
        ));
        let token = self.servers.must(&["token", "new", "train"]);
        self.train.place.home.set("TRAIN_TOKEN", token.trim_end());
        self.train.place.configure(&format!(
            "[bridge]\nurl = \"http://{}\"\ntoken = {{ env = \"TRAIN_TOKEN\" }}\n",
            self.web().0
        ));
        self.story.says("$ stampd run      on a desk: to PostgreSQL and Kafka, with OnexTree");
        self.desk.start();
        self.story.says("$ stampd run      on a train: through the bridge, with a token");
        self.train.start();
    }

    /// The bridge's routes.
    pub fn web(&self) -> Web {
        self.bridge.as_ref().expect("the bridge runs").web
    }

    /// The adapter's.
    pub fn adapter_web(&self) -> Web {
        let port = self.servers.variable("DATABASE_ADAPTER_PORT").expect("it was set");
        Web(format!("127.0.0.1:{port}").parse().expect("an address"))
    }

    /// Waits until the adapter reaches both servers.
    pub fn wait_adapter(&self) {
        let web = self.adapter_web();
        wait_until("the adapter is ready", || web.get("/health/ready").status == 200);
    }

    /// Puts a question to the bridge, and tells of it.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        let reply = self.web().post(&format!("{PREFIX}{path}"), body);
        let message = match &reply.json()["message"] {
            Value::String(message) => message.clone(),
            other => other.to_string(),
        };
        self.story.shows(&format!("POST {path} {body}"), &format!("{} {message}", reply.status));
        reply
    }

    /// Asks the bridge, and tells of it.
    pub fn get(&self, path: &str) -> Reply {
        let reply = self.web().get(path);
        self.story.shows(&format!("GET {path}"), &format!("{} {}", reply.status, reply.body));
        reply
    }

    /// The number that a query gives.
    pub fn count(&self, sql: &str) -> i64 {
        self.database.value(sql)
    }

    /// Everything on the topic, as somebody on the host reads it.
    pub fn records(&self) -> Vec<Record> {
        read_to_end(self.broker.client(), TOPIC, PARTITIONS)
    }

    /// Waits until both machines' stamps and the bridge's events are where they belong.
    pub fn settle(&self) {
        for machine in [&self.desk, &self.train] {
            machine.place.scan();
            machine.place.home.must(&["sync", "--wait", "--timeout", "60s"]);
        }
        wait_until("the outbox is empty", || bridge::events::depth(&self.database) == 0);
    }

    /// Ends everything as a person would, machines first.
    pub fn end(mut self) {
        for machine in [&mut self.desk, &mut self.train] {
            assert!(machine.agent.take().expect("it runs").terminate().success());
        }
        assert!(self.adapter.take().expect("it runs").terminate().success());
        assert!(self.bridge.take().expect("it runs").process.terminate().success());
    }
}

impl Machine {
    fn new() -> Self {
        Self { place: Workplace::new(""), agent: None }
    }

    /// Starts its agent.
    pub fn start(&mut self) {
        self.agent = Some(self.place.home.start_ready());
    }

    /// The states of its sinks, with the reason where there is one.
    pub fn sinks(&self) -> Vec<(String, String, String)> {
        let status = self.place.status();
        let sinks = status["sinks"].as_array().cloned().unwrap_or_default();
        let told = |sink: &Value| {
            let reason = sink["reason"].as_str().unwrap_or_default().to_owned();
            (text(&sink["name"]), text(&sink["state"]), reason)
        };
        sinks.iter().map(told).collect()
    }

    /// Whether all of its sinks are in a state.
    pub fn are(&self, state: &str) -> bool {
        let sinks = self.sinks();
        !sinks.is_empty() && sinks.iter().all(|(_, found, _)| found == state)
    }
}

/// Runs SQL as whoever the address names.
pub fn run_sql(address: &Address, sql: &str) {
    let outcome = block_on(|| async { address.connect().await.batch_execute(sql).await });
    outcome.expect("the server takes the statement");
}
