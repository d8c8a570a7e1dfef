//! Packets on a stream socket: each preceded by its length, four bytes, little endian.

/// No packet can follow: the connection is to be closed
/// (DataDog/datadog-agent, `comp/dogstatsd/listeners/uds_common.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than the receive buffer.
    #[error("a packet of {length} bytes, and the receive buffer has {limit}")]
    TooLong {
        /// What its head says.
        length: usize,
        /// The most.
        limit: usize,
    },
    /// A length of zero reads as the end of the stream.
    #[error("a packet without bytes")]
    Empty,
}

/// Takes packets out of what was read from a stream.
#[derive(Debug)]
pub struct Frames {
    buffer: Vec<u8>,
    /// What was read and not yet given out: `buffer[start..end]`.
    start: usize,
    end: usize,
    limit: usize,
}

const HEAD: usize = 4;

impl Frames {
    /// For packets of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: vec![0; limit + HEAD], start: 0, end: 0, limit }
    }

    /// Where the next bytes of the stream are to be put; never empty.
    pub fn room(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.buffer[self.end..]
    }

    /// So many bytes were put there.
    pub fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.buffer.len());
    }

    /// The next packet, if all of it was read.
    ///
    /// # Errors
    /// When there can be none: the connection is to be closed.
    pub fn packet(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(head) = self.buffer[self.start..self.end].first_chunk::<HEAD>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        if length == 0 {
            return Err(FrameError::Empty);
        }
        if length > self.limit {
            return Err(FrameError::TooLong { length, limit: self.limit });
        }
        let start = self.start + HEAD;
        if start + length > self.end {
            return Ok(None);
        }
        self.start = start + length;
        Ok(Some(&self.buffer[start..self.start]))
    }
}
