//! What only the machine can give: the time, chance, cores, and threads that may block. It is made once by the daemon and
//! passed in, so that a simulation brings virtual time and a seeded chance of its own.

mod clock;
pub(crate) mod metrics;
mod time;

pub use time::UnixMillis;

use clock::Clock;

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// The machine that everything runs on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Machine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    platform: Box<dyn Platform>,
    start: (UnixMillis, Instant),
    clock: Mutex<Clock>,
}

/// What a machine consists of. The system's own is [`Machine::system`].
pub trait Platform: Debug + Send + Sync {
    /// The wall clock.
    fn wall_clock(&self) -> UnixMillis;

    /// A number in 0..1 that nobody can foretell.
    fn chance(&self) -> f64;

    /// How many cores the process may use.
    fn cores(&self) -> usize;

    /// Runs work that blocks or computes where it holds up no other task. An error is the message of its panic.
    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> Blocking<'_>;
}

/// The end of work that blocks.
pub type Blocking<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

#[derive(Debug)]
struct System;

impl Machine {
    /// The machine of this process.
    pub fn system() -> Self {
        Self::new(System)
    }

    /// A machine of another platform.
    pub fn new(platform: impl Platform + 'static) -> Self {
        let start = (platform.wall_clock(), Instant::now());
        let clock = Mutex::new(Clock::new(start.0, start.1));
        Self(Arc::new(Inner { platform: Box::new(platform), start, clock }))
    }

    /// The time. A step of the wall clock does not change it; Datadog's own clock corrects it.
    pub fn now(&self) -> UnixMillis {
        self.clock().now(self.0.platform.wall_clock(), Instant::now())
    }

    /// Learns the time of an answer of Datadog's.
    pub fn learn_time(&self, date: UnixMillis) {
        let wall = self.0.platform.wall_clock();
        let mut clock = self.clock();
        if clock.learn(date, Instant::now()) {
            drop(clock);
            let seconds = (wall.0 - date.0) / 1000;
            warn!(
                seconds,
                "the clock of this host is wrong by Datadog's, by so many seconds: Datadog's is gone by; set it right"
            );
        }
    }

    /// Whether times up to that age are known to be of a right clock: only then may they be reason to drop something.
    pub fn knows_time(&self, age: Duration) -> bool {
        self.clock().knows(age, Instant::now())
    }

    /// Looks whether the wall clock has stepped, and says so once. To be called every second or so.
    pub fn watch_clock(&self) {
        let (wall, now) = (self.0.platform.wall_clock(), Instant::now());
        let mut clock = self.clock();
        let (step, error) = (clock.step(self.0.start, wall, now), clock.error(wall, now));
        drop(clock);
        metrics::CLOCK_ERROR.handle().set(error as f64 / 1000.0);
        let steps = metrics::CLOCK_STEPS.handle();
        if let Some(step) = step {
            steps.increment(1);
            warn!(
                seconds = step / 1000,
                "the clock of this host was set by so many seconds; nothing is dropped for that"
            );
        }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.0.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number in 0..1 that nobody can foretell.
    pub fn chance(&self) -> f64 {
        self.0.platform.chance()
    }

    /// How many cores the process may use.
    pub fn cores(&self) -> usize {
        self.0.platform.cores()
    }

    /// Runs work on the blocking pool. A panic is counted under `part`.
    ///
    /// # Errors
    /// The work's own, or that it panicked.
    pub async fn on_blocking_pool<T: Send + 'static>(
        &self,
        part: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (done, result) = std::sync::mpsc::sync_channel(1);
        let work = move || {
            // The receiver is gone when nobody waits for the result any more.
            let _ = done.send(work());
        };
        if let Err(panic) = self.0.platform.run_blocking(Box::new(work)).await {
            crate::metric::panics(part).increment(1);
            return Err(io::Error::other(panic));
        }
        result.try_recv().unwrap_or_else(|_| Err(io::Error::other("the work was not run")))
    }
}

impl Platform for System {
    fn wall_clock(&self) -> UnixMillis {
        UnixMillis::now()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    fn chance(&self) -> f64 {
        rand::random()
    }

    fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(2, usize::from)
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> Blocking<'_> {
        let running = tokio::task::spawn_blocking(work);
        Box::pin(async {
            match running.await {
                Err(error) if error.is_panic() => Err(error.to_string()),
                _ => Ok(()),
            }
        })
    }
}
