//! OTLP over gRPC, by hand: the framing of calls, statuses and their details.

use super::{logs, messages};
use crate::support::{FakeIntake, Setup};
use bytes::Bytes;
use dogsled::wire::otlp::{Signal, protobuf};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::io::Write;
use tokio::net::TcpStream;

const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// What a call came to: message and trailers, of which the headers may hold some.
struct Called {
    message: Bytes,
    trailers: HeaderMap,
}

impl Called {
    fn text(&self, name: &str) -> &str {
        self.trailers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

async fn call(base: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Called {
    let address = base.strip_prefix("http://").unwrap();
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let mut request =
        Request::post(format!("{base}{path}")).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut trailers = answer.headers().clone();
    let collected = answer.into_body().collect().await.unwrap();
    trailers.extend(collected.trailers().cloned().unwrap_or_default());
    Called { message: collected.to_bytes(), trailers }
}

fn encoded(request: &Value) -> Vec<u8> {
    protobuf(Signal::Logs, request.to_string().as_bytes(), 1 << 20).unwrap()
}

#[tokio::test]
async fn calls_are_taken_plain_and_compressed() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["acme"]).set("otlp.grpc_listen", "127.0.0.1:0").start().await;
    let base = daemon.url("otlp gRPC");
    let plain = call(&base, LOGS, &[("x-tenant", "acme")], framed(0, &encoded(&logs(&[], &["plain"])))).await;
    assert_eq!((plain.text("grpc-status"), &plain.message[..]), ("0", &[0, 0, 0, 0, 0][..]));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&encoded(&logs(&[], &["gzip"]))).unwrap();
    let body = framed(1, &gzip.finish().unwrap());
    let compressed = call(&base, LOGS, &[("x-tenant", "acme"), ("grpc-encoding", "gzip")], body).await;
    assert_eq!(compressed.text("grpc-status"), "0", "{}", compressed.text("grpc-message"));
    let attribute = encoded(&logs(&[("tenant", "acme")], &["attribute"]));
    assert_eq!(call(&base, LOGS, &[], framed(0, &attribute)).await.text("grpc-status"), "0");
    fakeintake.wait_items("acme", "logs", 3).await;
    assert_eq!(messages(&fakeintake, "acme").await, ["plain", "gzip", "attribute"]);
    daemon.stop().await;
}

#[tokio::test]
async fn refused_calls_say_so_in_grpcs_own_words() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["acme"]).set("otlp.grpc_listen", "127.0.0.1:0").start().await;
    let base = daemon.url("otlp gRPC");
    let acme: &[(&str, &str)] = &[("x-tenant", "acme")];
    let traces = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let body = framed(0, &encoded(&logs(&[], &["x"])));
    for (path, headers, body, status, words) in [
        (LOGS, &[("x-tenant", "z")][..], body.clone(), "7", "unknown tenant"),
        (LOGS, &[], body.clone(), "16", "no tenant"),
        (LOGS, acme, vec![0, 0], "3", "five bytes"),
        (LOGS, acme, framed(0, &[0x0a, 0xff]), "3", "malformed"),
        (LOGS, acme, [body.clone(), body.clone()].concat(), "3", "one message"),
        (LOGS, &[("grpc-encoding", "snappy"), ("x-tenant", "acme")], framed(1, b"x"), "12", "snappy"),
        (traces, acme, body.clone(), "12", "Collector"),
        ("/x.Y/Z", acme, body.clone(), "12", "no such method"),
    ] {
        let called = call(&base, path, headers, body).await;
        assert_eq!(called.text("grpc-status"), status, "{}", called.text("grpc-message"));
        assert!(called.text("grpc-message").contains(words), "{}", called.text("grpc-message"));
        assert_eq!(called.text("grpc-status-details-bin"), "");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_full_queue_is_unavailable_with_a_delay_to_retry_after() {
    let fakeintake = FakeIntake::start();
    fakeintake.fault("acme", json!({ "path": "*", "effect": { "status": { "code": 503 } } })).await;
    let setup =
        Setup::new(&fakeintake, &["acme"]).set("otlp.grpc_listen", "127.0.0.1:0").set("tenancy.default", "acme");
    let daemon = setup
        .set("journal.max_bytes_per_tenant", "1MiB")
        .set("ingest.max_body", "1MiB")
        .set("shutdown.grace", "100ms")
        .start()
        .await;
    let body = framed(0, &encoded(&logs(&[], &["x".repeat(200_000).as_str()])));
    let refused = loop {
        let called = call(&daemon.url("otlp gRPC"), LOGS, &[], body.clone()).await;
        if called.text("grpc-status") != "0" {
            break called;
        }
    };
    assert_eq!(refused.text("grpc-status"), "14", "{}", refused.text("grpc-message"));
    let details = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD_NO_PAD,
        refused.text("grpc-status-details-bin"),
    );
    let details = String::from_utf8_lossy(&details.unwrap()).into_owned();
    assert!(details.contains("google.rpc.RetryInfo"), "{details:?}");
    daemon.stop().await;
}
