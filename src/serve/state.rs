//! What is known of a connection: who it is with, and what goes on.

use super::stream::{Peer, Stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The connection that a request came over.
#[derive(Debug, Clone)]
pub struct Connection(Arc<State>);

impl Connection {
    pub(super) fn of(state: Arc<State>) -> Self {
        Self(state)
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.0.peer
    }

    /// Notes that its peer has shown a token: it keeps its place before others.
    pub fn trust(&self) {
        self.0.trusted.store(true, Ordering::Relaxed);
    }

    /// Resets the connection at once: nothing more is answered on it.
    pub fn abort(&self) {
        self.0.aborted.store(true, Ordering::Relaxed);
        self.0.end.notify_one();
    }
}

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct State {
    peer: Peer,
    start: Instant,
    in_flight: AtomicU32,
    /// Milliseconds after `start`.
    last_end: AtomicU64,
    /// Milliseconds after `start`, and one; 0 while the peer reads what is written.
    blocked_since: AtomicU64,
    trusted: AtomicBool,
    dismissed: AtomicBool,
    aborted: AtomicBool,
    /// Tells the connection to end.
    end: Notify,
}

impl State {
    pub(super) fn new(stream: &Stream) -> Self {
        Self {
            peer: Peer::of(stream),
            start: Instant::now(),
            in_flight: AtomicU32::new(0),
            last_end: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            trusted: AtomicBool::new(false),
            dismissed: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            end: Notify::new(),
        }
    }

    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }

    pub(super) fn is_unix(&self) -> bool {
        matches!(self.peer, Peer::Unix { .. })
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Since when no request is in flight.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.in_flight.load(Ordering::Acquire) == 0)
            .then(|| self.start + Duration::from_millis(self.last_end.load(Ordering::Acquire)))
    }

    /// Asks the connection to end: once its requests are answered, or soon if it is idle.
    pub(super) fn finish(&self, soon: bool) {
        self.dismissed.fetch_or(soon, Ordering::Relaxed);
        self.end.notify_one();
    }

    /// Waits until it is asked to end.
    pub(super) async fn told_to_end(&self) {
        self.end.notified().await;
    }

    /// Whether it has been asked to end soon.
    pub(super) fn is_dismissed(&self) -> bool {
        self.dismissed.load(Ordering::Relaxed)
    }

    pub(super) fn note_blocked(&self, blocked: bool) {
        self.blocked_since.store(if blocked { self.elapsed() + 1 } else { 0 }, Ordering::Release);
    }

    pub(super) fn blocked_since(&self) -> Option<Instant> {
        let millis = self.blocked_since.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.start + Duration::from_millis(millis))
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct InFlight(Arc<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.last_end.store(self.0.elapsed(), Ordering::Release);
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    async fn state() -> Arc<State> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        Arc::new(State::new(&Stream::Tcp(stream)))
    }

    #[tokio::test]
    async fn a_connection_is_idle_from_the_end_of_its_last_request() {
        let state = state().await;
        tokio::time::pause();
        assert_eq!(state.idle_since(), Some(state.start));
        let (one, two) = (state.begin(), state.begin());
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(one);
        assert_eq!(state.idle_since(), None);
        let before = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(two);
        let idle = state.idle_since().unwrap();
        assert!(idle > before + Duration::from_secs(4), "{idle:?}");
    }
}
