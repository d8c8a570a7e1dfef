//! A histogram's bucket: every sample, or a sketch of them when there are very many.

use super::options::{Aggregate, Percentile};
use super::tenant::Budget;
use crate::wire::ddsketch::Sketch;
use crate::wire::dogstatsd::Reason;

/// Beyond so many samples a bucket keeps a sketch of them, whose ranks are within 1/128. Counts, sums and extremes stay
/// exact.
const MOST_EXACT: usize = 8_192;

/// The samples of one histogram in one bucket.
#[derive(Debug, Default)]
pub(super) struct Samples {
    values: Vec<f64>,
    /// What each sample stands for; empty while that is one for all.
    weights: Vec<u32>,
    sketch: Option<Box<Sketch>>,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Samples {
    /// Takes a sample of a rate in (0, 1].
    ///
    /// # Errors
    /// When the tenant has no room for it.
    pub fn insert(&mut self, value: f64, rate: f64, budget: &mut Budget<'_>) -> Result<(), Reason> {
        let factor = 1.0 / rate;
        // At least 1; the cast saturates.
        let weight = factor as u32;
        if self.sketch.is_none() && (self.values.len() >= MOST_EXACT || !budget.claim(1)) {
            self.fold(budget);
        }
        match &mut self.sketch {
            Some(sketch) => budget.grow(sketch, |sketch| sketch.insert_weighted(value, weight, value * factor))?,
            None => self.push(value, weight),
        }
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        }
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.count += u64::from(weight);
        self.sum += value * factor;
        Ok(())
    }

    fn push(&mut self, value: f64, weight: u32) {
        if weight != 1 && self.weights.is_empty() {
            self.weights = vec![1; self.values.len()];
        }
        if weight != 1 || !self.weights.is_empty() {
            self.weights.push(weight);
        }
        self.values.push(value);
    }

    /// Goes on with a sketch of the samples.
    fn fold(&mut self, budget: &mut Budget<'_>) {
        let mut sketch = Box::new(Sketch::default());
        let weights = std::mem::take(&mut self.weights);
        let values = std::mem::take(&mut self.values);
        for (index, value) in values.iter().enumerate() {
            let weight = weights.get(index).copied().unwrap_or(1);
            sketch.insert_weighted(*value, weight, *value * f64::from(weight));
        }
        budget.give_back(values.len());
        // There is room: a sketch holds no more bins than it was given values.
        budget.claim(sketch.len());
        self.sketch = Some(sketch);
    }

    /// The value of an aggregate; the count is one a bucket and not one a second.
    pub fn aggregate(&mut self, aggregate: Aggregate) -> f64 {
        match aggregate {
            Aggregate::Max => self.max,
            Aggregate::Min => self.min,
            Aggregate::Median => self.at_rank(self.count.saturating_sub(1) / 2),
            Aggregate::Avg => self.sum / self.count as f64,
            Aggregate::Sum => self.sum,
            Aggregate::Count => self.count as f64,
        }
    }

    /// The value of a percentile.
    pub fn percentile(&mut self, percentile: Percentile) -> f64 {
        let rank = u64::from(percentile.percents()).saturating_mul(self.count).saturating_sub(1) / 100;
        self.at_rank(rank)
    }

    /// The first sample, by value, up to which there are more than `rank`.
    fn at_rank(&mut self, rank: u64) -> f64 {
        if let Some(sketch) = &mut self.sketch {
            return sketch.value_at_rank(rank);
        }
        if self.weights.is_empty() {
            let rank = usize::try_from(rank).unwrap_or(usize::MAX).min(self.values.len().saturating_sub(1));
            return match self.values.is_empty() {
                true => 0.0,
                false => *self.values.select_nth_unstable_by(rank, f64::total_cmp).1,
            };
        }
        let mut weighted: Vec<_> = self.values.iter().copied().zip(self.weights.iter().copied()).collect();
        weighted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut passed = 0;
        let at = weighted.iter().find(|(_, weight)| {
            passed += u64::from(*weight);
            passed > rank
        });
        at.map_or(self.max, |(value, _)| *value)
    }
}
