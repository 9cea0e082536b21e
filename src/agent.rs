//! The agent: wires watching, hashing, the spool and the sinks together.
