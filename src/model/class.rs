//! The class of a delivery error: it decides everything downstream.

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It may pass: try again with backoff, keep everything.
    Retry,
    /// It may pass with less at once: try again with half the batch.
    RetrySmaller,
    /// The data is at fault: find the one stamp by bisection and set it aside.
    Reject,
    /// A person is needed (credentials, schema, permissions, identity): say so and probe slowly.
    Park,
    /// The receiver holds another stamp under an identity of ours: a copy of this spool went on
    /// without us. Raise the alarm and go on in a new stream.
    Fork,
}
