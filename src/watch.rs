//! Watching: arm directories, decode events into a bounded set of hints, filter by ignore rules.
