//! `Metric`, as far as it is read before its points are.

use super::reason::Trouble;
use crate::wire::protobuf::Message;

pub(super) const DELTA: u64 = 1;
pub(super) const CUMULATIVE: u64 = 2;

/// The kinds of metrics, by their numbers in the `oneof` of `Metric`.
pub(super) const GAUGE: u32 = 5;
pub(super) const SUM: u32 = 7;
pub(super) const HISTOGRAM: u32 = 9;
pub(super) const EXPONENTIAL_HISTOGRAM: u32 = 10;
pub(super) const SUMMARY: u32 = 11;

/// A metric as far as it is read before its points are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric<'a> {
    pub name: &'a [u8],
    /// Of the kinds, the last that is there.
    pub data: Option<(u32, Message<'a>)>,
    pub temporality: u64,
    pub is_monotonic: bool,
}

impl<'a> Metric<'a> {
    pub fn read(message: Message<'a>) -> Result<Self, Trouble> {
        let mut metric = Self { name: b"", data: None, temporality: 0, is_monotonic: false };
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => metric.name = field.message()?.bytes,
                kind @ (GAUGE | SUM | HISTOGRAM | EXPONENTIAL_HISTOGRAM | SUMMARY) => {
                    metric.data = Some((kind, field.message()?));
                }
                _ => {}
            }
        }
        // These stand behind the points.
        if let Some((kind @ (SUM | HISTOGRAM | EXPONENTIAL_HISTOGRAM), data)) = metric.data {
            for field in data.fields() {
                let field = field?;
                match field.number {
                    2 => metric.temporality = field.varint()?,
                    3 if kind == SUM => metric.is_monotonic = field.varint()? != 0,
                    _ => {}
                }
            }
        }
        Ok(metric)
    }

    /// How many data points it has.
    pub fn points(&self) -> Result<u64, Trouble> {
        let Some((_, data)) = self.data else { return Ok(0) };
        data.fields().try_fold(0, |points, field| Ok(points + u64::from(field?.number == 1)))
    }

    /// Whether what is remembered of its series matters.
    pub fn is_cumulative(&self) -> bool {
        match self.data {
            Some((SUM, _)) => self.temporality == CUMULATIVE && self.is_monotonic,
            Some((HISTOGRAM, _)) => self.temporality == CUMULATIVE,
            Some((SUMMARY, _)) => true,
            _ => false,
        }
    }
}
