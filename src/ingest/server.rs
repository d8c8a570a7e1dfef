//! Connections: accepting them, serving them, ending them.

use super::accept::Submit;
use super::http::Handler;
use super::listen::{Listener, Stream};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// The read buffer of an HTTP/1.1 connection, which bounds the header too. Bodies that fit are not copied.
const READ_BUFFER: usize = 64 << 10;

/// Requests under way at once on an HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// How much an HTTP/2 client may send ahead on one stream and on a connection. A handler reads all the time, so this
/// need only cover the round trip.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// The largest header of an HTTP/2 request.
const HEADER_LIST: u32 = 64 << 10;

/// How often a silent HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// How long a connection that idled may take to end in good order.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long accepting rests after a failure that another attempt at once would only repeat.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How often such failures are logged at most.
const ACCEPT_LOG: Duration = Duration::from_secs(10);

/// Serves connections from all listeners until `shutdown` completes; then ends idle connections, lets requests under
/// way finish, and returns when the last connection is gone. Dropping the future ends all of them at once.
pub async fn serve<Q: Submit>(listeners: Vec<Listener>, handler: Arc<Handler<Q>>, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let (ending, end) = watch::channel(false);
    let builder = Arc::new(builder());
    let mut connections = JoinSet::new();
    let mut doorman = Doorman::default();
    let most = handler.max_connections();
    loop {
        let room = connections.len() < most;
        let stream = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => {
                note(&handler, ended);
                continue;
            }
            stream = doorman.accept(&listeners), if room && !listeners.is_empty() => stream,
        };
        let (handler, builder, end) = (Arc::clone(&handler), Arc::clone(&builder), end.clone());
        match stream {
            Stream::Tcp(stream) => {
                // Answers are small and whole: waiting for more to send with them helps nobody.
                let _ = stream.set_nodelay(true);
                connections.spawn(connection(TokioIo::new(stream), builder, handler, end));
            }
            Stream::Unix(stream) => {
                connections.spawn(connection(TokioIo::new(stream), builder, handler, end));
            }
        }
    }
    drop(listeners);
    handler.stop();
    ending.send_replace(true);
    while let Some(ended) = connections.join_next().await {
        note(&handler, ended);
    }
}

fn note<Q: Submit>(handler: &Handler<Q>, ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        handler.panicked();
        tracing::error!("a connection was lost to a fault of this program");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // A client that has sent its request and closed its side still gets the answer.
    builder.http1().half_close(true).max_buf_size(READ_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST);
    builder
}

/// Serves one connection. It ends when the client ends it, when no request is under way for as long as a header may
/// take (whether the client is silent, sends its header by drops or does not read its answers), or at shutdown; but
/// never with a request under way, which has bounds of its own.
async fn connection<Q, I>(
    io: I,
    builder: Arc<auto::Builder<TokioExecutor>>,
    handler: Arc<Handler<Q>>,
    mut end: watch::Receiver<bool>,
) where
    Q: Submit,
    I: Read + Write + Unpin + Send + 'static,
{
    let patience = handler.header_timeout();
    let activity = Arc::new(Activity::new());
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |request: Request<Incoming>| {
            let (handler, busy) = (Arc::clone(&handler), activity.begin());
            async move {
                let answer: Response<_> = handler.answer(request).await;
                drop(busy);
                Ok::<_, Infallible>(answer)
            }
        })
    };
    let mut served = pin!(builder.serve_connection(io, service));
    let mut stop = pin!(async move {
        // An error means that the server is gone, which is as good.
        let _ = end.wait_for(|end| *end).await;
    });
    let mut look = Instant::now() + patience;
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            // What ends a connection is the client's affair: there is nobody to tell.
            _ = served.as_mut() => return,
            () = stop.as_mut(), if !ending => {
                ending = true;
                served.as_mut().graceful_shutdown();
            }
            () = sleep_until(look) => match activity.idle_since() {
                None => look = Instant::now() + patience,
                Some(since) if since + patience > Instant::now() => look = since + patience,
                Some(_) if ending => return,
                Some(_) => {
                    ending = true;
                    look = Instant::now() + FAREWELL;
                    served.as_mut().graceful_shutdown();
                }
            },
        }
    }
}

/// Whether requests are under way on a connection, and since when not.
#[derive(Debug)]
struct Activity {
    start: Instant,
    under_way: AtomicU32,
    /// Milliseconds after `start`.
    last_end: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { start: Instant::now(), under_way: AtomicU32::new(0), last_end: AtomicU64::new(0) }
    }

    fn begin(self: &Arc<Self>) -> Busy {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(self))
    }

    fn idle_since(&self) -> Option<Instant> {
        (self.under_way.load(Ordering::Acquire) == 0)
            .then(|| self.start + Duration::from_millis(self.last_end.load(Ordering::Acquire)))
    }
}

/// A request under way.
#[derive(Debug)]
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_end.store(now, Ordering::Release);
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Accepts connections, and rests when the system has no means for more.
#[derive(Debug, Default)]
struct Doorman {
    turn: usize,
    rest_until: Option<Instant>,
    logged: Option<Instant>,
}

impl Doorman {
    /// The next connection. May be dropped at any time without losing one.
    async fn accept(&mut self, listeners: &[Listener]) -> Stream {
        loop {
            if let Some(until) = self.rest_until {
                sleep_until(until).await;
                self.rest_until = None;
            }
            let (index, accepted) = self.next(listeners).await;
            match accepted {
                Ok(stream) => return stream,
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    let now = Instant::now();
                    self.rest_until = Some(now + ACCEPT_PAUSE);
                    if self.logged.is_none_or(|logged| now >= logged + ACCEPT_LOG) {
                        self.logged = Some(now);
                        let listener = listeners.get(index).map_or("", Listener::name);
                        tracing::warn!(
                            listener,
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
    async fn next(&mut self, listeners: &[Listener]) -> (usize, io::Result<Stream>) {
        poll_fn(|context| {
            for offset in 0..listeners.len() {
                let index = (self.turn + offset) % listeners.len();
                if let Poll::Ready(accepted) = listeners[index].poll_accept(context) {
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
    fn only_failures_that_come_again_make_accepting_rest() {
        // EMFILE, ENFILE, ENOBUFS, ENOMEM; then ECONNABORTED, EINTR, EHOSTUNREACH.
        for code in [24, 23, 105, 12] {
            assert!(!concerns_one_connection(&io::Error::from_raw_os_error(code)), "{code}");
        }
        for code in [103, 4, 113] {
            assert!(concerns_one_connection(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_request() {
        let activity = Arc::new(Activity::new());
        assert_eq!(activity.idle_since(), Some(activity.start));
        let (one, two) = (activity.begin(), activity.begin());
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(one);
        assert_eq!(activity.idle_since(), None);
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(two);
        assert_eq!(activity.idle_since(), Some(activity.start + Duration::from_secs(10)));
    }
}
