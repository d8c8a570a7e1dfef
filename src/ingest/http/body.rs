//! Reading a request body: within its limit, within the memory of all bodies, and copied at most once.

use super::budget::{Exhausted, Reservation};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A body that arrives whole is kept where it was read into when it has at least this size. A smaller one is copied:
/// it would hold the connection's whole read buffer in memory for as long as its items wait.
const KEEP: usize = 16 << 10;

/// A sender that is slower than this, bytes a second, is too slow to be real: it only holds memory.
const LEAST_SPEED: usize = 64 << 10;

/// How long a sender may be slower at the beginning.
const HEAD_START: Duration = Duration::from_secs(5);

/// How much of a refused request's body is read and thrown away, so that its sender gets to read the answer instead
/// of a connection reset.
const DRAIN_BYTES: usize = 64 << 20;

/// How long a refused request's body is read for.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Why a body could not be read.
#[derive(Debug)]
pub(super) enum BodyError {
    /// Larger than the limit.
    TooLarge,
    /// The bodies of all requests together take too much memory just now.
    Exhausted,
    /// It comes too slowly.
    Slow,
    /// The connection broke or what came was not HTTP.
    Broken(String),
}

impl From<Exhausted> for BodyError {
    fn from(Exhausted: Exhausted) -> Self {
        Self::Exhausted
    }
}

/// Reads `body`, at most `limit` bytes of it, reserving what is kept.
///
/// Memory grows with what has arrived, not with what `Content-Length` announces.
pub(super) async fn read<B>(body: &mut B, limit: usize, hold: &mut Reservation) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let announced = body.size_hint().upper().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > limit) {
        return Err(BodyError::TooLarge);
    }
    let mut pace = Pace { begun: Instant::now() };
    let Some(first) = pace.next(body, 0).await? else { return Ok(Bytes::new()) };
    if first.len() > limit {
        return Err(BodyError::TooLarge);
    }
    pace.begun += hold.wait_to_grow(first.len()).await?;
    let second = match pace.next(body, first.len()).await? {
        Some(second) => second,
        None if first.len() < KEEP => return Ok(Bytes::copy_from_slice(&first)),
        None => return Ok(first),
    };
    let most = announced.unwrap_or(limit);
    let mut gathered = Vec::new();
    pace.begun += make_room(&mut gathered, first.len() + second.len(), most, limit, hold).await?;
    gathered.extend_from_slice(&first);
    gathered.extend_from_slice(&second);
    drop((first, second));
    while let Some(part) = pace.next(body, gathered.len()).await? {
        let needed = gathered.len() + part.len();
        pace.begun += make_room(&mut gathered, needed, most, limit, hold).await?;
        gathered.extend_from_slice(&part);
    }
    if gathered.capacity() > gathered.len() + gathered.len() / 4 {
        gathered.shrink_to_fit();
    }
    Ok(gathered.into())
}

/// When a body began to be read, waiting for room left out.
struct Pace {
    begun: Instant,
}

impl Pace {
    /// The next data of a body of which so much has arrived.
    async fn next<B>(&self, body: &mut B, arrived: usize) -> Result<Option<Bytes>, BodyError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let time = Duration::from_millis(arrived as u64 * 1000 / LEAST_SPEED as u64);
        timeout_at(self.begun + HEAD_START.max(time), next(body)).await.map_err(|_| BodyError::Slow)?
    }
}

/// Reads on what a refused request still sends, within bounds, while its answer is already on the way.
pub(super) async fn drain<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut bytes = 0;
    let read = async {
        while let Ok(Some(part)) = next(&mut body).await {
            bytes += part.len();
            if bytes > DRAIN_BYTES {
                break;
            }
        }
    };
    // Out of time is as good as done: the connection is closed when the body is dropped.
    let _ = tokio::time::timeout(DRAIN_TIME, read).await;
}

/// Makes room for `needed` bytes, and for as many again where that many may come; gives how long it had to wait for it.
async fn make_room(
    gathered: &mut Vec<u8>,
    needed: usize,
    most: usize,
    limit: usize,
    hold: &mut Reservation,
) -> Result<Duration, BodyError> {
    if needed > limit {
        return Err(BodyError::TooLarge);
    }
    if needed <= gathered.capacity() {
        return Ok(Duration::ZERO);
    }
    let capacity = (2 * needed).min(most).max(needed);
    let waited = hold.wait_to_grow(capacity.saturating_sub(hold.bytes())).await?;
    gathered.reserve_exact(capacity - gathered.len());
    Ok(waited)
}

/// The next data of a body. An end that is known already costs no further poll.
async fn next<B>(body: &mut B) -> Result<Option<Bytes>, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    while !body.is_end_stream() {
        match body.frame().await {
            None => break,
            Some(Err(error)) => return Err(BodyError::Broken(error.to_string())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(_trailers) => {}
            },
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::http::budget::{Budget, Owner};
    use http_body_util::Full;
    use hyper::body::Frame;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body that arrives in these pieces and announces that length.
    struct Pieces {
        left: std::vec::IntoIter<Bytes>,
        announced: Option<u64>,
        polls: usize,
        /// Whether nothing follows the pieces, not even an end.
        stalls: bool,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.polls += 1;
            match self.left.next() {
                None if self.stalls => Poll::Pending,
                piece => Poll::Ready(piece.map(|piece| Ok(Frame::data(piece)))),
            }
        }

        fn size_hint(&self) -> hyper::body::SizeHint {
            self.announced.map(hyper::body::SizeHint::with_exact).unwrap_or_default()
        }
    }

    fn pieces(sizes: &[usize], announced: Option<u64>) -> Pieces {
        let pieces: Vec<_> = sizes.iter().map(|&size| Bytes::from(vec![b'x'; size])).collect();
        Pieces { left: pieces.into_iter(), announced, polls: 0, stalls: false }
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_not_copied_unless_it_is_small() {
        for (size, same) in [(KEEP, true), (KEEP - 1, false)] {
            let sent = Bytes::from(vec![1; size]);
            let read = read(&mut Full::new(sent.clone()), 1 << 20, &mut Budget::new(1 << 20).hold(Owner::Local))
                .await
                .unwrap();
            assert_eq!(read, sent);
            assert_eq!(read.as_ptr() == sent.as_ptr(), same, "{size}");
        }
    }

    #[tokio::test]
    async fn pieces_are_gathered_and_empty_ones_do_not_matter() {
        let budget = Budget::new(1 << 20);
        let mut hold = budget.hold(Owner::Local);
        for announced in [None, Some(40_010)] {
            let read = read(&mut pieces(&[10, 0, 20_000, 20_000], announced), 1 << 20, &mut hold).await.unwrap();
            assert_eq!(read.len(), 40_010);
        }
        let none = read(&mut pieces(&[0], None), 1 << 20, &mut hold).await.unwrap();
        assert!(none.is_empty());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_at_the_first_byte_beyond() {
        let budget = Budget::new(1 << 20);
        let mut exact = pieces(&[60, 40], None);
        assert_eq!(read(&mut exact, 100, &mut budget.hold(Owner::Local)).await.unwrap().len(), 100);
        let mut over = pieces(&[60, 41, 1_000], None);
        assert!(matches!(read(&mut over, 100, &mut budget.hold(Owner::Local)).await, Err(BodyError::TooLarge)));
        assert_eq!(over.left.len(), 1);
        let mut first = pieces(&[101, 1], None);
        assert!(matches!(read(&mut first, 100, &mut budget.hold(Owner::Local)).await, Err(BodyError::TooLarge)));
    }

    #[tokio::test]
    async fn an_announced_length_over_the_limit_is_refused_unread() {
        let mut body = pieces(&[1], Some(101));
        let refused = read(&mut body, 100, &mut Budget::new(1 << 20).hold(Owner::Local)).await;
        assert!(matches!(refused, Err(BodyError::TooLarge)));
        assert_eq!(body.polls, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_follows_what_arrived_and_not_what_was_announced() {
        let budget = Budget::new(1 << 30);
        let mut hold = budget.hold(Owner::Local);
        let mut body = pieces(&[1_000, 1_000], Some(1 << 28));
        body.stalls = true;
        let reading = read(&mut body, 1 << 29, &mut hold);
        assert!(tokio::time::timeout(Duration::from_secs(1), reading).await.is_err(), "more is announced");
        assert_eq!(hold.bytes(), 4_000);
    }

    #[tokio::test]
    async fn a_body_without_room_is_refused_and_gives_back_what_it_had() {
        let budget = Budget::new(1_000);
        let refused = read(&mut pieces(&[300, 300, 300], None), 1 << 20, &mut budget.hold(Owner::Local)).await;
        assert!(matches!(refused, Err(BodyError::Exhausted)));
        assert_eq!(budget.left(), 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_too_slowly_is_given_up() {
        let budget = Budget::new(1 << 30);
        for arrived in [0, 1_000, 1 << 20] {
            let sizes: &[usize] = if arrived == 0 { &[] } else { &[arrived] };
            let mut body = pieces(sizes, Some(1 << 21));
            body.stalls = true;
            let begun = Instant::now();
            let read = read(&mut body, 1 << 22, &mut budget.hold(Owner::Local)).await;
            assert!(matches!(read, Err(BodyError::Slow)), "{read:?}");
            assert_eq!(begun.elapsed(), HEAD_START.max(Duration::from_secs(arrived as u64 / LEAST_SPEED as u64)));
        }
    }
}
