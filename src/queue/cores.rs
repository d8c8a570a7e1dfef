//! The cores that payloads are built on, and whether building keeps up.
//!
//! Accepting items is several times cheaper than compressing them, so a fast emitter would fill the queue's memory with
//! items that only wait for a core, and then be refused. Instead its requests wait a little: as long as more payloads
//! wait for a core than there are cores, waiting costs no throughput, and the emitter runs exactly as fast as the
//! machine. A tenant whose telemetry Datadog does not take builds nothing, so it holds up nobody.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// The longest that a request is made to wait; after that the queue's memory alone decides. Well below the time-outs of
/// Datadog's clients, of which the shortest is two seconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// Limits how many cores build payloads at once.
#[derive(Debug)]
pub struct Cores {
    count: usize,
    free: Semaphore,
    waiting: AtomicUsize,
    freed: Notify,
}

/// A core to build a payload on, until it is dropped.
pub type Core<'a> = SemaphorePermit<'a>;

struct Waiting<'a>(&'a Cores);

impl Cores {
    /// `count` cores, at least one.
    pub fn new(count: usize) -> Self {
        let count = count.max(1);
        Self { count, free: Semaphore::new(count), waiting: AtomicUsize::new(0), freed: Notify::new() }
    }

    /// Waits for a core, first come, first served. None once the daemon ends.
    pub async fn acquire(&self) -> Option<Core<'_>> {
        let _waiting = Waiting::new(self);
        self.free.acquire().await.ok()
    }

    /// Waits until building keeps up with accepting, but half a second at most.
    pub async fn wait_for_capacity(&self) {
        if !self.is_behind() {
            return;
        }
        let wait = async {
            loop {
                let mut freed = pin!(self.freed.notified());
                // From here on no notification is missed.
                freed.as_mut().enable();
                if !self.is_behind() {
                    return;
                }
                freed.await;
            }
        };
        // Running out of patience is no error: the queue decides then.
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
            self.0.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::time::Instant;

    /// Tasks that wait for one of `cores`, all of which are taken.
    async fn builders(cores: &Arc<Cores>, count: usize) -> Vec<tokio::task::JoinHandle<()>> {
        let build = |cores: Arc<Cores>| async move { drop(cores.acquire().await) };
        let builders = (0..count).map(|_| tokio::spawn(build(cores.clone()))).collect();
        tokio::task::yield_now().await;
        builders
    }

    #[tokio::test(start_paused = true)]
    async fn requests_pass_while_cores_keep_up() {
        let cores = Arc::new(Cores::new(2));
        let _taken = (cores.acquire().await, cores.acquire().await);
        let _builders = builders(&cores, 2).await;
        let start = Instant::now();
        cores.wait_for_capacity().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_while_cores_are_behind() {
        let cores = Arc::new(Cores::new(2));
        let taken = (cores.acquire().await, cores.acquire().await);
        let _builders = builders(&cores, 3).await;
        let start = Instant::now();
        let waits = tokio::spawn({
            let cores = cores.clone();
            async move { cores.wait_for_capacity().await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waits.is_finished());
        drop(taken);
        waits.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_half_a_second_at_most() {
        let cores = Arc::new(Cores::new(1));
        let _taken = cores.acquire().await;
        let builders = builders(&cores, 2).await;
        let start = Instant::now();
        cores.wait_for_capacity().await;
        assert_eq!(start.elapsed(), PATIENCE);
        builders.iter().for_each(tokio::task::JoinHandle::abort);
        tokio::task::yield_now().await;
        assert!(!cores.is_behind(), "a builder that gave up no longer waits");
    }
}
