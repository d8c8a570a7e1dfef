//! What is done to every byte: bodies are split, and batches joined and compressed.
//!
//! `cargo bench --bench wire`. For `split`, `serde_json` into a list of raw values is the yardstick: it validates and
//! finds the boundaries too, and knows nothing of dates, tags and limits.
//!
//! Where other programs use the machine, instructions say more than seconds:
//!
//! ```console
//! valgrind --tool=callgrind --toggle-collect='dogsled::wire::split' target/release/deps/wire-… --test 'split/logs dated'
//! ```

// What clippy.toml forbids, measurements may do.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[path = "support/corpus/mod.rs"]
#[expect(dead_code, reason = "the identifiers of logs are for the end-to-end measurement, which follows each log")]
mod corpus;
#[path = "support/series.rs"]
mod series;

use bytes::Bytes;
use corpus::{Corpus, Shape, Timestamps};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dogsled::payload::Compressors;
use dogsled::types::{Encoding, Kind, UnixMillis};
use dogsled::wire::{Context, Form, LogDefaults, Part, boundaries, split};
use serde_json::value::RawValue;
use series::Series;
use std::hint::black_box;

const SEED: u64 = 1;
/// Bodies that differ: so many that the branch predictor does not learn them by heart.
const BODIES: usize = 16;
const NO_DEFAULTS: &LogDefaults = &LogDefaults { source: None, tags: None, hostname: None, service: None };
const PLAIN: Context<'static> =
    Context { now: UnixMillis(1_700_000_000_000), tenant_tag: None, log_defaults: NO_DEFAULTS };
const TAGGED: Context<'static> = Context { tenant_tag: Some("tenant"), ..PLAIN };

/// Bodies of 100 logs of about 470 bytes.
fn logs(timestamps: Timestamps) -> Vec<Bytes> {
    Corpus::new(Shape::Services, SEED, 1, BODIES, 100, timestamps)
        .bodies
        .into_iter()
        .flatten()
        .map(Bytes::from)
        .collect()
}

/// The same with a tag in each log that names one of a few tenants, in runs of several logs.
fn tagged_logs() -> Vec<Bytes> {
    let tag = |body: Bytes| {
        let text = String::from_utf8_lossy(&body);
        let logs: Vec<String> = (text.split("region:").enumerate())
            .map(
                |(log, piece)| {
                    if log == 0 { piece.to_owned() } else { format!("tenant:t{},region:{piece}", log / 7 % 5) }
                },
            )
            .collect();
        Bytes::from(logs.concat())
    };
    logs(Timestamps::All).into_iter().map(tag).collect()
}

fn series(form: fn(&[Series]) -> Vec<u8>) -> Vec<Bytes> {
    (0..BODIES as u64).map(|body| Bytes::from(form(&Series::generate(SEED + body, 200)))).collect()
}

fn total(bodies: &[Bytes]) -> Throughput {
    Throughput::Bytes(bodies.iter().map(|body| body.len() as u64).sum())
}

fn split_bodies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split");
    for (name, form, bodies, context) in [
        ("logs dated", Form::LogsJson, logs(Timestamps::All), PLAIN),
        ("logs undated", Form::LogsJson, logs(Timestamps::None), PLAIN),
        ("logs dated, no tenant in tags", Form::LogsJson, logs(Timestamps::All), TAGGED),
        ("logs dated, tenant in tags", Form::LogsJson, tagged_logs(), TAGGED),
        ("series v2", Form::SeriesV2Json, series(Series::json_v2), PLAIN),
        ("series v2, no tenant in tags", Form::SeriesV2Json, series(Series::json_v2), TAGGED),
        ("series v1", Form::SeriesV1, series(Series::json_v1), PLAIN),
        ("series protobuf", Form::SeriesV2Proto, series(Series::protobuf), PLAIN),
    ] {
        group.throughput(total(&bodies));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let parts = |body| split(form, black_box(body), &context).map_or(0, |split| split.parts.len());
                bodies.iter().map(parts).sum::<usize>()
            });
        });
    }
    let bodies = logs(Timestamps::All);
    group.throughput(total(&bodies));
    group.bench_function("logs dated, serde_json into raw values", |bencher| {
        bencher.iter(|| {
            let items =
                |body: &Bytes| serde_json::from_slice::<Vec<&RawValue>>(black_box(body)).map_or(0, |items| items.len());
            bodies.iter().map(items).sum::<usize>()
        });
    });
    group.bench_function("logs dated, boundaries again", |bencher| {
        bencher.iter(|| bodies.iter().map(|body| boundaries(Kind::Logs, black_box(&body[1..])).len()).sum::<usize>());
    });
    group.finish();
}

/// What the parts of ten bodies make when they are one batch: the body of a request, in pieces.
fn pieces(parts: &[Part]) -> Vec<&[u8]> {
    let Some(kind) = parts.first().map(|part| part.kind) else { return Vec::new() };
    let mut pieces = vec![kind.prefix()];
    for part in parts {
        pieces.extend([&part.bytes[..], kind.separator()]);
    }
    pieces.pop();
    pieces.push(kind.suffix());
    pieces
}

fn join_and_compress(criterion: &mut Criterion) {
    let compressors = Compressors::default();
    let mut group = criterion.benchmark_group("join and compress");
    for (name, form, bodies) in [
        ("logs", Form::LogsJson, logs(Timestamps::All)),
        ("series v2", Form::SeriesV2Json, series(Series::json_v2)),
        ("series protobuf", Form::SeriesV2Proto, series(Series::protobuf)),
    ] {
        let bodies = &bodies[..10];
        group.throughput(total(bodies));
        for encoding in [Encoding::Identity, Encoding::Zstd, Encoding::Gzip] {
            group.bench_function(format!("{name}, {}", encoding.name()), |bencher| {
                let parts: Vec<Part> =
                    bodies.iter().flat_map(|body| split(form, body, &PLAIN).unwrap_or_default().parts).collect();
                let pieces = pieces(&parts);
                bencher.iter(|| {
                    let pieces = black_box(&pieces).iter().copied();
                    compressors.compress(encoding, 0, pieces).map(|body| body.len())
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, split_bodies, join_and_compress);
criterion_main!(benches);
