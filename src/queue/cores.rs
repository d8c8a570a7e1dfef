//! The cores that payloads are built on, and whether building keeps up.
//!
//! Taking items is several times cheaper than compressing them, so a fast emitter would fill the queue's memory with
//! items that only wait for a core, and then be refused. Instead its requests wait a little: as long as more payloads
//! wait for a core than there are cores, a wait costs no throughput, and the emitter goes exactly as fast as the
//! machine. A tenant whose telemetry Datadog does not take builds nothing, so it makes nobody wait.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How long a request is made to wait at most; then the queue's memory alone decides. Well below the time-outs of
/// Datadog's clients, of which the shortest is two seconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// The right to compute on so many cores at once.
#[derive(Debug)]
pub struct Cores {
    count: usize,
    free: Semaphore,
    waiting: AtomicUsize,
    eased: Notify,
}

/// The right to compute on a core.
pub type Core<'a> = SemaphorePermit<'a>;

/// One that waits for a core.
struct Waiting<'a>(&'a Cores);

impl Cores {
    /// So many cores.
    pub fn new(count: usize) -> Self {
        let count = count.max(1);
        Self { count, free: Semaphore::new(count), waiting: AtomicUsize::new(0), eased: Notify::new() }
    }

    /// Waits for a core, first come first served. None is given once the daemon ends.
    pub async fn acquire(&self) -> Option<Core<'_>> {
        let _waiting = Waiting::new(self);
        self.free.acquire().await.ok()
    }

    /// Waits until building keeps up with what has been taken, or until it has taken too long to wait for.
    pub async fn eased(&self) {
        if !self.is_behind() {
            return;
        }
        let wait = async {
            loop {
                let mut eased = pin!(self.eased.notified());
                // From here on no easing is missed.
                eased.as_mut().enable();
                if !self.is_behind() {
                    return;
                }
                eased.await;
            }
        };
        // It is not an error to lose patience: what happens then is the queue's affair.
        let _ = timeout(PATIENCE, wait).await;
    }

    fn is_behind(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > self.count
    }
}

impl<'a> Waiting<'a> {
    fn new(cores: &'a Cores) -> Self {
        cores.waiting.fetch_add(1, Ordering::AcqRel);
        Self(cores)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::AcqRel) == self.0.count + 1 {
            self.0.eased.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::time::Instant;

    /// Builders that wait for one of `cores`, all of which are taken.
    async fn builders(cores: &Arc<Cores>, count: usize) -> Vec<tokio::task::JoinHandle<()>> {
        let build = |cores: Arc<Cores>| async move { drop(cores.acquire().await) };
        let builders = (0..count).map(|_| tokio::spawn(build(cores.clone()))).collect();
        tokio::task::yield_now().await;
        builders
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_while_no_more_payloads_wait_than_there_are_cores() {
        let cores = Arc::new(Cores::new(2));
        let _taken = (cores.acquire().await, cores.acquire().await);
        let _builders = builders(&cores, 2).await;
        let start = Instant::now();
        cores.eased().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_until_building_keeps_up() {
        let cores = Arc::new(Cores::new(2));
        let taken = (cores.acquire().await, cores.acquire().await);
        let _builders = builders(&cores, 3).await;
        let start = Instant::now();
        let waits = tokio::spawn({
            let cores = cores.clone();
            async move { cores.eased().await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waits.is_finished());
        drop(taken);
        waits.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_does_not_wait_for_ever() {
        let cores = Arc::new(Cores::new(1));
        let _taken = cores.acquire().await;
        let builders = builders(&cores, 2).await;
        let start = Instant::now();
        cores.eased().await;
        assert_eq!(start.elapsed(), PATIENCE);
        builders.iter().for_each(tokio::task::JoinHandle::abort);
        tokio::task::yield_now().await;
        assert!(!cores.is_behind(), "a builder that gave up no longer waits");
    }
}
