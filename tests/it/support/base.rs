//! The test bed's variables, names and a runtime for code that has none.

/// A variable that the test bed sets.
///
/// # Panics
/// When it is missing, saying how to get it.
#[expect(clippy::disallowed_methods, reason = "the test bed speaks through the environment")]
pub fn bed(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run the tests with `make test`, or start `make servers` first")
    })
}

/// A name that nobody else uses: `prefix` and 32 random hexadecimal digits.
pub fn random_name(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}

/// Runs a future to its end on a thread and a runtime of its own, so that `Drop` may use it, also
/// inside another runtime.
pub fn block_on<F: Future>(work: impl FnOnce() -> F + Send) -> F::Output
where
    F::Output: Send,
{
    let on_a_runtime = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(work())
    };
    std::thread::scope(|scope| scope.spawn(on_a_runtime).join()).expect("the work does not panic")
}
