//! The data points of metrics, read from their protobuf.

use super::reason::Trouble;
use super::tags::Tags;
use super::value::Attribute;
use crate::wire::part::{Stop, malformed};
use crate::wire::protobuf::{Field, Message, Value as Raw};

/// The flag that says that a point has no value.
const NO_RECORDED_VALUE: u64 = 1;

/// What every point has.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Head {
    /// In nanoseconds since the Unix epoch; 0 when it is not known.
    pub start: u64,
    /// In nanoseconds since the Unix epoch.
    pub time: u64,
    flags: u64,
}

impl Head {
    /// Whether the point only says that there is nothing.
    pub fn is_empty(self) -> bool {
        self.flags & NO_RECORDED_VALUE != 0
    }
}

/// Whose attributes are left out of a point's tags.
pub(super) type LeaveOut<'a> = &'a dyn Fn(&[u8]) -> bool;

/// The number of a field that is read here, with those that differ between the kinds of points.
struct Numbers {
    attributes: u32,
    flags: u32,
}

/// Reads a field that all points have; false when it is another.
fn read_head(
    field: &Field<'_>,
    numbers: &Numbers,
    head: &mut Head,
    tags: &mut Tags,
    leave_out: LeaveOut<'_>,
) -> Result<bool, Trouble> {
    match field.number {
        2 => head.start = fixed(field)?,
        3 => head.time = fixed(field)?,
        number if number == numbers.attributes => {
            let attribute = Attribute::read(field)?;
            if !leave_out(attribute.key) {
                tags.push_attribute(attribute.key, attribute.value)?;
            }
        }
        number if number == numbers.flags => head.flags = field.varint()?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// `NumberDataPoint`
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Number {
    pub head: Head,
    pub value: Option<f64>,
}

impl Number {
    /// Reads a point; its attributes are appended to `tags`.
    pub fn read(message: Message<'_>, tags: &mut Tags, leave_out: LeaveOut<'_>) -> Result<Self, Trouble> {
        let mut point = Self::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                4 => point.value = Some(field.double()?),
                6 => point.value = Some(fixed(&field)?.cast_signed() as f64),
                _ => drop(read_head(&field, &Numbers { attributes: 7, flags: 8 }, &mut point.head, tags, leave_out)?),
            }
        }
        Ok(point)
    }
}

/// `HistogramDataPoint`
#[derive(Debug, Default)]
pub(super) struct Histogram {
    pub head: Head,
    pub count: u64,
    pub sum: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub counts: Vec<u64>,
    pub bounds: Vec<f64>,
}

impl Histogram {
    /// Reads a point over the one before, whose memory is used again.
    pub fn read(&mut self, message: Message<'_>, tags: &mut Tags, leave_out: LeaveOut<'_>) -> Result<(), Trouble> {
        self.counts.clear();
        self.bounds.clear();
        (self.head, self.count) = (Head::default(), 0);
        (self.sum, self.min, self.max) = (None, None, None);
        for field in message.fields() {
            let field = field?;
            match field.number {
                4 => self.count = fixed(&field)?,
                5 => self.sum = Some(field.double()?),
                6 => read_fixed(&field, |bits| self.counts.push(bits))?,
                7 => read_fixed(&field, |bits| self.bounds.push(f64::from_bits(bits)))?,
                11 => self.min = Some(field.double()?),
                12 => self.max = Some(field.double()?),
                _ => drop(read_head(&field, &Numbers { attributes: 9, flags: 10 }, &mut self.head, tags, leave_out)?),
            }
        }
        Ok(())
    }
}

/// `ExponentialHistogramDataPoint`
#[derive(Debug, Default)]
pub(super) struct Exponential {
    pub head: Head,
    pub count: u64,
    pub sum: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub scale: i32,
    pub zero_count: u64,
    pub positive: Buckets,
    pub negative: Buckets,
}

/// The buckets of one sign.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    pub offset: i32,
    pub counts: Vec<u64>,
}

impl Exponential {
    /// Reads a point.
    pub fn read(message: Message<'_>, tags: &mut Tags, leave_out: LeaveOut<'_>) -> Result<Self, Trouble> {
        let mut point = Self::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                4 => point.count = fixed(&field)?,
                5 => point.sum = Some(field.double()?),
                6 => point.scale = zigzag(&field)?,
                7 => point.zero_count = fixed(&field)?,
                8 => point.positive.read(field.message()?)?,
                9 => point.negative.read(field.message()?)?,
                12 => point.min = Some(field.double()?),
                13 => point.max = Some(field.double()?),
                _ => drop(read_head(&field, &Numbers { attributes: 1, flags: 10 }, &mut point.head, tags, leave_out)?),
            }
        }
        Ok(point)
    }
}

impl Buckets {
    fn read(&mut self, message: Message<'_>) -> Result<(), Stop> {
        for field in message.fields() {
            let field = field?;
            match (field.number, &field.value) {
                (1, _) => self.offset = zigzag(&field)?,
                (2, Raw::Bytes(packed)) => packed.varints(|count| self.counts.push(count))?,
                (2, _) => self.counts.push(field.varint()?),
                _ => {}
            }
        }
        Ok(())
    }
}

/// `SummaryDataPoint`
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub head: Head,
    pub count: u64,
    pub sum: f64,
    /// Quantile and value.
    pub quantiles: Vec<(f64, f64)>,
}

impl Summary {
    /// Reads a point.
    pub fn read(message: Message<'_>, tags: &mut Tags, leave_out: LeaveOut<'_>) -> Result<Self, Trouble> {
        let mut point = Self::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                4 => point.count = fixed(&field)?,
                5 => point.sum = field.double()?,
                6 => {
                    let (mut quantile, mut value) = (0.0, 0.0);
                    for field in field.message()?.fields() {
                        let field = field?;
                        match field.number {
                            1 => quantile = field.double()?,
                            2 => value = field.double()?,
                            _ => {}
                        }
                    }
                    point.quantiles.push((quantile, value));
                }
                _ => drop(read_head(&field, &Numbers { attributes: 7, flags: 8 }, &mut point.head, tags, leave_out)?),
            }
        }
        Ok(point)
    }
}

/// The value of a field of type `fixed64`.
pub(super) fn fixed(field: &Field<'_>) -> Result<u64, Stop> {
    field.double().map(f64::to_bits)
}

/// The value of a field of type `sint32`.
fn zigzag(field: &Field<'_>) -> Result<i32, Stop> {
    let value = field.varint()? as u32;
    Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// The values of a repeated field of 64 bits each, packed or not.
fn read_fixed(field: &Field<'_>, mut each: impl FnMut(u64)) -> Result<(), Stop> {
    match field.value {
        Raw::Fixed64(bits) => each(bits),
        _ => {
            let packed = field.message()?;
            let (values, []) = packed.bytes.as_chunks::<8>() else {
                return Err(malformed(packed.at, "a packed list of 64-bit values ends inside one"));
            };
            values.iter().for_each(|value| each(u64::from_le_bytes(*value)));
        }
    }
    Ok(())
}
