//! Unix stream sockets: packets with their length before them.

use super::hub::{Hub, Packet};
use crate::wire::dogstatsd::{Frames, Reason};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections at once. A client has one for as long as it lives, and each takes a buffer.
const MOST_CONNECTIONS: usize = 1_024;

/// How long accepting rests after a failure.
const FAILURE_REST: Duration = Duration::from_millis(200);

/// Takes connections until told to stop, and then what they have sent.
pub(super) async fn serve(
    socket: UnixListener,
    listener: usize,
    longest: usize,
    hub: Arc<Hub>,
    stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut stopping = stop.clone();
    loop {
        let has_room = connections.len() < MOST_CONNECTIONS;
        tokio::select! {
            biased;
            _ = stopping.changed() => break,
            Some(ended) = connections.join_next() => note(&hub, ended),
            accepted = socket.accept(), if has_room => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, listener, longest, hub.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(listener, "a DogStatsD connection cannot be accepted: {error}");
                    tokio::time::sleep(FAILURE_REST).await;
                }
            },
        }
    }
    while let Some(ended) = connections.join_next().await {
        note(&hub, ended);
    }
}

fn note(hub: &Hub, ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        hub.handles.panics.increment(1);
    }
}

/// Takes the packets of one client.
async fn connection(
    stream: UnixStream,
    listener: usize,
    longest: usize,
    hub: Arc<Hub>,
    mut stop: watch::Receiver<bool>,
) {
    let mut frames = Frames::new(longest);
    loop {
        match stream.try_read(frames.room()) {
            Ok(0) => return,
            Ok(bytes) => frames.filled(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if *stop.borrow_and_update() {
                    return;
                }
                tokio::select! {
                    biased;
                    readable = stream.readable() => {
                        if readable.is_err() {
                            return;
                        }
                    }
                    _ = stop.changed() => {}
                }
                continue;
            }
            Err(_) => return,
        }
        loop {
            match frames.packet() {
                Ok(Some(bytes)) => hub.take(listener, std::iter::once(Packet { bytes, is_cut: false })),
                Ok(None) => break,
                Err(_) => {
                    hub.refuse(Reason::FrameTooLong);
                    return;
                }
            }
        }
    }
}
