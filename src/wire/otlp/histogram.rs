//! Histograms become sketches, as Datadog's exporter makes them (DataDog/datadog-agent, `otlp/metrics/default_mapper.go`,
//! `pkg/util/quantile/{agent,ddsketch}.go`).

use super::options::MAX_OBSERVATIONS;
use super::point::Exponential;
use super::reason::Reason;
use crate::wire::ddsketch::{BIAS, LN_GAMMA, Sketch, Summary, key, power};
use std::sync::LazyLock;

/// The values of the keys of positive values, of which a histogram needs hundreds.
static POWERS: LazyLock<Vec<f64>> = LazyLock::new(|| (0..=i16::MAX).map(power).collect());

/// The value that a key stands for.
fn value_of(key: i16) -> f64 {
    let size = POWERS[usize::from(key.unsigned_abs()) & 0x7fff];
    if key < 0 { -size } else { size }
}

/// What is known of a histogram besides its buckets, for the time since the point before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    pub count: Option<u64>,
    pub sum: Option<f64>,
    pub min: Extreme,
    pub max: Extreme,
}

/// The least or greatest value of a histogram.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Extreme {
    #[default]
    Unknown,
    /// Of all time since the start, so that this window's is not beyond it.
    Overall(f64),
    /// Of this window.
    Exact(f64),
}

impl Extreme {
    fn exact(self) -> Option<f64> {
        if let Self::Exact(value) = self { Some(value) } else { None }
    }
}

/// The bounds of the bucket of that index, of which there is one more than `bounds`.
pub(super) fn bucket(bounds: &[f64], index: usize) -> (f64, f64) {
    let lower = index.checked_sub(1).and_then(|index| bounds.get(index)).copied().unwrap_or(f64::NEG_INFINITY);
    (lower, bounds.get(index).copied().unwrap_or(f64::INFINITY))
}

/// Checks that buckets and bounds belong together.
pub(super) fn check(bounds: &[f64], counts: usize) -> Result<(), Reason> {
    if counts > 0 && counts != bounds.len() + 1 {
        return Err(Reason::Buckets);
    }
    // NaN is not ascending either.
    if bounds.first().is_some_and(|bound| bound.is_nan()) || !bounds.is_sorted() {
        return Err(Reason::Bounds);
    }
    Ok(())
}

/// The sketch of a histogram with explicit bounds, nothing when it holds no observations. What a bucket held before is not in
/// its count any more.
pub(super) fn explicit(bounds: &[f64], counts: &[u64], window: Window) -> Result<Option<Sketch>, Reason> {
    let mut filled = Filled::default();
    // Lower bound of the lowest bucket with observations, upper bound of the highest.
    let mut span: Option<(f64, f64)> = None;
    let mut fill = |bounds: &[f64], counts: &[u64]| {
        for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (lower, upper) = bucket(bounds, index);
            span = Some((span.map_or(lower, |(least, _)| least), upper));
            filled.fill(lower, upper, count, window.sum)?;
        }
        Ok(())
    };
    match (counts.is_empty(), window.count) {
        (false, _) => fill(bounds, counts)?,
        (true, Some(count)) => match (window.min.exact(), window.max.exact()) {
            (Some(min), Some(max)) if min <= max => fill(&[min, max], &[0, count, 0])?,
            (Some(min), _) => fill(&[min], &[0, count])?,
            (None, Some(max)) => fill(&[max], &[count, 0])?,
            (None, None) => fill(&[], &[count])?,
        },
        (true, None) => {}
    }
    let Some((lower, upper)) = span else { return Ok(None) };
    let mut summary = filled.summary;
    if let (Some(count), Some(sum)) = (window.count, window.sum) {
        (summary.count, summary.sum) = (count, sum);
    }
    if lower.is_finite() {
        summary.min = lower;
    }
    if upper.is_finite() {
        summary.max = upper;
    }
    match window.min {
        Extreme::Exact(min) => summary.min = min,
        // The bins are wider than the buckets.
        Extreme::Overall(min) => summary.min = summary.min.max(min),
        Extreme::Unknown => {}
    }
    match window.max {
        Extreme::Exact(max) => summary.max = max,
        Extreme::Overall(max) => summary.max = summary.max.min(max),
        Extreme::Unknown => {}
    }
    summary.min = summary.min.min(summary.max);
    Ok(Some(Sketch::from_bins(&filled.bins, summary)))
}

/// Bins that are filled from the lowest to the highest.
#[derive(Debug)]
struct Filled {
    bins: Vec<(i16, u32)>,
    summary: Summary,
}

impl Default for Filled {
    fn default() -> Self {
        let summary = Summary { count: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0.0 };
        Self { bins: Vec::new(), summary }
    }
}

impl Filled {
    /// Takes the observations of a bucket. A sum, where it is known, says where observations are that may be anywhere.
    fn fill(&mut self, lower: f64, upper: f64, count: u64, sum: Option<f64>) -> Result<(), Reason> {
        let (lower, upper) = match (lower.is_finite(), upper.is_finite()) {
            (true, true) if lower == 0.0 && upper > 0.0 => (upper, upper),
            (true, true) => (lower, upper),
            (true, false) => (lower, lower),
            (false, true) => (upper, upper),
            (false, false) => {
                let middle = sum.map(|sum| sum / count as f64).filter(|middle| middle.is_finite());
                let middle = middle.ok_or(Reason::NoBuckets)?;
                return self.insert(key(middle), middle, count);
            }
        };
        self.interpolate(lower, upper, count)
    }

    /// Spreads the observations of a bucket evenly over the bins between its bounds (`InsertInterpolate`).
    ///
    /// The Agent looks at every bin on the way. Where observations are few and bins many, the next bin that gets one is searched
    /// for instead.
    fn interpolate(&mut self, lower: f64, upper: f64, count: u64) -> Result<(), Reason> {
        let last = key(upper);
        let (mut at, mut low) = (key(lower), value_of(key(lower)));
        let mut left = count;
        let mut fraction = 0.0;
        let share = |low: f64, end: i16| (value_of(end) - low) / (upper - lower) * count as f64;
        let mut end = at;
        while end < last && left > 0 {
            end += 1;
            if share(low, end) < 1.0 && fraction <= 1.0 {
                let Some(found) = search(end, last, |end| share(low, end) >= 1.0) else { break };
                end = found;
            }
            let share = share(low, end);
            if share > 1.0 {
                fraction += share.fract();
            }
            let mut whole = share as u64;
            if fraction > 1.0 {
                whole += 1;
                fraction -= 1.0;
            }
            let whole = whole.min(left);
            self.insert(at, low, whole)?;
            left -= whole;
            (at, low) = (end, value_of(end));
        }
        self.insert(at, low, left)
    }

    fn insert(&mut self, key: i16, value: f64, count: u64) -> Result<(), Reason> {
        if count == 0 {
            return Ok(());
        }
        let summary = &mut self.summary;
        summary.count = summary.count.saturating_add(count);
        let count = u32::try_from(count).map_err(|_| Reason::TooManyObservations)?;
        if summary.count > MAX_OBSERVATIONS {
            return Err(Reason::TooManyObservations);
        }
        summary.sum += value * f64::from(count);
        summary.min = summary.min.min(value);
        summary.max = summary.max.max(value);
        self.bins.push((key, count));
        Ok(())
    }
}

/// The first of `from..=to` that is `enough`, given that all after it are.
fn search(from: i16, to: i16, enough: impl Fn(i16) -> bool) -> Option<i16> {
    if !enough(to) {
        return None;
    }
    let (mut low, mut high) = (i32::from(from), i32::from(to));
    while low < high {
        let middle = (low + high).div_euclid(2);
        if enough(middle as i16) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(low as i16)
}

/// The sketch of an exponential histogram, nothing when it holds no observations.
pub(super) fn exponential(point: &Exponential) -> Result<Option<Sketch>, Reason> {
    let Exponential { count, sum, min, max, scale, zero_count, positive, negative, .. } = point;
    let mut total = *zero_count;
    for count in positive.counts.iter().chain(&negative.counts) {
        total = total.saturating_add(*count);
    }
    if total == 0 {
        return Ok(None);
    }
    if total.max(*count) > MAX_OBSERVATIONS {
        return Err(Reason::TooManyObservations);
    }
    let scale = Scale(f64::from(*scale));
    let mut spread = Spread::default();
    if total == 1 {
        let of = |buckets: &super::point::Buckets, sign: f64| {
            let at = buckets.counts.iter().position(|count| *count > 0)?;
            Some(sign * scale.middle(buckets.index(at)))
        };
        let value = of(positive, 1.0).or_else(|| of(negative, -1.0)).unwrap_or(0.0);
        if !value.is_finite() {
            return Err(Reason::OutOfRange);
        }
        spread.shares.push((key(value), 1.0));
    } else {
        // Ascending by key: the lowest is the negative value farthest from 0.
        for (at, &count) in negative.counts.iter().enumerate().rev().filter(|(_, count)| **count > 0) {
            spread.negative.clear();
            scale.spread(negative.index(at), count, &mut spread.zeros, &mut spread.negative)?;
            spread.shares.extend(spread.negative.iter().rev().map(|(key, share)| (-key, *share)));
        }
        let (mut zeros, mut above) = (spread.zeros + *zero_count as f64, Vec::new());
        for (at, &count) in positive.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            scale.spread(positive.index(at), count, &mut zeros, &mut above)?;
        }
        if zeros > 0.0 {
            spread.shares.push((0, zeros));
        }
        spread.shares.append(&mut above);
    }
    let (Some(&(lowest, _)), Some(&(highest, _))) = (spread.shares.first(), spread.shares.last()) else {
        return Ok(None);
    };
    let mut summary = Summary { count: 0, min: middle(lowest), max: middle(highest), sum: 0.0 };
    let (mut running, mut given) = (0.0, 0);
    let mut bins = Vec::with_capacity(spread.shares.len());
    for (index, &(key, share)) in spread.shares.iter().enumerate() {
        running += share;
        // Shares of one bin are rounded together.
        if spread.shares.get(index + 1).is_some_and(|next| next.0 == key) {
            continue;
        }
        let whole = running.round() as u64 - given;
        given += whole;
        if whole > 0 {
            // No bin has more than all observations.
            bins.push((key, whole as u32));
            summary.sum += power(key) * whole as f64;
        }
    }
    summary.count = given;
    if let Some(sum) = *sum {
        (summary.count, summary.sum) = (*count, sum);
        if *count == 1 {
            (summary.min, summary.max) = (sum, sum);
        }
    }
    summary.min = min.unwrap_or(summary.min);
    summary.max = max.unwrap_or(summary.max);
    Ok(Some(Sketch::from_bins(&bins, summary)))
}

/// Observations as fractions of bins.
#[derive(Debug, Default)]
struct Spread {
    /// Key and count, ascending by key; a key may repeat.
    shares: Vec<(i16, f64)>,
    zeros: f64,
    /// Scratch: the bins of one negative bucket.
    negative: Vec<(i16, f64)>,
}

impl super::point::Buckets {
    /// The index of the bucket at that position.
    fn index(&self, at: usize) -> f64 {
        f64::from(self.offset) + at as f64
    }
}

/// The scale of an exponential histogram: a bucket of index i is (b^i, b^(i + 1)], where b = 2^(2^-scale).
#[derive(Debug, Clone, Copy)]
struct Scale(f64);

impl Scale {
    fn bound(self, index: f64) -> f64 {
        (index * (-self.0).exp2()).exp2()
    }

    /// The value that Datadog's sketches take for all of a bucket.
    fn middle(self, index: f64) -> f64 {
        let base = self.bound(1.0);
        self.bound(index) * (1.0 + (1.0 - 2.0 / (1.0 + base)))
    }

    /// Spreads the observations of a bucket over the bins that it overlaps, by the length of the overlap; what is too small
    /// for a bin of its own is among the zeros.
    fn spread(self, index: f64, count: u64, zeros: &mut f64, bins: &mut Vec<(i16, f64)>) -> Result<(), Reason> {
        let (lower, upper) = (self.bound(index), self.bound(index + 1.0));
        let size = upper - lower;
        if !(size > 0.0 && size.is_finite()) {
            return Err(Reason::OutOfRange);
        }
        let count = count as f64;
        let first = (lower.ln() / LN_GAMMA + BIAS + 0.5).floor();
        if lower < edge(1.0) {
            *zeros += (upper.min(edge(1.0)) - lower) / size * count;
        }
        let mut bin = first.max(1.0);
        while edge(bin) < upper {
            if bin >= f64::from(i16::MAX) {
                return Err(Reason::OutOfRange);
            }
            let overlap = edge(bin + 1.0).min(upper) - edge(bin).max(lower);
            bins.push((bin as i16, overlap / size * count));
            bin += 1.0;
        }
        Ok(())
    }
}

/// The lower edge of a sketch's bin, when bins are taken to touch each other.
fn edge(key: f64) -> f64 {
    ((key - BIAS - 0.5) * LN_GAMMA).exp()
}

/// The value in the middle of a bin.
fn middle(key: i16) -> f64 {
    let gamma = LN_GAMMA.exp();
    let size = edge(f64::from(key.unsigned_abs())) * (1.0 + (1.0 - 2.0 / (1.0 + gamma)));
    match key {
        0 => 0.0,
        key if key < 0 => -size,
        _ => size,
    }
}
