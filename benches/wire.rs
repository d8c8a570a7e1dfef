//! How fast bodies are split and joined: the part of the daemon's work that touches every byte, besides compression.
//!
//! `serde_json` into a list of raw values is the yardstick: it validates and finds the boundaries too, and knows nothing
//! of dates, tags and limits.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dogsled::types::{Kind, UnixMillis};
use dogsled::wire::{Context, Form, LogDefaults, boundaries, split};
use serde_json::value::RawValue;
use std::hint::black_box;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

/// `count` logs of about 470 bytes, `first` being what stands before the message.
fn logs(count: usize, first: &str, tags: &str) -> Bytes {
    let message = "GET /api/v1/orders/8c1f0f8e-1f0e-4f58-a1f4-5f2a7d1b9c33?expand=lines 200 12ms upstream=10.0.3.17:8443 \
         user_agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36 \
         request_id=f3b2c7d0a1 cache=miss bytes_out=48213 retries=0 note=completed";
    let item = format!(
        r#"{{{first}"message":"{message}","ddsource":"nginx","service":"orders","hostname":"web-17","status":"info","ddtags":"{tags}","duration":12}}"#
    );
    Bytes::from(format!("[{}]", vec![item; count].join(",")))
}

fn series(count: usize) -> Bytes {
    let item = r#"{"metric":"app.requests.count","type":1,"interval":10,"points":[{"timestamp":1700000000,"value":12.5}],"tags":["env:prod","service:orders","version:1.2.3"],"resources":[{"type":"host","name":"web-17"}]}"#;
    Bytes::from(format!("{{\"series\":[{}]}}", vec![item; count].join(",")))
}

fn split_bodies(criterion: &mut Criterion) {
    let defaults = LogDefaults::default();
    let plain = Context { now: NOW, tenant_tag: None, log_defaults: &defaults };
    let tagged = Context { tenant_tag: Some("tenant"), ..plain };
    let dated = "\"timestamp\":1700000000000,";
    let text_dated = "\"timestamp\":\"2023-11-14T22:13:20.123Z\",";
    let cases = [
        ("logs dated", Form::LogsJson, logs(100, dated, "env:prod"), plain),
        ("logs dated by text", Form::LogsJson, logs(100, text_dated, "env:prod"), plain),
        ("logs undated", Form::LogsJson, logs(100, "", "env:prod"), plain),
        ("logs tagged", Form::LogsJson, logs(100, dated, "env:prod,tenant:acme,a:b"), tagged),
        ("logs untagged", Form::LogsJson, logs(100, dated, "env:prod,version:1,a:b"), tagged),
        ("series v2", Form::SeriesV2Json, series(500), plain),
    ];
    let mut group = criterion.benchmark_group("split");
    for (name, form, body, context) in &cases {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(*name, |bencher| {
            bencher.iter(|| split(*form, black_box(body), context).map(|parts| parts.len()));
        });
    }
    let body = logs(100, dated, "env:prod");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("serde_json, raw values of the same logs", |bencher| {
        bencher.iter(|| serde_json::from_slice::<Vec<&RawValue>>(black_box(&body)).map(|items| items.len()));
    });
    let run = body.slice(1..body.len() - 1);
    group.bench_function("boundaries of the same logs", |bencher| {
        bencher.iter(|| boundaries(Kind::Logs, black_box(&run)).len());
    });
    group.finish();
}

fn join_chunks(criterion: &mut Criterion) {
    let defaults = LogDefaults::default();
    let context = Context { now: NOW, tenant_tag: None, log_defaults: &defaults };
    let body = logs(100, "\"timestamp\":1700000000000,", "env:prod");
    let parts = split(Form::LogsJson, &body, &context).unwrap_or_default();
    let chunks: Vec<&Bytes> = parts.iter().map(|part| &part.bytes).cycle().take(10).collect();
    let mut group = criterion.benchmark_group("join");
    group.throughput(Throughput::Bytes((chunks.len() * body.len()) as u64));
    let mut joined = Vec::new();
    group.bench_function("ten chunks of 100 logs", |bencher| {
        bencher.iter(|| {
            joined.clear();
            joined.extend_from_slice(Kind::Logs.prefix());
            for (index, chunk) in chunks.iter().enumerate() {
                if index > 0 {
                    joined.extend_from_slice(Kind::Logs.separator());
                }
                joined.extend_from_slice(chunk);
            }
            joined.extend_from_slice(Kind::Logs.suffix());
            black_box(&joined).len()
        });
    });
    group.finish();
}

criterion_group!(benches, split_bodies, join_chunks);
criterion_main!(benches);
