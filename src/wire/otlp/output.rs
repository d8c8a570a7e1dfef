//! What a request becomes: runs of series, sketches and logs of each tenant, cut at the limits of Datadog's endpoints.

use super::reason::{Fault, Reason, Trouble};
use super::tags::Tags;
use crate::types::{Kind, UnixMillis};
use crate::wire::encode;
use crate::wire::part::Part;

/// The field of a payload that holds its items, in `MetricPayload` and `SketchPayload` alike.
const ITEMS: u32 = 1;

/// A metric's type (`MetricSeries.type` in DataDog/agent-payload, `agent_payload.proto`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Count = 1,
    Gauge = 3,
}

/// What the series and sketches of one resource and scope have in common.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub host: Option<Vec<u8>>,
    pub tags: Tags,
}

/// The name of a series: that of the metric, and what of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub metric: &'a [u8],
    /// With its dot, or nothing.
    pub suffix: &'static str,
}

/// One point of a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub kind: Type,
    /// In seconds; 0 is none.
    pub interval: u64,
    /// In seconds since the Unix epoch.
    pub seconds: i64,
    pub value: f64,
}

/// Gathers items of one tenant.
#[derive(Debug)]
pub(super) struct Output {
    tenant: Option<String>,
    series: Run,
    sketches: Run,
    logs: Run,
    parts: Vec<Part>,
    /// What may still be written, in bytes.
    left: usize,
    limit: usize,
    scratch: Vec<u8>,
}

/// An open part.
#[derive(Debug)]
struct Run {
    kind: Kind,
    items: u32,
    oldest: UnixMillis,
    bytes: Vec<u8>,
}

impl Output {
    /// Gathers what is of `tenant`, at most `limit` bytes.
    pub fn new(tenant: Option<String>, limit: usize) -> Self {
        let run = |kind| Run { kind, items: 0, oldest: UnixMillis(i64::MAX), bytes: Vec::new() };
        Self {
            tenant,
            series: run(Kind::SeriesV2Proto),
            sketches: run(Kind::Sketches),
            logs: run(Kind::Logs),
            parts: Vec::new(),
            left: limit,
            limit,
            scratch: Vec::new(),
        }
    }

    /// Appends a series of one point; `more` are its tags besides the common ones.
    pub fn series(&mut self, common: &Common, name: Name<'_>, more: [&Tags; 2], point: Point) -> Result<(), Trouble> {
        let host = common.host.as_deref().filter(|host| !host.is_empty());
        let resource_len = host.map_or(0, |host| "host".len() + 2 + field_len(host.len()));
        let name_len = name.metric.len() + name.suffix.len();
        let seconds = point.seconds.cast_unsigned();
        let point_len = 9 + 1 + encode::varint_len(seconds);
        let tags_len = common.tags.encoded_len() + more[0].encoded_len() + more[1].encoded_len();
        let interval_len = if point.interval == 0 { 0 } else { 1 + encode::varint_len(point.interval) };
        let length = host.map_or(0, |_| field_len(resource_len))
            + field_len(name_len)
            + tags_len
            + field_len(point_len)
            + 2
            + interval_len;
        let out = self.open(Kind::SeriesV2Proto, field_len(length), UnixMillis::from_secs(point.seconds))?;
        encode::head(ITEMS, length, out);
        if let Some(host) = host {
            encode::head(1, resource_len, out);
            write_bytes(1, b"host", out);
            write_bytes(2, host, out);
        }
        write_name(2, name, out);
        common.tags.write_series(out);
        more[0].write_series(out);
        more[1].write_series(out);
        encode::head(4, point_len, out);
        encode::double(1, point.value, out);
        encode::uint64(2, seconds, out);
        encode::uint64(5, point.kind as u64, out);
        if point.interval > 0 {
            encode::uint64(8, point.interval, out);
        }
        Ok(())
    }

    /// Appends a sketch; `write` appends its `Dogsketch`.
    pub fn sketch(
        &mut self,
        common: &Common,
        metric: &[u8],
        tags: &Tags,
        seconds: i64,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Trouble> {
        let mut message = std::mem::take(&mut self.scratch);
        message.clear();
        write_name(1, Name { metric, suffix: "" }, &mut message);
        if let Some(host) = common.host.as_deref().filter(|host| !host.is_empty()) {
            write_bytes(2, host, &mut message);
        }
        common.tags.write_sketch(&mut message);
        tags.write_sketch(&mut message);
        encode::packed(7, &mut message, write);
        let opened = self.open(Kind::Sketches, field_len(message.len()), UnixMillis::from_secs(seconds));
        let written = opened.map(|out| write_bytes(ITEMS, &message, out));
        self.scratch = message;
        written
    }

    /// Appends a log, which is a JSON object.
    pub fn log(&mut self, log: &[u8], time: UnixMillis) -> Result<(), Trouble> {
        self.open(Kind::Logs, log.len(), time)?.extend_from_slice(log);
        Ok(())
    }

    /// All parts.
    pub fn finish(mut self) -> Vec<Part> {
        for kind in [Kind::SeriesV2Proto, Kind::Sketches, Kind::Logs] {
            self.close(kind);
        }
        self.parts
    }

    /// Where the next item of that kind is to be appended, which has so many bytes.
    fn open(&mut self, kind: Kind, bytes: usize, time: UnixMillis) -> Result<&mut Vec<u8>, Trouble> {
        let limits = kind.limits();
        let frame = kind.prefix().len() + kind.suffix().len();
        if bytes + frame > limits.uncompressed {
            return Err(Reason::TooLarge.into());
        }
        let limit = self.limit;
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| Trouble::Request(Box::new(Fault::TooLarge { limit })))?;
        let run = self.run(kind);
        if run.items == limits.items || run.bytes.len() + kind.separator().len() + bytes + frame > limits.uncompressed {
            self.close(kind);
        }
        let run = self.run(kind);
        if run.items > 0 {
            run.bytes.extend_from_slice(kind.separator());
        }
        run.items += 1;
        run.oldest = run.oldest.min(time);
        Ok(&mut run.bytes)
    }

    fn run(&mut self, kind: Kind) -> &mut Run {
        match kind {
            Kind::Logs => &mut self.logs,
            Kind::Sketches => &mut self.sketches,
            _ => &mut self.series,
        }
    }

    /// Makes a part of what a run holds, and empties it.
    fn close(&mut self, kind: Kind) {
        let run = self.run(kind);
        if run.items == 0 {
            return;
        }
        let empty = Run { kind, items: 0, oldest: UnixMillis(i64::MAX), bytes: Vec::new() };
        let Run { kind, items, oldest, mut bytes } = std::mem::replace(run, empty);
        // The queue holds parts for long: room that was asked for in vain is given back.
        if bytes.capacity() - bytes.len() > bytes.len() / 8 {
            bytes.shrink_to_fit();
        }
        self.parts.push(Part { tenant: self.tenant.clone(), kind, items, oldest, bytes: bytes.into() });
    }
}

fn write_name(number: u32, name: Name<'_>, out: &mut Vec<u8>) {
    encode::head(number, name.metric.len() + name.suffix.len(), out);
    out.extend_from_slice(name.metric);
    out.extend_from_slice(name.suffix.as_bytes());
}

fn write_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode::head(number, bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// How long a field of a number below 16 is, whose content has that length.
fn field_len(length: usize) -> usize {
    1 + encode::varint_len(length as u64) + length
}
