//! The watch over the road to Kafka: whether it holds, and if not, on which rung it fails.
//!
//! The client only says that all brokers are down. Whenever it says so, the ladder is climbed beside
//! it, and what a person can do is told once, in one line.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::view::Side;
use super::{Parts, road};
use crate::sink::kafka;

/// How long after a failed climb the next one is due.
const AGAIN: Duration = Duration::from_secs(2);
/// How often the ladder is climbed although nobody complains.
const USUAL: Duration = Duration::from_secs(30);

/// Watches until `stop`.
pub(super) async fn run(
    config: kafka::Config,
    parts: Parts,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    loop {
        let trouble = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            trouble = road::trouble(&config) => trouble,
        };
        let wait = if trouble.is_some() { AGAIN } else { USUAL };
        tell(&parts, trouble.map(|rung| rung.text));
        let rung = async {
            if wait == AGAIN {
                // Complaints add nothing to what is known.
                tokio::time::sleep(AGAIN).await;
            } else {
                let _ = timeout(USUAL, parts.trouble.notified()).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = rung => {}
        }
    }
}

fn tell(parts: &Parts, trouble: Option<String>) {
    match trouble {
        None => {
            if parts.view.kafka(Side::Good) {
                tracing::info!("Kafka is reached");
            }
        }
        Some(why) => {
            if parts.view.kafka(Side::Bad(why.clone())) {
                tracing::warn!(why, "Kafka cannot be reached: trying on");
            }
        }
    }
}
