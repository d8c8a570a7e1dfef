//! Cumulative points become differences: what is remembered of each series of one tenant.
//!
//! What a request changes is kept in a log until [`Deltas::commit`], and [`Deltas::roll_back`] undoes it: a client sends a
//! request again that the daemon could not take, and would find its own points remembered otherwise, and lost.
//!
//! A series is known by a keyed hash of 128 bits instead of its text, which keeps it below 100 bytes. Its start time is part of
//! it. That tells apart two senders whose attributes are equal: each process counts from a start of its own. Datadog's
//! exporter, which keeps one value for both, takes every change from one to the other for a reset.

use super::reason::Reason;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The secret that series are hashed with, so that nobody can make two of them equal.
pub type HashKey = [u8; 16];

/// The hash of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SeriesId(u128);

/// A hash of what makes a series, in the making.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeriesHasher(SipHasher13);

impl SeriesHasher {
    /// With nothing in it.
    pub fn new(key: &HashKey) -> Self {
        Self(SipHasher13::new_with_key(key))
    }

    /// Adds a text; where it ends counts.
    pub fn add(&mut self, text: &[u8]) {
        self.0.write(text);
        self.0.write(&(text.len() as u64).to_le_bytes());
    }

    /// Adds a number.
    pub fn add_number(&mut self, number: u64) {
        self.0.write(&number.to_le_bytes());
    }

    pub fn finish(&self) -> SeriesId {
        SeriesId(self.0.finish128().into())
    }
}

/// The times of a cumulative point, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// 0 when it is not known.
    pub start: u64,
    pub time: u64,
}

impl Times {
    /// Whether an unbroken sequence of observations goes on, given that a point of this start is remembered.
    fn goes_on(self) -> bool {
        self.start == 0 || self.start != self.time
    }
}

/// What a point of a monotonic sum is, beside the one before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Not newer than what is remembered.
    Stale,
    /// The first of its series, or the first after a reset.
    First,
    /// So much more than the one before.
    Difference(f64),
}

/// A cumulative histogram, as it is remembered.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Cumulative {
    pub count: u64,
    pub sum: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub buckets: Box<[u64]>,
}

/// What is remembered of a series.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    /// The time of the last point, in nanoseconds since the Unix epoch.
    time: u64,
    /// When it was accepted, in seconds of the daemon's clock.
    seen: u32,
    last: Last,
}

#[derive(Debug, Clone, PartialEq)]
enum Last {
    Number(f64),
    Histogram(Box<Cumulative>),
}

impl Entry {
    /// A measure of its memory.
    fn units(&self) -> usize {
        match &self.last {
            Last::Number(_) => 1,
            Last::Histogram(histogram) => 2 + histogram.buckets.len() / 8,
        }
    }
}

/// The series are hashed already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.as_chunks::<8>().0 {
            self.0 ^= u64::from_le_bytes(*chunk);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What is remembered of the cumulative series of one tenant.
#[derive(Debug, Default)]
pub struct Deltas {
    entries: HashMap<SeriesId, Entry, BuildHasherDefault<Hashed>>,
    units: usize,
    /// What the units may be.
    limit: usize,
    /// What the entries that a request has changed were before, in the order of the changes.
    changes: Vec<(SeriesId, Option<Entry>)>,
    /// When what is too old was last looked for.
    swept: u32,
}

impl Deltas {
    /// How many series are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A measure of the memory it takes: one for a sum, some more for a histogram; each is below 100 bytes.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Begins a request, after which [`units`](Self::units) may be `limit` at most.
    pub fn begin(&mut self, limit: usize) {
        self.limit = limit;
        self.changes.clear();
    }

    /// Forgets series without a point for `ttl` seconds, where that was not looked for lately; `now` is in seconds of a clock
    /// that never steps.
    pub fn expire(&mut self, now: u32, ttl: u32) {
        if now.saturating_sub(self.swept) <= ttl / 2 {
            return;
        }
        self.swept = now;
        let mut units = 0;
        self.entries.retain(|_, entry| {
            let stays = now.saturating_sub(entry.seen) <= ttl;
            units += if stays { entry.units() } else { 0 };
            stays
        });
        self.units = units;
        if self.entries.capacity() > 4 * self.entries.len() + 64 {
            self.entries.shrink_to_fit();
        }
    }

    /// The request was taken: what it changed stays.
    pub fn commit(&mut self) {
        self.changes.clear();
        self.changes.shrink_to(1_024);
    }

    /// The request was not taken: all is as before it.
    pub fn roll_back(&mut self) {
        while let Some((id, before)) = self.changes.pop() {
            let changed = match before {
                Some(before) => {
                    self.units += before.units();
                    self.entries.insert(id, before)
                }
                None => self.entries.remove(&id),
            };
            self.units -= changed.map_or(0, |entry| entry.units());
        }
    }

    /// The difference of a monotonic sum.
    pub(super) fn monotonic(&mut self, id: SeriesId, times: Times, value: f64, now: u32) -> Result<Step, Reason> {
        let step = match self.entries.get(&id) {
            Some(before) if before.time >= times.time => return Ok(Step::Stale),
            Some(Entry { last: Last::Number(before), .. }) if times.goes_on() && value >= *before => {
                Step::Difference(value - before)
            }
            _ => Step::First,
        };
        self.put(id, Entry { time: times.time, seen: now, last: Last::Number(value) })?;
        Ok(step)
    }

    /// The difference of a number that may fall.
    pub(super) fn plain(&mut self, id: SeriesId, times: Times, value: f64, now: u32) -> Result<Option<f64>, Reason> {
        let difference = match self.entries.get(&id) {
            Some(before) if before.time > times.time => return Ok(None),
            Some(Entry { last: Last::Number(before), .. }) if times.goes_on() => Some(value - before),
            _ => None,
        };
        self.put(id, Entry { time: times.time, seen: now, last: Last::Number(value) })?;
        Ok(difference)
    }

    /// Remembers a histogram, and gives the one before it, unless the sequence begins anew or the point is older.
    pub(super) fn histogram(
        &mut self,
        id: SeriesId,
        times: Times,
        histogram: Cumulative,
        now: u32,
    ) -> Result<Option<&Cumulative>, Reason> {
        if self.entries.get(&id).is_some_and(|before| before.time > times.time) {
            return Ok(None);
        }
        self.put(id, Entry { time: times.time, seen: now, last: Last::Histogram(Box::new(histogram)) })?;
        Ok(match self.changes.last() {
            Some((_, Some(Entry { last: Last::Histogram(before), .. }))) if times.goes_on() => Some(before),
            _ => None,
        })
    }

    fn put(&mut self, id: SeriesId, entry: Entry) -> Result<(), Reason> {
        let is_new = !self.entries.contains_key(&id);
        let units = entry.units();
        if is_new && self.units + units > self.limit {
            return Err(Reason::TooManySeries);
        }
        let before = self.entries.insert(id, entry);
        self.units += units;
        self.units -= before.as_ref().map_or(0, Entry::units);
        self.changes.push((id, before));
        Ok(())
    }
}

/// Series as bytes, to be kept while the daemon does not run.
impl Deltas {
    /// Appends what is remembered.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for (SeriesId(id), Entry { time, last, .. }) in &self.entries {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&time.to_le_bytes());
            match last {
                Last::Number(value) => {
                    out.push(0);
                    out.extend_from_slice(&value.to_le_bytes());
                }
                Last::Histogram(histogram) => {
                    let Cumulative { count, sum, min, max, buckets } = &**histogram;
                    out.push(1);
                    out.extend_from_slice(&count.to_le_bytes());
                    for figure in [sum, min, max] {
                        // Such figures are finite when they are known.
                        out.extend_from_slice(&figure.unwrap_or(f64::NAN).to_le_bytes());
                    }
                    out.extend_from_slice(&(buckets.len() as u32).to_le_bytes());
                    for bucket in buckets {
                        out.extend_from_slice(&bucket.to_le_bytes());
                    }
                }
            }
        }
    }

    /// What [`write`](Self::write) has written at the start of `bytes`, and what follows it; every series as if seen `now`.
    pub fn read(bytes: &[u8], now: u32) -> Option<(Self, &[u8])> {
        let mut reader = Reader(bytes);
        let mut deltas = Self { swept: now, ..Self::default() };
        for _ in 0..reader.u32()? {
            let id = SeriesId(u128::from_le_bytes(reader.array()?));
            let time = reader.u64()?;
            let [form] = reader.array()?;
            let last = match form {
                0 => Last::Number(f64::from_bits(reader.u64()?)),
                1 => {
                    let count = reader.u64()?;
                    let mut figure = || Some(Some(f64::from_bits(reader.u64()?)).filter(|value| value.is_finite()));
                    let (sum, min, max) = (figure()?, figure()?, figure()?);
                    let length = reader.u32()? as usize;
                    let (buckets, rest) = reader.0.split_at_checked(length.checked_mul(8)?)?;
                    reader.0 = rest;
                    let buckets = buckets.as_chunks::<8>().0.iter().map(|bucket| u64::from_le_bytes(*bucket)).collect();
                    Last::Histogram(Box::new(Cumulative { count, sum, min, max, buckets }))
                }
                _ => return None,
            };
            let entry = Entry { time, seen: now, last };
            deltas.units += entry.units();
            deltas.entries.insert(id, entry);
        }
        Some((deltas, reader.0))
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
