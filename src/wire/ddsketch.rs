//! The Agent's sketch of a distribution: DDSketch with the parameters that Datadog's intake expects of it.
//!
//! DataDog/datadog-agent, `pkg/util/quantile` (`config.go`, `sparse.go`, `agent.go`). Any other mapping on this endpoint
//! gives wrong quantiles and no error. See `docs/decisions/dogstatsd.md`.

use super::encode;

/// ln γ, where γ = 1 + 2/128: as the Agent computes it, by `ln_1p`.
pub(super) const LN_GAMMA: f64 = 0.015_504_186_535_965_254;
/// The key of 1: so that the smallest value that is told from zero, 1e-9, has key 1.
pub(super) const BIAS: f64 = 1338.0;
/// Values below this are in the bin of zero: γ^(1 - bias).
const SMALLEST: f64 = 9.941_854_089_121_45e-10;
/// The greatest key, which means infinity.
const MAX_KEY: i16 = i16::MAX;
/// The most bins; beyond them the lowest are folded into the lowest that stays.
const MAX_BINS: usize = 4096;
/// Keys are buffered up to so many, or as many as there are bins, before they are sorted in.
const MAX_PENDING: usize = 512;
const MIN_PENDING: usize = 16;

/// A distribution of values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sketch {
    /// Ascending by key.
    bins: Vec<Bin>,
    /// Keys of samples of weight 1 that are not in the bins yet.
    pending: Vec<i16>,
    count: u64,
    min: f64,
    max: f64,
    sum: f64,
    average: f64,
}

/// What is said of a distribution besides its bins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Summary {
    pub count: u64,
    pub min: f64,
    pub max: f64,
    pub sum: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bin {
    key: i16,
    count: u32,
}

impl Sketch {
    /// Takes a sample that stands for 1/`rate` samples. The count gains the whole part of that, the sum all of it; a rate
    /// outside of (0, 1] counts as 1. A value that is not finite is ignored.
    #[inline]
    pub fn insert(&mut self, value: f64, rate: f64) {
        if !value.is_finite() {
            return;
        }
        if rate > 0.0 && rate < 1.0 {
            let factor = 1.0 / rate;
            // At least 1, since the rate is below it; the cast saturates.
            self.insert_weighted(value, factor as u32, value * factor);
            return;
        }
        self.summarize(value, 1, value);
        self.pending.push(key(value));
        if self.pending.len() >= self.bins.len().clamp(MIN_PENDING, MAX_PENDING) {
            self.settle();
        }
    }

    /// Takes `count` samples of about that value, which together are `sum`.
    pub fn insert_weighted(&mut self, value: f64, count: u32, sum: f64) {
        if count == 0 || !value.is_finite() || !sum.is_finite() {
            return;
        }
        self.summarize(value, count, sum);
        let key = key(value);
        match self.bins.binary_search_by_key(&key, |bin| bin.key) {
            Ok(at) => self.bins[at].count = self.bins[at].count.saturating_add(count),
            Err(at) => self.bins.insert(at, Bin { key, count }),
        }
        self.fold();
    }

    /// The sketch of `bins`, of which each key is not below the one before, with figures that are known otherwise.
    pub(super) fn from_bins(bins: &[(i16, u32)], summary: Summary) -> Self {
        let Summary { count, min, max, sum } = summary;
        let mut merged: Vec<Bin> = Vec::with_capacity(bins.len());
        for &(key, count) in bins {
            match merged.last_mut() {
                Some(last) if last.key == key => last.count = last.count.saturating_add(count),
                _ => merged.push(Bin { key, count }),
            }
        }
        let average = sum / count as f64;
        let mut sketch = Self { bins: merged, pending: Vec::new(), count, min, max, sum, average };
        sketch.fold();
        sketch
    }

    fn summarize(&mut self, value: f64, count: u32, sum: f64) {
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        } else {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
        self.count += u64::from(count);
        self.sum += sum;
        self.average += (value - self.average) * f64::from(count) / self.count as f64;
    }

    /// How many samples it holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether it holds no samples: such a sketch is not sent.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bins and buffered keys it holds, as a measure of its memory.
    pub fn len(&self) -> usize {
        self.bins.len() + self.pending.len()
    }

    /// The value of that rank, from 0, within 1/128 of it.
    pub fn value_at_rank(&mut self, rank: u64) -> f64 {
        self.settle();
        let mut passed = 0;
        for bin in &self.bins {
            passed += u64::from(bin.count);
            if passed > rank {
                // The key is the rounded logarithm: its power is the middle of the bin, by ratio.
                return power(bin.key).clamp(self.min, self.max);
            }
        }
        self.max
    }

    /// Writes a `Dogsketch` (DataDog/agent-payload, `agent_payload.proto`) of that time, in Unix seconds.
    pub fn write(&mut self, seconds: i64, out: &mut Vec<u8>) {
        self.settle();
        encode::int64(1, seconds, out);
        encode::uint64(2, self.count, out);
        encode::double(3, self.min, out);
        encode::double(4, self.max, out);
        encode::double(5, self.average, out);
        encode::double(6, self.sum, out);
        encode::packed(7, out, |out| {
            for bin in &self.bins {
                encode::varint(zigzag(bin.key), out);
            }
        });
        encode::packed(8, out, |out| {
            for bin in &self.bins {
                encode::varint(u64::from(bin.count), out);
            }
        });
    }

    /// Sorts the buffered keys into the bins.
    fn settle(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.pending.sort_unstable();
        let mut merged = Vec::with_capacity(self.bins.len() + 8);
        let mut bins = self.bins.iter().copied().peekable();
        for run in self.pending.chunk_by(|a, b| a == b) {
            // No run is longer than the buffer.
            let mut bin = Bin { key: run[0], count: run.len() as u32 };
            while let Some(before) = bins.next_if(|other| other.key < bin.key) {
                merged.push(before);
            }
            if let Some(same) = bins.next_if(|other| other.key == bin.key) {
                bin.count = bin.count.saturating_add(same.count);
            }
            merged.push(bin);
        }
        merged.extend(bins);
        self.bins = merged;
        self.pending.clear();
        self.fold();
    }

    /// Folds the lowest bins into the lowest that stays, when there are too many.
    fn fold(&mut self) {
        let Some(surplus) = self.bins.len().checked_sub(MAX_BINS).filter(|surplus| *surplus > 0) else { return };
        let folded = self.bins.drain(..surplus).fold(0_u32, |sum, bin| sum.saturating_add(bin.count));
        self.bins[0].count = self.bins[0].count.saturating_add(folded);
    }
}

/// The key of a finite value's bin.
#[inline]
pub(super) fn key(value: f64) -> i16 {
    let size = value.abs();
    if size < SMALLEST {
        return 0;
    }
    let key = ((size.ln() / LN_GAMMA).round_ties_even() + BIAS).clamp(1.0, f64::from(MAX_KEY)) as i16;
    if value < 0.0 { -key } else { key }
}

/// The value that a key stands for.
pub(super) fn power(key: i16) -> f64 {
    match key {
        0 => 0.0,
        key if key < 0 => -power(-key),
        key => ((f64::from(key) - BIAS) * LN_GAMMA).exp(),
    }
}

fn zigzag(key: i16) -> u64 {
    let key = i64::from(key);
    ((key << 1) ^ (key >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A sketch of samples that are all taken.
    fn sketch(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.insert(*value, 1.0));
        sketch
    }

    fn bins(sketch: &mut Sketch) -> Vec<(i16, u32)> {
        sketch.settle();
        sketch.bins.iter().map(|bin| (bin.key, bin.count)).collect()
    }

    #[test]
    fn keys_are_those_of_the_agent() {
        let known = [(0.0, 0), (1e-10, 0), (1e-9, 1), (1.0, 1338), (-1.0, -1338), (0.001, 892), (-100.0, -1635)];
        for (value, expected) in known {
            assert_eq!(key(value), expected, "{value}");
        }
        assert_eq!((key(f64::MAX), key(f64::MIN)), (32_767, -32_767));
    }

    #[test]
    fn the_bytes_are_those_of_the_reference() {
        // Keys -1338, 0 and 1338, one each.
        let mut out = Vec::new();
        sketch(&[1.0, -1.0, 0.0]).write(0, &mut out);
        let expected = [0x3a, 0x05, 0xf3, 0x14, 0x00, 0xf4, 0x14, 0x42, 0x03, 0x01, 0x01, 0x01];
        assert!(out.ends_with(&expected), "{out:x?}");
    }

    #[test]
    fn beyond_the_most_bins_the_lowest_are_folded() {
        let mut many = Sketch::default();
        for key in 0..5_000_i16 {
            many.insert(power(key), 1.0);
        }
        let bins = bins(&mut many);
        assert_eq!((bins.len(), bins[0]), (4_096, (904, 905)));
        assert_eq!((many.count(), bins[4_095]), (5_000, (4_999, 1)));
    }

    #[test]
    fn a_sample_of_a_rate_counts_whole_and_sums_exactly() {
        let mut third = Sketch::default();
        third.insert(10.0, 0.3);
        assert_eq!((third.count(), third.min, third.max, third.average), (3, 10.0, 10.0, 10.0));
        assert!((third.sum - 100.0 / 3.0).abs() < 1e-9);
        assert_eq!(bins(&mut third), [(1487, 3)]);
    }

    proptest! {
        #[test]
        fn every_rank_is_within_the_accuracy(
            mut values in prop::collection::vec(prop_oneof![-1e12..1e12, -1.0..1.0, Just(0.0)], 1..2_000),
        ) {
            let mut sketch = sketch(&values);
            values.sort_by(f64::total_cmp);
            for rank in [0, values.len() / 2, values.len() * 95 / 100, values.len() - 1] {
                let (exact, told) = (values[rank], sketch.value_at_rank(rank as u64));
                prop_assert!((exact - told).abs() <= exact.abs() / 128.0 + SMALLEST, "{exact} told as {told}");
            }
            let sum: f64 = values.iter().sum();
            prop_assert!((sketch.sum - sum).abs() <= 1e-9 * values.iter().map(|v| v.abs()).sum::<f64>());
            prop_assert_eq!(sketch.count(), values.len() as u64);
            prop_assert_eq!((sketch.min, sketch.max), (values[0], values[values.len() - 1]));
        }

        #[test]
        fn the_order_of_samples_is_nothing_to_the_bins(
            values in prop::collection::vec((-1e6..1e6, 1_u32..5), 1..700), turn in 0_usize..700,
        ) {
            let build = |values: &[(f64, u32)]| {
                let mut sketch = Sketch::default();
                values.iter().for_each(|(value, n)| sketch.insert(*value, 1.0 / f64::from(*n)));
                bins(&mut sketch)
            };
            let mut turned = values.clone();
            turned.rotate_left(turn % values.len());
            prop_assert_eq!(build(&values), build(&turned));
        }
    }
}
