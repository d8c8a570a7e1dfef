//! Packets into lines, and lines into messages.

use super::check::Check;
use super::event::Event;
use super::metric::Metric;
use super::reason::Reason;

/// One line of a packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Message<'a> {
    /// Samples of a metric.
    Metric(Metric<'a>),
    /// An event.
    Event(Event<'a>),
    /// A service check.
    Check(Check<'a>),
}

/// The lines of a packet that hold anything, without their ends.
pub fn lines(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (line, after) = match memchr::memchr(b'\n', rest) {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (rest, &rest[rest.len()..]),
            };
            rest = after;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    })
}

/// Reads one line.
///
/// # Errors
/// What is wrong with it. The Agent takes any line that begins with `_sc` for a service check; here it takes `_sc|`, as
/// in Datadog's newer data plane, so that a metric may begin with those letters.
#[inline]
pub fn parse(line: &[u8]) -> Result<Message<'_>, Reason> {
    if line.first() == Some(&b'_') {
        if line.starts_with(b"_e{") {
            return Event::parse(line).map(Message::Event);
        }
        if line.starts_with(b"_sc|") {
            return Check::parse(line).map(Message::Check);
        }
    }
    Metric::parse(line).map(Message::Metric)
}
