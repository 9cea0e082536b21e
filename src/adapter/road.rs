//! The ladder to Kafka: name, connection, TLS, login, who it is, and whether the addresses by which
//! its brokers want to be called lead anywhere from here.
//!
//! The last is what a client stumbles over most: the address it was given answers, and then sends
//! it elsewhere.

use crate::model::rung::{Height, Rung, Step};
use crate::sink::Endpoint;
use crate::sink::kafka::{self, Cluster, Config};
use crate::sync::probe;

/// Climbs until a rung does not hold, and tells every rung.
pub async fn climb(config: &Config) -> Vec<Step> {
    let mut steps = to_a_broker(&kafka::brokers(config)).await;
    if steps.iter().any(|step| step.found.is_err()) {
        return steps;
    }
    match kafka::inspect(config).await {
        Err(rung) => steps.push(rung.into()),
        Ok(cluster) => {
            steps.extend(cluster.version.clone().map(|age| Step::holds(Height::Version, age)));
            steps.push(Step::holds(Height::Login, login(config)));
            steps.push(Step::holds(Height::Identity, format!("the cluster {}", cluster.id)));
            steps.push(listeners(&cluster).await);
        }
    }
    steps
}

/// The rung that does not hold, if one does not.
pub async fn trouble(config: &Config) -> Option<Rung> {
    climb(config).await.into_iter().find_map(|step| step.found.err())
}

/// Climbs to the first broker that holds; when none does, the way that led furthest is told.
async fn to_a_broker(brokers: &[Endpoint]) -> Vec<Step> {
    let mut furthest = Vec::new();
    for broker in brokers {
        let steps = probe::steps(broker).await;
        if steps.iter().all(|step| step.found.is_ok()) {
            return steps;
        }
        if steps.len() > furthest.len() {
            furthest = steps;
        }
    }
    furthest
}

fn login(config: &Config) -> String {
    match &config.username {
        Some(name) => format!("as {name}"),
        None => "without a name: [kafka] security asks for none".to_owned(),
    }
}

/// Whether every broker can be reached at the address by which it wants to be called.
async fn listeners(cluster: &Cluster) -> Step {
    for (number, endpoint) in &cluster.brokers {
        if let Err(rung) = probe::climb(std::slice::from_ref(endpoint)).await {
            let text = format!(
                "broker {number} is reached and says to go on at {endpoint}, which does not work \
                 from here ({}): mend advertised.listeners on the broker, or name it in this \
                 machine's hosts",
                rung.text
            );
            return Rung { height: Height::Listener, text, class: rung.class }.into();
        }
    }
    let names: Vec<String> = cluster.brokers.iter().map(|(_, at)| at.to_string()).collect();
    Step::holds(Height::Listener, names.join(", "))
}
