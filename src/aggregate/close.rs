//! Writing a closed bucket: series and sketches of each context, and zeros of counters.

use super::aggregator::Aggregator;
use super::class::Class;
use super::closing::Closing;
use super::options::Aggregate;
use super::slot::Slot;
use super::writer::Writer;
use crate::types::{Kind, UnixMillis};

/// Contexts other than counters are forgotten when nothing has come for so long, in seconds.
const IDLE: i64 = 30;

impl Aggregator {
    /// Closes the open bucket if its time has passed. When the clock was set back by more than a bucket, it is closed too, and
    /// the timestamps from now on are others than those that were sent for that time.
    pub fn roll(&mut self, now: i64) {
        let interval = self.options.interval;
        let is_set_back = now < self.start - interval;
        if now < self.start + interval && !is_set_back {
            return;
        }
        if is_set_back {
            self.phase = (self.phase + 1) % interval;
        }
        self.close(self.options.bucket(now));
    }

    fn close(&mut self, next: i64) {
        // One that is still being written has had a whole interval's time; now it has to be.
        while !self.advance(u32::MAX) {}
        let (slot, start, stamp) = (self.open, self.start, self.stamp);
        self.closing = Some(Closing { slot, start, until: next, stamp, phase: self.phase, next: 0 });
        self.open = 1 - self.open;
        self.start = next;
        self.stamp = next + self.phase;
        self.examples = Default::default();
    }

    /// Closes the open bucket although its time has not passed, and writes it: the last thing to do. What is added
    /// afterwards belongs to a bucket that bears a later second.
    pub fn finish(&mut self, now: i64) {
        self.roll(now);
        let stamp = self.stamp;
        self.close(self.start);
        while !self.advance(u32::MAX) {}
        self.stamp = now.max(stamp + 1);
    }

    /// Writes up to so many contexts of the closed bucket; whether all are written.
    pub fn advance(&mut self, contexts: u32) -> bool {
        let Some(mut closing) = self.closing else { return true };
        let end = self.contexts.end();
        let stop = closing.next.saturating_add(contexts).min(end);
        for index in closing.next..stop {
            self.write(index, &closing);
        }
        closing.next = stop;
        let is_done = stop == end;
        if is_done {
            self.tenants.end_bucket(closing.slot);
        }
        self.closing = (!is_done).then_some(closing);
        is_done
    }

    /// Writes what a context has gathered, or its zero; forgets the context when it is idle.
    fn write(&mut self, index: u32, closing: &Closing) {
        let Some(context) = self.contexts.get_mut(index) else { return };
        let mut slot = std::mem::take(&mut context.slots[closing.slot]);
        let timed = context.timed[closing.slot].take().map_or_else(Vec::new, |timed| *timed);
        let zeros = context.zero_until > closing.start && context.since < closing.until;
        if slot.is_empty() && timed.is_empty() && !zeros {
            let is_idle = context.seen + IDLE <= closing.start && context.copied_by == 0;
            if is_idle && context.slots.iter().all(Slot::is_empty) && context.timed.iter().all(Option::is_none) {
                self.contexts.remove(index, &mut self.tenants);
            }
            return;
        }
        let tenant = context.tenant;
        let mut points = Vec::new();
        if !slot.is_empty() || zeros {
            points.push((closing.stamp, std::mem::take(&mut slot)));
        }
        if zeros {
            let mut start = closing.start + self.options.interval;
            while start < closing.until && start < context.zero_until {
                points.push((start + closing.phase, Slot::Empty));
                start += self.options.interval;
            }
        }
        let class = context.class;
        for (time, slot) in timed {
            merge(class, &mut points, time, slot);
        }
        let Some(context) = self.contexts.get(index) else { return };
        let writer = Writer::new(context, self.contexts.name(context.name), self.options.interval);
        let time = points.iter().map(|(time, _)| *time).min().unwrap_or(closing.stamp);
        let time = UnixMillis::from_secs(time);
        match class {
            Class::Distribution => {
                self.tenants.write(tenant, Kind::Sketches, time, |out| writer.sketch(&mut points, out));
            }
            Class::Histogram => {
                let samples = points.into_iter().find_map(|(stamp, slot)| match slot {
                    Slot::Samples(samples) => Some((stamp, samples)),
                    _ => None,
                });
                let Some((stamp, mut samples)) = samples else { return };
                for aggregate in &self.options.aggregates {
                    let value = samples.aggregate(*aggregate);
                    self.tenants.write(tenant, Kind::SeriesV2Proto, time, |out| match aggregate {
                        Aggregate::Count => writer.rate(".count", [(stamp, value)], out),
                        other => writer.gauge(other.suffix(), [(stamp, value)], out),
                    });
                }
                for percentile in &self.options.percentiles {
                    let value = samples.percentile(*percentile);
                    let suffix = percentile.suffix();
                    self.tenants.write(tenant, Kind::SeriesV2Proto, time, |out| {
                        writer.gauge(&suffix, [(stamp, value)], out);
                    });
                }
            }
            Class::Counter | Class::Gauge | Class::Set => {
                let points = points.iter().map(|(time, slot)| (*time, slot.value()));
                self.tenants.write(tenant, Kind::SeriesV2Proto, time, |out| match class {
                    Class::Counter => writer.rate("", points, out),
                    _ => writer.gauge("", points, out),
                });
            }
        }
    }
}

/// Adds what bears a time of its own, so that no two points of a series bear the same.
fn merge(class: Class, points: &mut Vec<(i64, Slot)>, time: i64, slot: Slot) {
    let same = points.iter_mut().find(|(other, _)| *other == time).filter(|_| class != Class::Distribution);
    match (same, slot) {
        (Some((_, Slot::Number(sum))), Slot::Number(value)) if class == Class::Counter => *sum += value,
        (Some((_, present)), slot) => *present = slot,
        (None, slot) => points.push((time, slot)),
    }
}
