//! What one context gathers in one bucket.

use super::class::Class;
use super::samples::Samples;
use super::tenant::Budget;
use crate::wire::ddsketch::Sketch;
use crate::wire::dogstatsd::{Reason, Value};
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// What was gathered.
#[derive(Debug, Default)]
pub(super) enum Slot {
    #[default]
    Empty,
    /// A counter's sum, or a gauge's last value.
    Number(f64),
    Samples(Box<Samples>),
    Sketch(Box<Sketch>),
    Members(Box<Members>),
}

/// The distinct members of a set, by a hash of 128 bits.
#[derive(Debug, Default)]
pub(super) struct Members(HashTable<u128>);

/// Hashes members so that two are never taken for one: 128 bits, of seeds that nobody knows.
#[derive(Debug, Default)]
pub(super) struct MemberHasher(RandomState, RandomState);

impl MemberHasher {
    pub fn hash(&self, member: &[u8]) -> u128 {
        u128::from(self.0.hash_one(member)) << 64 | u128::from(self.1.hash_one(member))
    }
}

impl Slot {
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// The value of a counter, gauge or set; of nothing, zero.
    pub fn value(&self) -> f64 {
        match self {
            Self::Number(value) => *value,
            Self::Members(members) => members.len() as f64,
            Self::Empty | Self::Samples(_) | Self::Sketch(_) => 0.0,
        }
    }

    /// Adds to a counter.
    #[inline]
    pub fn count(&mut self, value: f64) {
        match self {
            Self::Number(sum) => *sum += value,
            other => *other = Self::Number(value),
        }
    }

    /// Takes the samples of a line; those that are not finite are left out.
    ///
    /// # Errors
    /// Why not all were taken: the first reason.
    pub fn add(&mut self, class: Class, value: Value<'_>, rate: f64, budget: &mut Budget<'_>) -> Result<(), Reason> {
        let mut taken = Ok(());
        for value in value.numbers() {
            let one = match class {
                _ if !value.is_finite() => Err(Reason::NonFinite),
                Class::Histogram => self.sample(value, rate, budget),
                Class::Distribution => self.distribute(value, rate, budget),
                Class::Counter => {
                    self.count(value * (1.0 / rate));
                    Ok(())
                }
                Class::Gauge | Class::Set => {
                    *self = Self::Number(value);
                    Ok(())
                }
            };
            taken = taken.and(one);
        }
        taken
    }

    fn sample(&mut self, value: f64, rate: f64, budget: &mut Budget<'_>) -> Result<(), Reason> {
        match self {
            Self::Samples(samples) => samples.insert(value, rate, budget),
            other => {
                let mut samples = Box::<Samples>::default();
                let taken = samples.insert(value, rate, budget);
                if taken.is_ok() {
                    *other = Self::Samples(samples);
                }
                taken
            }
        }
    }

    fn distribute(&mut self, value: f64, rate: f64, budget: &mut Budget<'_>) -> Result<(), Reason> {
        match self {
            Self::Sketch(sketch) => budget.grow(sketch, |sketch| sketch.insert(value, rate)),
            other => {
                let mut sketch = Box::<Sketch>::default();
                budget.grow(&mut sketch, |sketch| sketch.insert(value, rate))?;
                *other = Self::Sketch(sketch);
                Ok(())
            }
        }
    }

    pub fn member(&mut self, hash: u128, budget: &mut Budget<'_>) -> Result<(), Reason> {
        match self {
            Self::Members(members) => members.insert(hash, budget),
            other => {
                let mut members = Box::<Members>::default();
                members.insert(hash, budget)?;
                *other = Self::Members(members);
                Ok(())
            }
        }
    }
}

impl Members {
    fn insert(&mut self, member: u128, budget: &mut Budget<'_>) -> Result<(), Reason> {
        let half = |member: &u128| *member as u64;
        if self.0.find(half(&member), |other| *other == member).is_some() {
            return Ok(());
        }
        if !budget.claim(1) {
            return Err(Reason::SampleLimit);
        }
        self.0.insert_unique(half(&member), member, half);
        Ok(())
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
