//! What any daemon needs and knows nothing of stamps: time, chance, tasks, signals, logs, units, secrets, HTTP,
//! metrics, which hosts are this machine, whom HTTPS trusts, where a test has it killed.

pub mod chain;
pub mod chance;
pub mod clock;
pub mod failpoint;
pub mod http;
pub mod loopback;
pub mod metrics;
pub mod notify;
pub mod port;
pub mod road;
pub mod rooted;
pub mod secret;
pub mod signal;
pub mod supervisor;
pub mod tar;
pub mod telemetry;
pub mod time;
pub mod trust;
pub mod units;
pub mod whole;
