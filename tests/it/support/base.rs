//! The test bed's variables, names, ports and a runtime for code that has none.

use std::net::TcpListener;

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

/// A port of this machine that is free, below the range that the kernel hands to clients, so that none
/// of those takes it before whoever is to listen there does, or while that restarts.
pub fn free_port() -> u16 {
    const LOWEST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let random = || LOWEST + (uuid::Uuid::new_v4().as_u128() % u128::from(COUNT)) as u16;
    let mut tried = std::iter::repeat_with(random).take(200);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    tried.find(is_free).expect("one of many ports is free")
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
