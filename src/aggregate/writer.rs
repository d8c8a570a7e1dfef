//! One context as an item of a `MetricPayload` or `SketchPayload` (DataDog/agent-payload,
//! `proto/metrics/agent_payload.proto`).

use super::context::Context;
use super::slot::Slot;
use crate::wire::encode;

/// Writes the items of a context.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer<'a> {
    name: &'a str,
    /// What stands before the name, and after it.
    before: &'a [u8],
    after: &'a [u8],
    unit: Option<&'static str>,
    interval: i64,
}

/// `MetricSeries.type`
const RATE: u64 = 2;
const GAUGE: u64 = 3;

impl<'a> Writer<'a> {
    pub fn new(context: &'a Context, name: &'a str, interval: i64) -> Self {
        let (before, after) = context.head.split_at(context.split as usize);
        Self { name, before, after, unit: context.is_timer.then_some("millisecond"), interval }
    }

    /// A series of what was counted: values a second.
    pub fn rate(&self, suffix: &str, points: impl IntoIterator<Item = (i64, f64)>, out: &mut Vec<u8>) {
        let interval = self.interval as f64;
        let points = points.into_iter().map(|(time, sum)| (time, sum / interval));
        self.series(suffix, RATE, points, out);
    }

    /// A series of values.
    pub fn gauge(&self, suffix: &str, points: impl IntoIterator<Item = (i64, f64)>, out: &mut Vec<u8>) {
        self.series(suffix, GAUGE, points.into_iter(), out);
    }

    fn series(&self, suffix: &str, metric_type: u64, points: impl Iterator<Item = (i64, f64)>, out: &mut Vec<u8>) {
        encode::packed(1, out, |out| {
            out.extend_from_slice(self.before);
            encode::head(2, self.name.len() + suffix.len(), out);
            out.extend_from_slice(self.name.as_bytes());
            out.extend_from_slice(suffix.as_bytes());
            out.extend_from_slice(self.after);
            for (time, value) in points {
                encode::packed(4, out, |out| {
                    encode::double(1, value, out);
                    encode::int64(2, time, out);
                });
            }
            encode::uint64(5, metric_type, out);
            if let Some(unit) = self.unit {
                encode::text(6, unit, out);
            }
            encode::int64(8, self.interval, out);
        });
    }

    /// The sketches of a distribution.
    pub fn sketch(&self, points: &mut [(i64, Slot)], out: &mut Vec<u8>) {
        encode::packed(1, out, |out| {
            encode::text(1, self.name, out);
            out.extend_from_slice(self.after);
            for (time, slot) in points {
                if let Slot::Sketch(sketch) = slot {
                    encode::packed(7, out, |out| sketch.write(*time, out));
                }
            }
        });
    }
}
