//! How much the client library may hold for us: its settings, from `[adapter] fetch_bytes_max`.
//!
//! Pure. The library counts what it has queued by the bytes of the records, and asks for more until
//! that is enough. What then arrives is compressed, and is unfolded whole: a response as large as the
//! library would ask for by itself became half a gigabyte. So one half is for the queue, and the
//! other for one response as it unfolds.

use rdkafka::config::ClientConfig;

/// How many times larger a response becomes, at most, once it is unfolded: events that are alike are
/// some twenty times smaller on their way, and what the library adds to each is more than a short one.
const GROWTH: u64 = 64;

/// What the library adds to each record, and a short record.
const RECORD_BYTES: u64 = 1 << 10;

/// Bytes of a response, at least: so that each is worth its round trip. Of one partition the broker
/// gives one batch of records whatever it is asked for.
const RESPONSE_BYTES_MIN: u64 = 64 << 10;

/// Bytes of a response, at most: what the library would ask for by itself.
const RESPONSE_BYTES_MAX: u64 = 50 << 20;

/// How soon the library asks for more once there is room. Its own second would leave us without
/// records, since what it holds is written in less.
const ASK_AGAIN_MS: u64 = 20;

/// How much the client library may hold for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// It asks for no more while it has as many records.
    records: u64,
    /// It asks for no more while these have as many bytes.
    queue_kib: u64,
    /// Bytes of a response, before they are unfolded.
    response_bytes: u64,
}

impl Room {
    /// Divides what may be held.
    pub(super) fn of(fetch_bytes_max: u64) -> Self {
        let half = fetch_bytes_max / 2;
        Self {
            records: (half / RECORD_BYTES).clamp(1, 10_000_000),
            queue_kib: (half / 1024).clamp(1, 2_000_000),
            response_bytes: (half / GROWTH).clamp(RESPONSE_BYTES_MIN, RESPONSE_BYTES_MAX),
        }
    }

    /// Tells the client library.
    pub(super) fn set(self, settings: &mut ClientConfig) {
        let Self { records, queue_kib, response_bytes } = self;
        // It refuses responses that are smaller than the largest record that it might itself send.
        for name in ["fetch.max.bytes", "fetch.message.max.bytes", "message.max.bytes"] {
            settings.set(name, response_bytes.to_string());
        }
        settings
            .set("queued.min.messages", records.to_string())
            .set("queued.max.messages.kbytes", queue_kib.to_string())
            .set("fetch.queue.backoff.ms", ASK_AGAIN_MS.to_string());
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::*;

    #[test]
    fn the_queue_and_an_unfolded_response_fit_into_what_may_be_held() {
        for fetch_bytes_max in [8 << 20, 64 << 20, 1 << 30] {
            let room = Room::of(fetch_bytes_max);
            let queue = (room.queue_kib * 1024).max(room.records * RECORD_BYTES);
            let held = queue + room.response_bytes * GROWTH;
            assert!(held <= fetch_bytes_max, "{held} of {fetch_bytes_max}");
            assert!(held >= fetch_bytes_max / 10 * 9, "{held} of {fetch_bytes_max}");
        }
    }

    #[test]
    fn the_library_takes_its_settings_however_much_may_be_held() {
        for fetch_bytes_max in [0, 1, 64 << 20, u64::MAX] {
            let mut settings = ClientConfig::new();
            Room::of(fetch_bytes_max).set(&mut settings);
            let created: Result<BaseConsumer, _> = settings.set("group.id", "g").create();
            assert!(created.is_ok(), "{fetch_bytes_max}: {:?}", created.err());
        }
    }
}
