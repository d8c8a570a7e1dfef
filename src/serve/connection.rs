//! Serving one connection to its end.

use super::socket::Socket;
use super::state::{Connection, InFlight, State};
use super::stream::Stream;
use super::{Bounds, Service};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Requests in flight at once on an HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// How much an HTTP/2 client may send ahead on one stream and on a connection. A handler reads all the time, so this
/// need only cover the round trip.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// How often a silent HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// How long a connection that idled may take to end in good order.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long one may take that makes room for another.
const HASTE: Duration = Duration::from_millis(50);

/// The body of an answer, in flight until it ends.
struct Answer<B> {
    body: B,
    _in_flight: InFlight,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What reads and writes HTTP on all connections of a listener.
pub(super) fn protocol(bounds: &Bounds) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().half_close(bounds.half_close).max_buf_size(bounds.header);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(bounds.header).unwrap_or(u32::MAX));
    builder
}

/// Serves one connection to its end.
pub(super) async fn connection<S: Service>(
    stream: Stream,
    state: Arc<State>,
    protocol: Arc<auto::Builder<TokioExecutor>>,
    service: Arc<S>,
) {
    let bounds = service.bounds();
    let answer = {
        let state = state.clone();
        service_fn(move |request: Request<Incoming>| {
            let (service, state, in_flight) = (service.clone(), state.clone(), state.begin());
            async move {
                let response: Response<S::Body> = service.call(request, Connection::of(state)).await;
                Ok::<_, Infallible>(response.map(|body| Answer { body, _in_flight: in_flight }))
            }
        })
    };
    let mut served = pin!(protocol.serve_connection(TokioIo::new(Socket::new(stream, state.clone())), answer));
    let pace = bounds.idle.min(bounds.write);
    let mut look = Instant::now() + pace;
    // When it ends even if it has not ended by itself, unless a request is in flight.
    let mut last: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            // What ends a connection is its peer's affair: there is nobody to tell.
            _ = served.as_mut() => return,
            () = state.told_to_end() => {
                if state.is_aborted() {
                    return;
                }
                served.as_mut().graceful_shutdown();
                let most = if state.is_dismissed() { HASTE } else { bounds.idle };
                last = Some(Instant::now() + most);
                look = look.min(Instant::now() + most);
            }
            () = sleep_until(look) => {
                let now = Instant::now();
                let blocked_until = state.blocked_since().map(|since| since + bounds.write);
                let mut idle_until = state.idle_since().map(|since| last.unwrap_or(since + bounds.idle));
                if blocked_until.is_some_and(|until| until <= now) {
                    return;
                }
                if idle_until.is_some_and(|until| until <= now) {
                    if last.is_some() {
                        return;
                    }
                    served.as_mut().graceful_shutdown();
                    last = Some(now + FAREWELL);
                    idle_until = last;
                }
                look = [blocked_until, idle_until].into_iter().flatten().fold(now + pace, Instant::min);
            }
        }
    }
}
