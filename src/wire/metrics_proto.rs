//! Metrics in protobuf: series (`MetricPayload`) and distribution sketches (`SketchPayload`).
//!
//! Field numbers are those of DataDog/agent-payload, `proto/metrics/agent_payload.proto`.

use super::edits::Edits;
use super::metric;
use super::part::{Stop, invalid};
use super::protobuf::{Field, Format, Item, Message, mended, mended_message};

/// Series.
pub(super) const SERIES: Format = Format { read: read_series, tags: 3 };

/// Distribution sketches.
pub(super) const SKETCHES: Format = Format { read: read_sketch, tags: 4 };

/// Reads a `MetricSeries`.
fn read_series<'a>(message: Message<'a>, item: &mut Item<'_, 'a>, edits: &mut Edits) -> Result<(), Stop> {
    let mut name: &[u8] = b"";
    let mut points = 0;
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => mended_message(&field, &[1, 2], edits)?,
            2 => name = mended(&field, edits)?,
            number if number == SERIES.tags => item.read_tag(&field, edits)?,
            4 => {
                read_point(&field, item, points)?;
                points += 1;
            }
            5 if field.varint()? > 3 => {
                return Err(invalid(item.index, "`type` must be 0 (unspecified), 1 (count), 2 (rate) or 3 (gauge)"));
            }
            // The unit, and the source type's name.
            6 | 7 => drop(mended(&field, edits)?),
            _ => {}
        }
    }
    check(item, name, points, "the series has no points")
}

/// `MetricPoint`: omitted fields are zero, as always in proto3.
fn read_point(field: &Field<'_>, item: &mut Item<'_, '_>, index: usize) -> Result<(), Stop> {
    let mut seconds = 0;
    for field in field.message()?.fields() {
        let field = field?;
        match field.number {
            1 if !field.double()?.is_finite() => {
                return Err(invalid(item.index, format!("point {index} has a value that is not finite")));
            }
            2 => seconds = field.varint()?,
            _ => {}
        }
    }
    item.note_seconds(seconds);
    Ok(())
}

/// Reads a `Sketch`.
fn read_sketch<'a>(message: Message<'a>, item: &mut Item<'_, 'a>, edits: &mut Edits) -> Result<(), Stop> {
    let mut name: &[u8] = b"";
    let mut sketches = 0;
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => name = mended(&field, edits)?,
            // The host.
            2 => drop(mended(&field, edits)?),
            number if number == SKETCHES.tags => item.read_tag(&field, edits)?,
            // The older `Distribution` begins with the same fields as `Dogsketch`.
            3 | 7 => {
                read_dogsketch(&field, item, sketches)?;
                sketches += 1;
            }
            _ => {}
        }
    }
    check(item, name, sketches, "the sketch has no points")
}

/// `Dogsketch`: time, count, and four figures that must be finite; then the bins.
fn read_dogsketch(field: &Field<'_>, item: &mut Item<'_, '_>, index: usize) -> Result<(), Stop> {
    let mut seconds = 0;
    for field in field.message()?.fields() {
        let field = field?;
        match field.number {
            1 => seconds = field.varint()?,
            number @ 3..=6 if !field.double()?.is_finite() => {
                let figure = ["min", "max", "avg", "sum"][number as usize - 3];
                return Err(invalid(item.index, format!("point {index} has a {figure} that is not finite")));
            }
            _ => {}
        }
    }
    item.note_seconds(seconds);
    Ok(())
}

fn check(item: &Item<'_, '_>, name: &[u8], points: usize, no_points: &str) -> Result<(), Stop> {
    let fault = metric::name_fault(name).or((points == 0).then_some(no_points));
    fault.map_or(Ok(()), |reason| Err(invalid(item.index, reason)))
}
