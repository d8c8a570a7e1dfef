//! The socket of a connection, which notes when its peer does not read.

use super::state::State;
use super::stream::Stream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection's socket. If it was [aborted](State::abort), it ends with a reset instead of in good order.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    state: Arc<State>,
    /// Whether the last write found the peer not reading.
    blocked: bool,
}

/// Does the same with a stream of any kind.
macro_rules! on_stream {
    ($socket:ident, $stream:ident => $does:expr) => {
        match &mut $socket.stream {
            Stream::Tcp($stream) => $does,
            Stream::Tls($stream) => $does,
            Stream::Unix($stream) => $does,
        }
    };
}

impl Socket {
    pub(super) fn new(stream: Stream, state: Arc<State>) -> Self {
        if let Some(stream) = stream.tcp() {
            // Answers are small and whole: waiting for more to send with them helps nobody.
            let _ = stream.set_nodelay(true);
        }
        Self { stream, state, blocked: false }
    }

    fn note<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() != self.blocked {
            self.blocked = written.is_pending();
            self.state.note_blocked(self.blocked);
        }
        written
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.state.is_aborted()
            && let Some(stream) = self.stream.tcp()
        {
            // Without it the connection still ends before an answer, only in good order.
            let _ = stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = on_stream!(self, stream => Pin::new(stream).poll_write(cx, buf));
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = on_stream!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs));
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets themselves keep nothing back.
        let Stream::Tls(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        let flushed = Pin::new(stream).poll_flush(cx);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
