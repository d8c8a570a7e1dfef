//! Encodings, and the bounds on what one request and all of them may take.

use super::port::{LOG, Port, get, post, post_json, within};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn encoded(encoding: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let headers = format!("Content-Type: application/json\r\nX-Tenant: acme\r\nContent-Encoding: {encoding}\r\n");
    post("/api/v2/logs", &headers, body)
}

/// An array of logs that does not compress to nothing.
fn logs(count: u32) -> Vec<u8> {
    let log = |n: u32| format!(r#"{{"message":"{:x}","timestamp":1700000000000}}"#, n.wrapping_mul(2_654_435_761));
    format!("[{}]", (0..count).map(log).collect::<Vec<_>>().join(",")).into_bytes()
}

#[tokio::test]
async fn encoded_bodies_are_taken_small_and_large() {
    let port = Port::open(|_| {}).await;
    for count in [1, 30_000] {
        let body = logs(count);
        for (encoding, encoded_body) in [
            ("gzip", gzip(&body)),
            ("deflate", zlib(&body)),
            ("zstd", zstd::stream::encode_all(&body[..], 1).unwrap()),
            ("zstd1", zstd::stream::encode_all(&body[..], 1).unwrap()),
            ("deflate, gzip", gzip(&zlib(&body))),
            ("identity", body.clone()),
        ] {
            let before = port.counts().len();
            let reply = port.send(encoded(encoding, encoded_body)).await;
            assert_eq!(reply.status, 202, "{encoding} {count} {reply:?}");
            let items: u32 =
                port.counts()[before..].iter().map(|c| c["acme logs ".len()..].parse::<u32>().unwrap()).sum();
            assert_eq!(items, count, "{encoding}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_is_refused_by_name() {
    let port = Port::open(|_| {}).await;
    port.send(encoded("br", LOG)).await.refused(415, &["br", "gzip", "zstd"]);
    port.send(encoded("gzip", LOG)).await.refused(400, &["gzip"]);
    let body = gzip(&logs(100));
    port.send(encoded("gzip", &body[..body.len() - 9])).await.refused(400, &["gzip", "ends too early"]);
    assert_eq!(port.counts(), [""; 0]);
}

#[tokio::test]
async fn ten_gigabytes_in_ten_megabytes_are_refused_in_little_time() {
    let port = Port::open(|_| {}).await;
    let megabyte = vec![b' '; 1 << 20];
    // One member of 100 MiB a hundred times over: valid gzip, and quick to make.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..100 {
        encoder.write_all(&megabyte).unwrap();
    }
    let bomb = encoder.finish().unwrap().repeat(100);
    assert!(bomb.len() > 9 << 20 && bomb.len() < 16 << 20, "{}", bomb.len());
    let begun = Instant::now();
    port.send(encoded("gzip", bomb)).await.refused(413, &["16777216", "max_body"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_before_the_body_comes() {
    let port = Port::open(|settings| settings.ingest.max_body = 1_000).await;
    let mut client = port.connect().await;
    client.write("POST /api/v2/logs HTTP/1.1\r\nHost: x\r\nX-Tenant: acme\r\nContent-Length: 1001\r\n\r\n").await;
    client.reply().await.refused(413, &["1000 bytes", "max_body"]);
    let exact = format!(r#"{{"message":"{}"}}"#, "m".repeat(986));
    assert_eq!(exact.len(), 1_000);
    assert_eq!(port.send(post_json("/api/v2/logs", exact)).await.status, 202);
}

#[tokio::test]
async fn a_sender_that_writes_all_before_it_reads_still_gets_the_answer() {
    let port = Port::open(|settings| settings.ingest.max_body = 1_000).await;
    let mut client = port.connect().await;
    client.write(post_json("/api/v2/logs", vec![b'x'; 20 << 20])).await;
    client.reply().await.refused(413, &["1000 bytes"]);
    // And the connection is good for another request.
    client.write(post_json("/api/v2/logs", LOG)).await;
    assert_eq!(client.reply().await.status, 202);
}

#[tokio::test]
async fn a_chunked_body_is_bounded_as_it_comes() {
    let port = Port::open(|settings| settings.ingest.max_body = 1_000).await;
    let head = "POST /api/v2/logs HTTP/1.1\r\nHost: x\r\nX-Tenant: acme\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = port.connect().await;
    client.write(head).await;
    for part in [&LOG[..10], &LOG[10..]] {
        client.write(format!("{:x}\r\n{part}\r\n", part.len())).await;
    }
    client.write("0\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 202);
    assert_eq!(port.items(), [format!("acme logs 1 {LOG}")]);

    client.write(head).await;
    client.write(format!("{:x}\r\n{}\r\n", 600, " ".repeat(600))).await;
    client.write(format!("{:x}\r\n{}\r\n", 600, " ".repeat(600))).await;
    client.reply().await.refused(413, &["1000 bytes"]);

    let mut client = port.connect().await;
    client.write(head).await;
    client.write("no-number\r\n").await;
    assert_eq!(client.reply().await.status, 400);
}

#[tokio::test]
async fn slow_bodies_together_cannot_take_more_memory_than_is_set_aside_for_bodies() {
    let port = Port::open(|_| {}).await;
    let size = 16 << 20;
    let head = format!("POST /api/v2/logs HTTP/1.1\r\nHost: x\r\nX-Tenant: acme\r\nContent-Length: {size}\r\n\r\n");
    let almost = Arc::new(vec![b' '; size - 1]);
    // One tenant may have half of the 70 MiB that large bodies may take; none of these ever sends its last byte.
    let mut slow = JoinSet::new();
    for _ in 0..5 {
        let (mut client, head, almost) = (port.connect().await, head.clone(), Arc::clone(&almost));
        slow.spawn(async move {
            client.write(head).await;
            // Once it is refused, the rest need not be taken.
            let _ = client.0.write_all(&almost).await;
            client.reply().await
        });
    }
    let refused = within(slow.join_next()).await.unwrap().unwrap();
    refused.refused(503, &["too many request bodies"]);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(port.send(get("/healthz", "")).await.status, 200);
    // The memory comes back with the connections.
    drop(slow);
    within(async { while port.send(post_json("/api/v2/logs", logs(200_000))).await.status != 202 {} }).await;
}
