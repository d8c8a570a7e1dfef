//! What only the machine can give: the time, chance, cores, and threads that may block. It is made once by the daemon and
//! passed in, so that a simulation brings virtual time and a seeded chance of its own.

mod time;

pub use time::UnixMillis;

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

/// The machine that everything runs on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Machine(Arc<dyn Platform>);

/// What a machine consists of. The system's own is [`Machine::system`].
pub trait Platform: Debug + Send + Sync {
    /// The wall clock.
    fn now(&self) -> UnixMillis;

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
        Self(Arc::new(platform))
    }

    /// The wall clock.
    pub fn now(&self) -> UnixMillis {
        self.0.now()
    }

    /// A number in 0..1 that nobody can foretell.
    pub fn chance(&self) -> f64 {
        self.0.chance()
    }

    /// How many cores the process may use.
    pub fn cores(&self) -> usize {
        self.0.cores()
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
        if let Err(panic) = self.0.run_blocking(Box::new(work)).await {
            crate::metric::panics(part).increment(1);
            return Err(io::Error::other(panic));
        }
        result.try_recv().unwrap_or_else(|_| Err(io::Error::other("the work was not run")))
    }
}

impl Platform for System {
    fn now(&self) -> UnixMillis {
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
