//! Datagrams, of UDP and Unix sockets: read many at a time by a thread of their own.
//!
//! The kernel keeps what arrives while nobody reads, and drops what does not fit: the thread does nothing but read and
//! aggregate, so that it is there again within a fraction of a millisecond.

use super::hub::{Hub, Packet};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, recvmmsg};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Datagrams that one system call reads.
const BATCH: usize = 64;

/// How long a UDP socket's thread rests after a batch that was not half full: so that under load a batch is many
/// datagrams. The receive buffer holds what arrives meanwhile.
const REST: Duration = Duration::from_micros(500);

/// How long the thread rests after the kernel has failed to read.
const FAILURE_REST: Duration = Duration::from_millis(100);

/// A bound socket, whose reading times out now and then.
#[derive(Debug)]
pub(super) struct Datagrams {
    pub socket: OwnedFd,
    /// The index of its listener.
    pub listener: usize,
    /// Whether senders never wait, so that the thread may rest.
    pub is_udp: bool,
    /// The longest datagram that is taken whole, in bytes.
    pub longest: usize,
}

impl Datagrams {
    /// Reads until told to stop, and then what the kernel still has.
    pub fn read(self, hub: &Arc<Hub>, stop: &AtomicBool) {
        loop {
            let Err(_) = catch_unwind(AssertUnwindSafe(|| self.read_on(hub, stop))) else { return };
            // The panic's hook has logged it.
            hub.handles.panics.increment(1);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a thread of its own, which serves nobody else")]
    fn read_on(&self, hub: &Arc<Hub>, stop: &AtomicBool) {
        let mut buffers = vec![0; BATCH * self.longest];
        let mut dropped = 0;
        loop {
            let stopping = stop.load(Ordering::Acquire);
            let flags = if stopping { MsgFlags::MSG_DONTWAIT } else { MsgFlags::MSG_WAITFORONE };
            match self.read_batch(hub, &mut buffers, flags, &mut dropped) {
                Ok(0) if stopping => return,
                Ok(count) if count < BATCH / 2 && self.is_udp && !stopping => thread::sleep(REST),
                Ok(_) => {}
                Err(Errno::EAGAIN) if stopping => return,
                // Nothing has come, which is when the thread looks whether it is to stop.
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(listener = self.listener, "DogStatsD datagrams cannot be read: {error}");
                    thread::sleep(FAILURE_REST);
                }
            }
        }
    }

    /// Reads and takes what is there, and says how many datagrams that were.
    fn read_batch(&self, hub: &Hub, buffers: &mut [u8], flags: MsgFlags, dropped: &mut u32) -> nix::Result<usize> {
        // The kernel shortens the room for control messages at each reading, and nothing lengthens it again: so the headers are new.
        let mut headers = MultiHeaders::<()>::preallocate(BATCH, Some(cmsg_space!(u32)));
        let mut slices: Vec<_> = buffers.chunks_mut(self.longest).map(|chunk| [IoSliceMut::new(chunk)]).collect();
        let read = recvmmsg(self.socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None)?;
        let mut count = 0;
        let mut total = None;
        hub.take(
            self.listener,
            read.map(|message| {
                count += 1;
                total = message.cmsgs().ok().and_then(|messages| messages.filter_map(drops).last()).or(total);
                let bytes = message.iovs().next().unwrap_or_default();
                Packet { bytes, is_cut: message.flags.contains(MsgFlags::MSG_TRUNC) }
            }),
        );
        if let Some(total) = total {
            let more = total.wrapping_sub(std::mem::replace(dropped, total));
            if more > 0 {
                hub.dropped(self.listener, more.into());
            }
        }
        Ok(count)
    }
}

/// How many datagrams the kernel has dropped since the socket was made (socket(7), `SO_RXQ_OVFL`).
fn drops(message: ControlMessageOwned) -> Option<u32> {
    match message {
        ControlMessageOwned::RxqOvfl(total) => Some(total),
        _ => None,
    }
}
