//! `ExportMetricsServiceRequest` to series and sketches.
//!
//! The rules are those of Datadog's exporter (DataDog/datadog-agent, `pkg/opentelemetry-mapping-go/otlp/metrics`).

use super::delta::{Cumulative, Deltas, SeriesHasher, SeriesId, Step, Times};
use super::histogram::{self, Extreme, Window};
use super::metric::{CUMULATIVE, DELTA, EXPONENTIAL_HISTOGRAM, GAUGE, HISTOGRAM, Metric, SUM, SUMMARY};
use super::options::{Clock, Context, Histograms, Options};
use super::output::{Name, Output, Point, Type};
use super::point::{Exponential, Head, Histogram, Number, Summary};
use super::reason::{Reason, Rejections, Trouble};
use super::resource;
use super::scope::{Scope, add_sorted};
use super::tags::Tags;
use super::value::mended;
use crate::wire::metric;
use crate::wire::protobuf::{Field, Message};
use std::borrow::Cow;
use std::io::Write;

/// A metric that carries statistics of APM, which is no metric.
const APM_STATS: &[u8] = b"dd.internal.stats.payload";

/// Maps the metrics of one tenant's resources.
pub(super) struct Mapper<'m> {
    options: &'m Options,
    clock: Clock,
    context: &'m Context<'m>,
    rejections: &'m mut Rejections,
    /// Scratch: the tags of a point, and those of a part of it.
    point_tags: Tags,
    part_tags: Tags,
    point: Histogram,
}

/// One metric on its way, and where it goes.
struct Way<'w> {
    scope: &'w Scope<'w>,
    /// Of the metric; UTF-8.
    name: &'w [u8],
    output: &'w mut Output,
    deltas: &'w mut Deltas,
}

/// What every point of a metric comes to.
struct Place {
    times: Times,
    seconds: i64,
    interval: u64,
}

impl<'m> Mapper<'m> {
    pub fn new(context: &'m Context<'m>, rejections: &'m mut Rejections) -> Self {
        Self {
            options: context.options,
            clock: context.clock,
            context,
            rejections,
            point_tags: Tags::default(),
            part_tags: Tags::default(),
            point: Histogram::default(),
        }
    }

    /// Maps a `ResourceMetrics`, and gives how many data points were refused.
    pub fn resource(&mut self, message: Message<'_>, output: &mut Output, deltas: &mut Deltas) -> Result<u64, Trouble> {
        let before = self.rejections.items();
        let attributes = resource::resource_attributes(message, self.context.attribute)?;
        for field in message.fields() {
            let field = field?;
            if field.number == 2 {
                let scope_metrics = field.message()?;
                let scope = Scope::read(scope_metrics, &attributes, self.context)?;
                for field in scope_metrics.fields() {
                    let field = field?;
                    if field.number == 2 {
                        self.metric(&field, &scope, output, deltas)?;
                    }
                }
            }
        }
        Ok(self.rejections.items() - before)
    }

    fn metric(
        &mut self,
        field: &Field<'_>,
        scope: &Scope<'_>,
        output: &mut Output,
        deltas: &mut Deltas,
    ) -> Result<(), Trouble> {
        let metric = Metric::read(field.message()?)?;
        let Some((kind, data)) = metric.data.filter(|_| metric.name != APM_STATS) else { return Ok(()) };
        let refused = match (kind, metric.temporality) {
            _ if metric::name_fault(metric.name).is_some() => Some(Reason::Name),
            (EXPONENTIAL_HISTOGRAM, CUMULATIVE) => Some(Reason::CumulativeExponential),
            (GAUGE | SUMMARY, _) | (_, DELTA | CUMULATIVE) => None,
            _ => Some(Reason::NoTemporality),
        };
        if let Some(reason) = refused {
            self.rejections.add(reason, metric.points()?, Some(metric.name));
            return Ok(());
        }
        let name: Cow<'_, [u8]> = mended(metric.name);
        let mut way = Way { scope, name: &name, output, deltas };
        let mut index = 0;
        for field in data.fields() {
            let field = field?;
            if field.number != 1 {
                continue;
            }
            let message = field.message()?;
            self.point_tags.clear();
            let mapped = match kind {
                GAUGE => self.number(message, Type::Gauge, &mut way),
                SUM if metric.temporality == DELTA => self.number(message, Type::Count, &mut way),
                SUM if metric.is_monotonic && !self.options.sums_as_gauges => self.cumulative(message, index, &mut way),
                SUM => self.number(message, Type::Gauge, &mut way),
                HISTOGRAM => self.histogram(message, metric.temporality == DELTA, &mut way),
                EXPONENTIAL_HISTOGRAM => self.exponential(message, &mut way),
                _ => self.summary(message, index, &mut way),
            };
            if let Err(trouble) = mapped {
                self.rejections.note(trouble, Some(metric.name))?;
            }
            index += 1;
        }
        Ok(())
    }

    /// A point of a gauge, of a delta sum, or of a cumulative sum that may fall.
    fn number(&mut self, message: Message<'_>, kind: Type, way: &mut Way<'_>) -> Result<(), Trouble> {
        let fixed = &way.scope.fixed;
        let Number { head, value } = Number::read(message, &mut self.point_tags, &|key| fixed.contains(key))?;
        if head.is_empty() {
            return Ok(());
        }
        let value = finite(value.ok_or(Reason::NoValue)?)?;
        let place = self.place(head, kind == Type::Count);
        self.send(way, "", kind, &place, value)
    }

    /// A point of a cumulative sum that only rises.
    fn cumulative(&mut self, message: Message<'_>, index: usize, way: &mut Way<'_>) -> Result<(), Trouble> {
        let fixed = &way.scope.fixed;
        let Number { head, value } = Number::read(message, &mut self.point_tags, &|key| fixed.contains(key))?;
        if head.is_empty() {
            return Ok(());
        }
        let value = finite(value.ok_or(Reason::NoValue)?)?;
        let place = self.place(head, false);
        let id = self.series(way, "", place.times);
        self.rise(way, "", id, index, &place, value)
    }

    /// Sends the difference of a number that only rises.
    fn rise(
        &mut self,
        way: &mut Way<'_>,
        suffix: &'static str,
        id: SeriesId,
        index: usize,
        place: &Place,
        value: f64,
    ) -> Result<(), Trouble> {
        let Times { start, time } = place.times;
        let difference = match way.deltas.monotonic(id, place.times, value, self.clock.seconds)? {
            Step::Difference(difference) => difference,
            // Datadog's exporter looks at the first of a metric's points only.
            Step::First if index == 0 && start > self.clock.started && start != time => value,
            Step::First | Step::Stale => return Ok(()),
        };
        self.send(way, suffix, Type::Count, place, difference)
    }

    fn histogram(&mut self, message: Message<'_>, is_delta: bool, way: &mut Way<'_>) -> Result<(), Trouble> {
        let mut point = std::mem::take(&mut self.point);
        let fixed = &way.scope.fixed;
        let mapped = point.read(message, &mut self.point_tags, &|key| fixed.contains(key)).and_then(|()| {
            if point.head.is_empty() { Ok(()) } else { self.histogram_point(&mut point, is_delta, way) }
        });
        self.point = point;
        mapped
    }

    fn histogram_point(&mut self, point: &mut Histogram, is_delta: bool, way: &mut Way<'_>) -> Result<(), Trouble> {
        histogram::check(&point.bounds, point.counts.len())?;
        for figure in [point.sum, point.min, point.max] {
            figure.map_or(Ok(0.0), finite)?;
        }
        let place = self.place(point.head, is_delta);
        let window = if is_delta {
            let exact = |extreme: Option<f64>| extreme.map_or(Extreme::Unknown, Extreme::Exact);
            Window { count: Some(point.count), sum: point.sum, min: exact(point.min), max: exact(point.max) }
        } else {
            match self.since_before(point, &place, way)? {
                Some(window) => window,
                None => return Ok(()),
            }
        };
        if self.options.send_aggregation_metrics
            && let (Some(count), Some(sum)) = (window.count, window.sum)
        {
            self.send(way, ".count", Type::Count, &place, count as f64)?;
            self.send(way, ".sum", Type::Count, &place, sum)?;
            if is_delta {
                self.send_extremes(way, &place, point.min, point.max)?;
            }
        }
        match self.options.histograms {
            Histograms::NoBuckets => Ok(()),
            Histograms::Counters => self.send_buckets(way, &place, point),
            Histograms::Distributions => {
                let sketch = histogram::explicit(&point.bounds, &point.counts, window)?;
                let Some(mut sketch) = sketch else { return Ok(()) };
                let (common, tags, seconds) = (&way.scope.common, &self.point_tags, place.seconds);
                way.output.sketch(common, way.name, tags, seconds, |out| sketch.write(seconds, out))
            }
        }
    }

    /// What a cumulative histogram has more than the point before it, if there was one; the counts of the point become
    /// the differences. A count that fell says nothing.
    fn since_before(
        &mut self,
        point: &mut Histogram,
        place: &Place,
        way: &mut Way<'_>,
    ) -> Result<Option<Window>, Trouble> {
        let Histogram { count, sum, min, max, counts, bounds, .. } = point;
        let mut hasher = self.hasher(way, "", place.times);
        bounds.iter().for_each(|bound| hasher.add_number(bound.to_bits()));
        let now = Cumulative { count: *count, sum: *sum, min: *min, max: *max, buckets: counts.as_slice().into() };
        let Some(before) = way.deltas.histogram(hasher.finish(), place.times, now, self.clock.seconds)? else {
            return Ok(None);
        };
        for (count, before) in counts.iter_mut().zip(&before.buckets) {
            *count = count.saturating_sub(*before);
        }
        // An extreme that moved is of this window; one that moved back tells of a reset.
        let extreme = |now: Option<f64>, before: Option<f64>| match now {
            Some(now) if before.is_some_and(|before| before != now) => Extreme::Exact(now),
            Some(now) => Extreme::Overall(now),
            None => Extreme::Unknown,
        };
        Ok(Some(Window {
            count: count.checked_sub(before.count),
            sum: sum.zip(before.sum).map(|(now, before)| now - before),
            min: extreme(*min, before.min),
            max: extreme(*max, before.max),
        }))
    }

    fn send_buckets(&mut self, way: &mut Way<'_>, place: &Place, point: &Histogram) -> Result<(), Trouble> {
        for (index, &count) in point.counts.iter().enumerate() {
            let (lower, upper) = histogram::bucket(&point.bounds, index);
            self.part_tags.clear();
            self.part_tags.push(b"lower_bound", float_text(lower).as_bytes());
            self.part_tags.push(b"upper_bound", float_text(upper).as_bytes());
            self.send_part(way, ".bucket", Type::Count, place, count as f64)?;
        }
        Ok(())
    }

    fn exponential(&mut self, message: Message<'_>, way: &mut Way<'_>) -> Result<(), Trouble> {
        let fixed = &way.scope.fixed;
        let point = Exponential::read(message, &mut self.point_tags, &|key| fixed.contains(key))?;
        if point.head.is_empty() {
            return Ok(());
        }
        for figure in [point.sum, point.min, point.max] {
            figure.map_or(Ok(0.0), finite)?;
        }
        let place = self.place(point.head, true);
        let sketch = histogram::exponential(&point)?;
        if self.options.send_aggregation_metrics
            && let Some(sum) = point.sum
        {
            self.send(way, ".count", Type::Count, &place, point.count as f64)?;
            self.send(way, ".sum", Type::Count, &place, sum)?;
            self.send_extremes(way, &place, point.min, point.max)?;
        }
        let Some(mut sketch) = sketch else { return Ok(()) };
        let (common, tags, seconds) = (&way.scope.common, &self.point_tags, place.seconds);
        way.output.sketch(common, way.name, tags, seconds, |out| sketch.write(seconds, out))
    }

    fn summary(&mut self, message: Message<'_>, index: usize, way: &mut Way<'_>) -> Result<(), Trouble> {
        let fixed = &way.scope.fixed;
        let point = Summary::read(message, &mut self.point_tags, &|key| fixed.contains(key))?;
        if point.head.is_empty() {
            return Ok(());
        }
        let sum = finite(point.sum)?;
        let place = self.place(point.head, false);
        let id = self.series(way, ".count", place.times);
        self.rise(way, ".count", id, index, &place, point.count as f64)?;
        let id = self.series(way, ".sum", place.times);
        if let Some(difference) = way.deltas.plain(id, place.times, sum, self.clock.seconds)? {
            self.send(way, ".sum", Type::Count, &place, difference)?;
        }
        if self.options.quantiles {
            for &(quantile, value) in point.quantiles.iter().filter(|(_, value)| value.is_finite()) {
                self.part_tags.clear();
                self.part_tags.push(b"quantile", float_text(quantile).as_bytes());
                self.send_part(way, ".quantile", Type::Gauge, &place, value)?;
            }
        }
        Ok(())
    }

    fn send_extremes(
        &mut self,
        way: &mut Way<'_>,
        place: &Place,
        min: Option<f64>,
        max: Option<f64>,
    ) -> Result<(), Trouble> {
        for (suffix, value) in [(".min", min), (".max", max)] {
            if let Some(value) = value {
                self.send(way, suffix, Type::Gauge, place, value)?;
            }
        }
        Ok(())
    }

    /// Sends a point with its own tags.
    fn send(
        &mut self,
        way: &mut Way<'_>,
        suffix: &'static str,
        kind: Type,
        place: &Place,
        value: f64,
    ) -> Result<(), Trouble> {
        self.part_tags.clear();
        self.send_part(way, suffix, kind, place, value)
    }

    /// Sends a point with its own tags and those of the part.
    fn send_part(
        &self,
        way: &mut Way<'_>,
        suffix: &'static str,
        kind: Type,
        place: &Place,
        value: f64,
    ) -> Result<(), Trouble> {
        let name = Name { metric: way.name, suffix };
        let interval = if suffix.is_empty() && kind == Type::Count { place.interval } else { 0 };
        let point = Point { kind, interval, seconds: place.seconds, value };
        way.output.series(&way.scope.common, name, [&self.point_tags, &self.part_tags], point)
    }

    /// When a point is; a point without a time is of now.
    fn place(&self, head: Head, is_delta: bool) -> Place {
        let times = Times { start: head.start, time: head.time };
        let seconds = match head.time / 1_000_000_000 {
            0 => self.clock.now.0 / 1_000,
            seconds => seconds.cast_signed(),
        };
        let interval = if is_delta && self.options.infer_delta_interval { interval(times) } else { 0 };
        Place { times, seconds, interval }
    }

    /// The series of a point.
    fn series(&self, way: &Way<'_>, suffix: &str, times: Times) -> SeriesId {
        self.hasher(way, suffix, times).finish()
    }

    fn hasher(&self, way: &Way<'_>, suffix: &str, times: Times) -> SeriesHasher {
        let mut hasher = way.scope.hasher;
        hasher.add(way.name);
        hasher.add(suffix.as_bytes());
        hasher.add_number(times.start);
        add_sorted(&self.point_tags, &mut hasher);
        hasher
    }
}

fn finite(value: f64) -> Result<f64, Reason> {
    if value.is_finite() { Ok(value) } else { Err(Reason::NotFinite) }
}

/// The interval of a delta, when it is within a twentieth of a whole number of seconds (`inferDeltaInterval`).
fn interval(times: Times) -> u64 {
    let nanos = times.time.saturating_sub(times.start);
    if times.start == 0 || nanos == 0 {
        return 0;
    }
    let seconds = nanos as f64 / 1e9;
    let whole = seconds.round();
    if (seconds - whole).abs() < 0.05 { whole as u64 } else { 0 }
}

/// A number as a tag of the Agent has it (`formatFloat`): `-inf`, `0`, `10.0`, `0.25`, `1e+06.0`.
fn float_text(value: f64) -> String {
    if value == f64::INFINITY {
        return "inf".into();
    } else if value == f64::NEG_INFINITY {
        return "-inf".into();
    } else if value == 0.0 {
        return "0".into();
    }
    let scientific = format!("{value:e}");
    let mut text = Vec::new();
    // Writing to a vector does not fail.
    let _ =
        match scientific.split_once('e').and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?))) {
            Some((digits, exponent)) if !(-4..6).contains(&exponent) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                write!(text, "{digits}e{sign}{:02}", exponent.abs())
            }
            _ => write!(text, "{value}"),
        };
    if value.fract() == 0.0 {
        text.extend_from_slice(b".0");
    }
    String::from_utf8(text).unwrap_or_default()
}
