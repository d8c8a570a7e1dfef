//! What all targets check: no input makes the parsers panic, and what they take is cut into parts that are themselves
//! bodies of the same items. The yardstick for JSON is `serde_json`. A segment of the journal may hold anything.

use bytes::Bytes;
use dogsled::aggregate::{Aggregator, Options, Source};
use dogsled::journal::recover_bytes;
use dogsled::types::{Kind, TenantId, UnixMillis};
use dogsled::wire::otlp::{self, Clock, Deltas, Fault, Signal};
use dogsled::wire::{self, Context, Form, LogDefaults, Part};
use serde_json::value::RawValue;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

/// Splits a body as the daemon does: as it is, with a tag that names the tenant, and with attributes from the query.
pub fn split(form: Form, body: &[u8]) {
    let text = |text: &str| Some(text.to_owned());
    let defaults = LogDefaults {
        source: text("s"),
        tags: text("env:prod,tenant:acme"),
        hostname: text("h\""),
        service: text("é"),
    };
    split_with(form, body, &LogDefaults::default());
    if matches!(form, Form::LogsJson | Form::LogsText) {
        split_with(form, body, &defaults);
    }
}

/// Maps an OTLP request as the daemon does, in both encodings; what comes of JSON can always be read as protobuf.
pub fn otlp(signal: Signal, body: &[u8]) {
    map_otlp(signal, body).ok();
    if let Ok(body) = otlp::protobuf(signal, body, 1 << 20) {
        // Too large is the only reason left.
        let refused = map_otlp(signal, &body).err();
        assert!(!matches!(refused, Some(Fault::Malformed(_))), "{refused:?}");
    }
}

fn map_otlp(signal: Signal, body: &[u8]) -> Result<(), Fault> {
    let survey = otlp::survey(signal, body, Some("tenant"))?;
    let options = otlp::Options { send_aggregation_metrics: true, scope_as_tags: true, ..otlp::Options::default() };
    let clock = Clock { now: NOW, seconds: 1, started: 1 };
    let attribute = Some("tenant");
    let context = otlp::Context { attribute, options: &options, clock, hash_key: &[7; 16], limit: 1 << 24 };
    let mut deltas = Deltas::default();
    deltas.begin(1_000);
    let parts = match signal {
        Signal::Metrics => {
            let slots = vec![0; survey.owners.len()];
            otlp::metrics(body, &survey, &context, &slots, &mut [&mut deltas])?.parts
        }
        Signal::Logs => otlp::logs(body, &survey, &context)?.parts,
    };
    for part in &parts {
        assert_eq!(wire::boundaries(part.kind, &part.bytes).len(), part.items as usize);
    }
    deltas.roll_back();
    assert!(deltas.is_empty(), "what is not taken leaves no trace");
    Ok(())
}

/// Splits a body without and with a tag that names the tenant.
pub fn split_with(form: Form, body: &[u8], defaults: &LogDefaults) {
    let body = Bytes::copy_from_slice(body);
    for tenant_tag in [None, Some("tenant")] {
        let context = Context { now: NOW, tenant_tag, log_defaults: defaults };
        let Ok(split) = wire::split(form, &body, &context) else { continue };
        split.parts.iter().for_each(check);
        assert!(split.invalid.iter().all(|invalid| invalid.items > 0 && !invalid.bytes.is_empty()));
    }
}

/// Aggregates a packet: every part is a run of as many items as it says, and a good line among any others is taken.
pub fn dogstatsd(packet: &[u8]) {
    let source = Source { tenant: TenantId::new("acme").ok(), tag: Some("tenant".into()), ..Source::default() };
    let mut aggregator = Aggregator::new(Options::default(), 1_700_000_000);
    let packet = [packet, b"\ngood.one:1|c\n", packet].concat();
    aggregator.take(&packet, &source, 1_700_000_001, &|tenant| tenant != "unknown");
    aggregator.finish(1_700_000_002);
    let mut is_there = false;
    for part in aggregator.take_parts() {
        assert_eq!(wire::boundaries(part.kind, &part.bytes).len(), part.items as usize, "{part:?}");
        is_there |= part.bytes.windows(8).any(|bytes| bytes == b"good.one");
    }
    assert!(is_there);
}

/// Cuts bytes that nothing has validated, which a damaged journal might hold, and asks the pieces for their times.
pub fn boundaries(run: &[u8]) {
    for kind in Kind::ALL {
        let mut end = 0;
        for range in wire::boundaries(kind, run) {
            assert!(end <= range.start && range.end <= run.len());
            end = range.end;
            let _ = wire::item_time(kind, &run[range]);
        }
    }
}

/// Reads the date of a log, which is the calendar library's wherever that one reads a point in time.
pub fn date(text: &str) {
    let log = serde_json::json!({ "date": text }).to_string();
    let time = wire::item_time(Kind::Logs, log.as_bytes());
    if let Ok(timestamp) = text.trim_ascii().parse::<jiff::Timestamp>() {
        let millis = timestamp.as_nanosecond().div_euclid(1_000_000);
        // Before 1970 the fraction of a millisecond may be cut off upwards.
        assert!(time.is_some_and(|time| (i128::from(time.0) - millis).abs() <= 1), "{time:?} is not {timestamp}");
    }
}

/// Reads a segment of the journal as recovery does after a crash: whatever the bytes, it ends, and finds no more records
/// than they have room for. Then once more with checksums that are right, which no mutation hits upon.
pub fn recover(segment: &[u8]) {
    recover_parts(segment);
    let mut mended = segment.to_vec();
    mend(&mut mended);
    recover_parts(&mended);
}

fn recover_parts(segment: &[u8]) {
    // The index of a closed segment has six bytes a record at least, a record itself more.
    assert!(recover_bytes(segment) * 6 <= segment.len());
    for end in [segment.len() / 2, segment.len().saturating_sub(1)] {
        assert!(recover_bytes(&segment[..end]) * 6 <= end);
    }
}

/// Makes a segment's header, most of its records and its trailer sound, so far as lengths and checksums go.
fn mend(bytes: &mut [u8]) {
    const HEADER: usize = 32;
    const RECORD: usize = 60;
    const TRAILER: usize = 64;
    if bytes.len() < HEADER {
        return;
    }
    let put = |bytes: &mut [u8], at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    bytes[..12].copy_from_slice(b"dogsledj\x01\0\0\0");
    let crc = crc32c::crc32c(&bytes[..28]);
    put(bytes, 28, crc);
    let (first, salt): ([u8; 8], [u8; 8]) = (bytes[12..20].try_into().unwrap(), bytes[20..28].try_into().unwrap());
    let mut at = HEADER;
    let mut number = 0;
    while at + RECORD <= bytes.len() {
        let left = bytes.len() - at - RECORD;
        let record = &mut bytes[at..];
        // One of sixteen stays as it is, and one of sixteen has another number than the next.
        let choice = record[8] % 16;
        let lane = usize::from(record[58]).min(left);
        let head = usize::from(record[56]).min(left - lane);
        let replaces = usize::from(record[52]).min(left - lane - head);
        let payload = usize::from(record[16]).min(left - lane - head - replaces);
        record[..8].copy_from_slice(&salt);
        record[58] = lane as u8;
        record[56..58].copy_from_slice(&(head as u16).to_le_bytes());
        put(record, 52, replaces as u32);
        put(record, 16, payload as u32);
        record[59] = record[59] % 2 + 1;
        // Greater numbers are as good, and take their time.
        let other = u32::from(u16::from_le_bytes([record[20], record[21]]));
        put(record, 20, if choice == 1 { other } else { number });
        let described = RECORD + lane + head + replaces;
        if choice != 0 {
            // One whose description alone is sound is the most that is left of some.
            let crc = crc32c::crc32c(&record[described..described + payload]);
            put(record, 12, if choice == 2 { !crc } else { crc });
            let crc = crc32c::crc32c(&record[12..described]);
            put(record, 8, crc);
        }
        number += 1;
        at += described + payload;
    }
    let Some(trailer) = bytes.len().checked_sub(TRAILER) else { return };
    let (slots, lanes) = (usize::from(bytes[trailer + 24]), usize::from(bytes[trailer + 28]));
    let Some(begin) = trailer.checked_sub(slots + lanes) else { return };
    let crcs = [crc32c::crc32c(&bytes[begin..begin + slots]), crc32c::crc32c(&bytes[begin + slots..trailer])];
    let footer = &mut bytes[trailer..];
    footer[..8].copy_from_slice(&(begin as u64).to_le_bytes());
    footer[8..16].copy_from_slice(&first);
    footer[16..24].copy_from_slice(&salt);
    for (at, value) in (24..).step_by(4).zip([slots as u32, lanes as u32, crcs[0], crcs[1]]) {
        put(footer, at, value);
    }
    let count = u32::from(u16::from_le_bytes([footer[40], footer[41]]));
    put(footer, 40, count);
    let crc = crc32c::crc32c(&footer[..52]);
    put(footer, 52, crc);
    footer[56..].copy_from_slice(b"dogsledi");
}

fn check(part: &Part) {
    let limits = part.kind.limits();
    let body = Bytes::from([part.kind.prefix(), &part.bytes, part.kind.suffix()].concat());
    assert!((1..=limits.items).contains(&part.items));
    assert!(body.len() <= limits.uncompressed);
    let items = items(part);
    assert_eq!(items.len(), part.items as usize);
    let times = items.iter().map(|item| wire::item_time(part.kind, item).unwrap_or(NOW));
    assert_eq!(times.min(), Some(part.oldest));
    let context = Context { now: NOW, tenant_tag: None, log_defaults: &LogDefaults::default() };
    let again = wire::split(form_of(part.kind), &body, &context).expect("a part can be split again");
    assert!(again.invalid.is_empty(), "what is forwarded is valid: {:?}", again.invalid);
    let again: Vec<&[u8]> = again.parts.iter().flat_map(self::items).collect();
    assert_eq!(again, items);
}

/// The items of a part, which `serde_json` must find too.
fn items(part: &Part) -> Vec<&[u8]> {
    let cut: Vec<&[u8]> =
        wire::boundaries(part.kind, &part.bytes).into_iter().map(|range| &part.bytes[range]).collect();
    if !part.kind.is_protobuf() {
        let array = [b"[", &part.bytes[..], b"]"].concat();
        let found: Vec<&RawValue> = serde_json::from_slice(&array).expect("a part is a run of JSON values");
        assert!(found.iter().map(|item| item.get().as_bytes()).eq(cut.iter().copied()));
    }
    cut
}

/// The form of bodies that are sent on.
fn form_of(kind: Kind) -> Form {
    match kind {
        Kind::SeriesV2Json => Form::SeriesV2Json,
        Kind::SeriesV2Proto => Form::SeriesV2Proto,
        Kind::SeriesV1 => Form::SeriesV1,
        Kind::Distributions => Form::Distributions,
        Kind::Sketches => Form::Sketches,
        Kind::Logs => Form::LogsJson,
        Kind::EventV1 => Form::EventV1,
        Kind::EventV2 => Form::EventV2,
        Kind::CheckRun => Form::CheckRun,
    }
}
