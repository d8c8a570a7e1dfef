//! Accepting connections, and making room for them.

use super::Service;
use super::connection::{connection, protocol};
use super::listen::Listener;
use super::state::State;
use super::stream::Stream;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// How long accepting rests after a failure that another attempt at once would only repeat.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How often such failures are logged at most.
const ACCEPT_LOG: Duration = Duration::from_secs(10);

/// The share of all places that is kept for Unix sockets: one of so many.
const KEPT_SHARE: usize = 8;

/// How often it is looked whether a connection has become idle, while all places are taken by requests.
const ROOM_LOOK: Duration = Duration::from_millis(50);

/// Serves connections from all listeners until `end` completes. Then idle connections are ended, requests in flight are
/// answered, and it returns when the last connection is gone. Dropping the future ends all of them at once.
pub async fn serve<S: Service>(listeners: Vec<Listener>, service: Arc<S>, end: impl Future<Output = ()>) {
    let bounds = service.bounds();
    let protocol = Arc::new(protocol(&bounds));
    let mut end = pin!(end);
    let mut acceptor = Acceptor { name: bounds.name, turn: 0, rest_until: None, logged: None };
    let mut places = Places { most: bounds.connections, tasks: JoinSet::new(), taken: HashMap::new() };
    // A connection over TCP and one over a Unix socket for which there is no place yet.
    let mut waiting: [Option<Stream>; 2] = [None, None];
    loop {
        for waiting in &mut waiting {
            if let Some(stream) = waiting.take_if(|stream| places.make_room(stream.is_unix())) {
                let state = Arc::new(State::new(&stream));
                let task = connection(stream, state.clone(), protocol.clone(), service.clone());
                let id = places.tasks.spawn(task).id();
                places.taken.insert(id, state);
            }
        }
        let is_next = |listener: &Listener| waiting[usize::from(listener.address().is_none())].is_none();
        tokio::select! {
            biased;
            () = &mut end => break,
            Some(ended) = places.tasks.join_next_with_id() => places.note(ended, &*service),
            stream = acceptor.accept(&listeners, is_next) => {
                let index = usize::from(stream.is_unix());
                waiting[index] = Some(stream);
            }
            () = sleep(ROOM_LOOK), if waiting.iter().any(Option::is_some) => {}
        }
    }
    drop(listeners);
    places.taken.values().for_each(|state| state.finish(false));
    while let Some(ended) = places.tasks.join_next_with_id().await {
        places.note(ended, &*service);
    }
}

/// The connections there are.
struct Places {
    most: usize,
    tasks: JoinSet<()>,
    taken: HashMap<Id, Arc<State>>,
}

impl Places {
    fn note<S: Service>(&mut self, ended: Result<(Id, ()), JoinError>, service: &S) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    service.panicked();
                    tracing::error!("a connection was lost to a fault of this program");
                }
                error.id()
            }
        };
        self.taken.remove(&id);
    }

    /// Whether there is a place for one more connection; if not, the longest idle one is to make room for it.
    fn make_room(&self, for_unix: bool) -> bool {
        let has_room = self.has_room(for_unix);
        if !has_room && let Some(state) = self.longest_idle(for_unix) {
            state.finish(true);
        }
        has_room
    }

    fn has_room(&self, for_unix: bool) -> bool {
        if self.taken.len() >= self.most {
            return false;
        }
        let for_tcp = self.most - self.most / KEPT_SHARE;
        for_unix || self.taken.len() < for_tcp || self.taken.values().filter(|state| !state.is_unix()).count() < for_tcp
    }

    /// The connection that has been idle for longest, one that has shown no token if there is any; none while one is making room.
    /// Connections over Unix sockets make room only for each other.
    fn longest_idle(&self, for_unix: bool) -> Option<&State> {
        let candidates = || self.taken.values().filter(move |state| for_unix || !state.is_unix());
        if candidates().any(|state| state.is_dismissed()) {
            return None;
        }
        let idle = candidates().filter_map(|state| Some((state.is_trusted(), state.idle_since()?, state)));
        idle.min_by_key(|(trusted, since, _)| (*trusted, *since)).map(|(.., state)| &**state)
    }
}

/// Accepts connections, and rests when the system has no means for more.
#[derive(Debug)]
struct Acceptor {
    name: &'static str,
    turn: usize,
    rest_until: Option<Instant>,
    logged: Option<Instant>,
}

impl Acceptor {
    /// The next connection of the listeners that are asked. May be dropped at any time without losing one.
    async fn accept(&mut self, listeners: &[Listener], is_next: impl Fn(&Listener) -> bool) -> Stream {
        loop {
            if let Some(until) = self.rest_until {
                sleep_until(until).await;
                self.rest_until = None;
            }
            let (index, accepted) = self.next(listeners, &is_next).await;
            match accepted {
                Ok(stream) => return stream,
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    let now = Instant::now();
                    self.rest_until = Some(now + ACCEPT_PAUSE);
                    if self.logged.is_none_or(|logged| now >= logged + ACCEPT_LOG) {
                        self.logged = Some(now);
                        tracing::warn!(
                            listener = self.name,
                            address = listeners.get(index).map_or("", Listener::name),
                            %error,
                            "cannot accept connections just now; if files are short, raise LimitNOFILE or lower \
                             ingest.max_connections"
                        );
                    }
                }
            }
        }
    }

    /// Asks the listeners in turn, so that a busy one does not starve the others.
    async fn next(
        &mut self,
        listeners: &[Listener],
        is_next: impl Fn(&Listener) -> bool,
    ) -> (usize, io::Result<Stream>) {
        poll_fn(|context| {
            for offset in 0..listeners.len() {
                let index = (self.turn + offset) % listeners.len();
                if is_next(&listeners[index])
                    && let Poll::Ready(accepted) = listeners[index].poll_accept(context)
                {
                    self.turn = index + 1;
                    return Poll::Ready((index, accepted));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Whether accepting failed for the connection in question only (accept(2) hands on its pending network errors).
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable,
        TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | Interrupted
            | HostUnreachable
            | NetworkUnreachable
            | TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_rests_only_after_failures_that_repeat() {
        // EMFILE, ENFILE, ENOBUFS, ENOMEM; then ECONNABORTED, EINTR, EHOSTUNREACH.
        for code in [24, 23, 105, 12] {
            assert!(!concerns_one_connection(&io::Error::from_raw_os_error(code)), "{code}");
        }
        for code in [103, 4, 113] {
            assert!(concerns_one_connection(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
