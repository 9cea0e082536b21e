//! Errors with their causes, for whoever shows one where there is no `anyhow`.

/// An error and its causes on one line. Some errors end with their causes already: those are not
/// said again.
pub fn chain(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    match error.source().map(chain) {
        Some(causes) if !text.ends_with(&causes) => format!("{text}: {causes}"),
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open the spool")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_the_error() {
        let error = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "open the spool: disk on fire");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("use Postgres: {}", chain(.0))]
    struct Telling(#[source] Outer);

    #[test]
    fn causes_that_were_told_are_not_told_again() {
        let error = Telling(Outer(std::io::Error::other("disk on fire")));
        assert_eq!(chain(&error), "use Postgres: open the spool: disk on fire");
    }
}
