//! The limits of every endpoint, with data that does not compress and sizes around the limits. The stand-in refuses with
//! 413 whatever is too large, by limits of its own: it must never have to.

use super::dead_letters;
use crate::support::{FakeIntake, Setup, now_ms, sketch};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};

/// Text that compresses to no less than three quarters.
fn random_text(rng: &mut impl Rng, length: usize) -> String {
    rng.sample_iter(rand::distr::Alphanumeric).take(length).map(char::from).collect()
}

/// What an endpoint takes: items, bytes before compression, bytes as sent.
struct Case {
    path: &'static str,
    kind: &'static str,
    limits: [u64; 3],
    /// Bytes of an item, about, without its text.
    frame: usize,
    item: fn(String, i64) -> Vec<u8>,
    join: fn(Vec<Vec<u8>>) -> Vec<u8>,
}

fn array(items: Vec<Vec<u8>>) -> Vec<u8> {
    [b"[", items.join(&b","[..]).as_slice(), b"]"].concat()
}

fn series(items: Vec<Vec<u8>>) -> Vec<u8> {
    [b"{\"series\":[", items.join(&b","[..]).as_slice(), b"]}"].concat()
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            path: "/api/v2/logs",
            kind: "logs",
            limits: [1_000, 5_000_000, 5_000_000],
            frame: 50,
            item: |text, at| bytes(&json!({ "message": text, "timestamp": at * 1000 })),
            join: array,
        },
        Case {
            path: "/api/v2/series",
            kind: "series_v2",
            limits: [10_000, 5_242_879, 512_000],
            frame: 80,
            item: |text, at| {
                bytes(&json!({ "metric": "m", "points": [{ "timestamp": at, "value": 1.0 }], "tags": [text] }))
            },
            join: series,
        },
        Case {
            path: "/api/v1/series",
            kind: "series_v1",
            limits: [10_000, 62_914_559, 3_200_000],
            frame: 60,
            item: |text, at| bytes(&json!({ "metric": "m", "points": [[at, 1.0]], "tags": [text] })),
            join: series,
        },
        Case {
            path: "/api/v1/distribution_points",
            kind: "distribution_points",
            limits: [10_000, 62_914_559, 3_200_000],
            frame: 60,
            item: |text, at| bytes(&json!({ "metric": "m", "points": [[at, [1.0]]], "tags": [text] })),
            join: series,
        },
        Case {
            path: "/api/v1/check_run",
            kind: "check_run",
            limits: [1_000, 2_097_152, 2_097_152],
            frame: 60,
            item: |text, at| {
                bytes(&json!({ "check": "c", "host_name": "h", "status": 0, "timestamp": at, "message": text }))
            },
            join: array,
        },
        Case {
            path: "/api/beta/sketches",
            kind: "sketches",
            limits: [10_000, 4_194_304, 512_000],
            frame: 60,
            item: |text, at| sketch("m", at, &[text]),
            join: |items| items.concat(),
        },
    ]
}

/// A request's worth of items of up to `most` bytes each, until there are `total` bytes or `count` items.
fn body(case: &Case, rng: &mut StdRng, most: usize, count: usize, total: usize) -> (Vec<u8>, usize) {
    let at = now_ms() / 1000;
    let (mut items, mut size) = (Vec::new(), 0);
    while items.len() < count && size + most + case.frame < total {
        let length = rng.random_range(1..=most.max(1));
        let item = (case.item)(random_text(rng, length), at);
        size += item.len() + 1;
        items.push(item);
    }
    let sent = items.len();
    ((case.join)(items), sent)
}

#[tokio::test]
async fn no_request_is_larger_than_its_endpoint_takes() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("batch.max_age", "300ms").set("memory.max_queue_bytes", 1 << 30);
    let daemon = setup.start().await;
    for case in cases() {
        let [count, _, compressed] = case.limits.map(|limit| limit as usize);
        let mut sent = 0;
        // Items of a few bytes, of about the limit of bytes through that of items, and of much of a request (tags
        // are at most 100 KiB).
        for most in [10, (compressed / count).max(20), 90_000] {
            for _ in 0..2 {
                let (body, items) = body(&case, &mut rng, most, count + count / 3, compressed + compressed / 3);
                let answer = daemon.try_post("a", case.path, body).await.unwrap();
                assert_eq!(answer.status, 202, "{}: {}", case.path, answer.text);
                sent += items;
            }
        }
        fakeintake.wait_items("a", case.kind, sent).await;
        daemon.wait_empty("a").await;
        let counts = fakeintake.counts("a", case.kind).await;
        assert_eq!(counts["items"], sent, "{}: {counts}", case.kind);
        assert_eq!(counts["refused"], json!({}), "{}", case.kind);
        let most = ["max_items", "max_bytes_decompressed", "max_bytes_sent"].map(|name| counts[name].as_u64().unwrap());
        for (most, limit) in most.into_iter().zip(case.limits) {
            assert!(most <= limit, "{}: {counts}", case.kind);
        }
        // Requests are not wastefully small either.
        assert!(most[0] == case.limits[0] || most[1] > case.limits[1] / 2 || most[2] > case.limits[2] / 2, "{counts}");
    }
    assert!(dead_letters(&daemon, "a").is_empty());
    daemon.scrape().await.assert_balanced();
}

/// Data that compresses well is bounded by its size before compression.
#[tokio::test]
async fn compressible_data_keeps_the_uncompressed_limit() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["a"]).set("batch.max_age", "300ms").set("memory.max_queue_bytes", 1 << 30);
    let daemon = setup.start().await;
    let case = cases().remove(1);
    let (tag, at) = ("x".repeat(4_000), now_ms() / 1000);
    let mut sent = 0;
    for _ in 0..6 {
        let items: Vec<Vec<u8>> = (0..1200).map(|_| (case.item)(tag.clone(), at)).collect();
        sent += items.len();
        let answer = daemon.try_post("a", case.path, (case.join)(items)).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    fakeintake.wait_items("a", case.kind, sent).await;
    let counts = fakeintake.counts("a", case.kind).await;
    assert_eq!(counts["refused"], json!({}));
    let most = counts["max_bytes_decompressed"].as_u64().unwrap();
    assert!((4_000_000..=case.limits[1]).contains(&most), "{counts}");
}

/// One item alone: as large as an endpoint takes, it arrives; a byte more, and the emitter is told.
#[tokio::test]
async fn the_largest_possible_item_arrives() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    let at = now_ms();
    let log = |length: usize| {
        let empty = json!([{ "message": "", "timestamp": at }]).to_string().len();
        json!([{ "message": "x".repeat(length - empty), "timestamp": at }]).to_string()
    };
    let event = |length: usize| {
        let empty = json!({ "title": "t", "text": "", "tags": [""] }).to_string().len();
        json!({ "title": "t", "text": "", "tags": ["x".repeat(length - empty)] }).to_string()
    };
    for (path, kind, limit, of_length) in [
        ("/api/v2/logs", "logs", 5_000_000, &log as &dyn Fn(usize) -> String),
        ("/api/v1/events", "event_v1", 1_048_576, &event),
    ] {
        let answer = daemon.try_post("a", path, of_length(limit).into()).await.unwrap();
        assert_eq!(answer.status, 202, "{path}: {}", answer.text);
        fakeintake.wait_items("a", kind, 1).await;
        assert_eq!(fakeintake.counts("a", kind).await["max_bytes_decompressed"], limit);
        let answer = daemon.try_post("a", path, of_length(limit + 1).into()).await.unwrap();
        assert_eq!(answer.status, 413, "{path}: {}", answer.text);
    }
}

/// An item that fits before compression and not after it: it is found out by the daemon, not by Datadog.
#[tokio::test]
async fn an_incompressible_item_is_dead_lettered_unsent() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).start().await;
    let mut rng = rand::rng();
    let at = now_ms() / 1000;
    let case = cases().remove(1);
    let small = || (case.item)("small".into(), at);
    let items = vec![small(), (case.item)(random_text(&mut rng, 900_000), at), small()];
    let answer = daemon.try_post("a", case.path, (case.join)(items)).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text);
    fakeintake.wait_items("a", case.kind, 2).await;
    daemon.wait_empty("a").await;
    assert_eq!(fakeintake.counts("a", case.kind).await["refused"], json!({}));
    let letters = dead_letters(&daemon, "a");
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["status"], &letters[0]["items"]), (&Value::Null, &json!(1)));
    assert!(letters[0]["reason"].as_str().unwrap().contains("512000"), "{}", letters[0]["reason"]);
    daemon.scrape().await.assert_balanced();
}
