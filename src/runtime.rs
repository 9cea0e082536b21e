//! What any daemon needs and knows nothing of stamps: time, tasks, signals, logs, units, secrets.

pub mod clock;
pub mod time;
