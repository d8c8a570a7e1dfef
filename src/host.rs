//! What only the machine can give: chance, cores, and threads on which to block. Apart, because the simulation's tests put
//! virtual time and a seeded chance in their place; see `src/simulation`.

use std::io;

/// A number in 0..1 that nobody can foretell.
pub fn chance() -> f64 {
    #[cfg(test)]
    if let Some(chance) = crate::simulation::host::chance() {
        return chance;
    }
    rand::random()
}

/// How many cores the process may use.
pub fn cores() -> usize {
    #[cfg(test)]
    if crate::simulation::host::is_simulated() {
        return 2;
    }
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Runs work that blocks or computes on a thread where that hinders nobody. `part` is whose panics are counted.
///
/// # Errors
/// The work's own, or that it panicked.
pub async fn aside<T: Send + 'static>(
    part: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    #[cfg(test)]
    if crate::simulation::host::is_simulated() {
        crate::simulation::host::pass_time(std::time::Duration::from_millis(20)).await;
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        if error.is_panic() {
            crate::metric::panics(part).increment(1);
        }
        Err(io::Error::other(error))
    })
}
