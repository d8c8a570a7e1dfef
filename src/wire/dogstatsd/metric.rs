//! Metrics: `<name>:<value>[:<value>...]|<type>[|@<rate>][|#<tags>][|T<seconds>][|...]`.

use super::fields::{fields, integer};
use super::number::number;
use super::reason::Reason;
use memchr::memchr;

/// Samples of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric<'a> {
    /// The name as sent: any bytes but `:`, `|` and `\n`.
    pub name: &'a [u8],
    /// The type.
    pub metric_type: MetricType,
    /// The values.
    pub value: Value<'a>,
    /// The sample rate; 1 where none is given, or one outside of (0, 1].
    pub rate: f64,
    /// The tags as sent, comma-separated: see [`super::Tags`].
    pub tags: &'a [u8],
    /// The time that the samples bear, in Unix seconds.
    pub timestamp: Option<i64>,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// `c`
    Counter,
    /// `g`
    Gauge,
    /// `h`
    Histogram,
    /// `ms`
    Timer,
    /// `d`
    Distribution,
    /// `s`
    Set,
}

/// The values of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// One number, perhaps not finite.
    One(f64),
    /// Several numbers with `:` between them, each of which is known to be one.
    Packed(&'a [u8]),
    /// A member of a set.
    Text(&'a [u8]),
}

impl<'a> Metric<'a> {
    /// Reads a line that is neither an event nor a service check.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub fn parse(line: &'a [u8]) -> Result<Self, Reason> {
        let head = &line[..memchr(b'|', line).ok_or(Reason::NoPipe)?];
        let colon = memchr(b':', head).ok_or(Reason::NoColon)?;
        let (name, text) = (&head[..colon], &head[colon + 1..]);
        if name.is_empty() {
            return Err(Reason::EmptyName);
        }
        if text.is_empty() {
            return Err(Reason::EmptyValue);
        }
        let rest = &line[head.len() + 1..];
        let (metric_type, length) = MetricType::at(rest).ok_or(Reason::BadType)?;
        let value = Value::parse(metric_type, text)?;
        let mut metric = Self { name, metric_type, value, rate: 1.0, tags: b"", timestamp: None };
        for field in fields(&rest[length..]) {
            match field.split_first() {
                Some((b'#', tags)) => metric.tags = tags,
                Some((b'@', rate)) => metric.rate = sample_rate(number(rate).ok_or(Reason::BadRate)?),
                Some((b'T', seconds)) => {
                    let seconds = integer(seconds).filter(|seconds| *seconds >= 1);
                    metric.timestamp = Some(seconds.ok_or(Reason::BadTimestamp)?);
                }
                // Container id, external data, cardinality, and whatever comes next.
                _ => {}
            }
        }
        Ok(metric)
    }
}

/// A rate that means anything.
fn sample_rate(rate: f64) -> f64 {
    if rate > 0.0 && rate <= 1.0 { rate } else { 1.0 }
}

impl MetricType {
    /// The type that `rest` begins with, and its length.
    #[inline]
    fn at(rest: &[u8]) -> Option<(Self, usize)> {
        let metric_type = match rest.first()? {
            b'c' => Self::Counter,
            b'g' => Self::Gauge,
            b'h' => Self::Histogram,
            b'd' => Self::Distribution,
            b's' => Self::Set,
            b'm' if rest.get(1) == Some(&b's') => Self::Timer,
            _ => return None,
        };
        let length = 1 + usize::from(metric_type == Self::Timer);
        matches!(rest.get(length), None | Some(b'|')).then_some((metric_type, length))
    }
}

impl<'a> Value<'a> {
    #[inline]
    fn parse(metric_type: MetricType, text: &'a [u8]) -> Result<Self, Reason> {
        if metric_type == MetricType::Set {
            return Ok(Self::Text(text));
        }
        if memchr(b':', text).is_none() {
            return number(text).map(Self::One).ok_or(Reason::BadValue);
        }
        let mut is_empty = true;
        for element in elements(text) {
            number(element).ok_or(Reason::BadValue)?;
            is_empty = false;
        }
        if is_empty { Err(Reason::NoValues) } else { Ok(Self::Packed(text)) }
    }

    /// The numbers; none of a set.
    #[inline]
    pub fn numbers(self) -> Values<'a> {
        match self {
            Self::One(number) => Values { next: Some(number), packed: b"" },
            Self::Packed(packed) => Values { next: None, packed },
            Self::Text(_) => Values { next: None, packed: b"" },
        }
    }
}

/// Iterates over the numbers of a [`Value`].
#[derive(Debug, Clone)]
pub struct Values<'a> {
    next: Option<f64>,
    packed: &'a [u8],
}

impl Iterator for Values<'_> {
    type Item = f64;

    #[inline]
    fn next(&mut self) -> Option<f64> {
        if let Some(number) = self.next.take() {
            return Some(number);
        }
        let (element, rest) = split_element(self.packed)?;
        self.packed = rest;
        // It was a number when the line was read.
        number(element)
    }
}

/// The elements of a list that are not empty.
fn elements(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (element, after) = split_element(rest)?;
        rest = after;
        Some(element)
    })
}

/// The first element of a list that is not empty, and what follows it.
fn split_element(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = text.iter().position(|byte| *byte != b':')?;
    let text = &text[start..];
    let end = memchr(b':', text).unwrap_or(text.len());
    Some(text.split_at(end))
}
