//! Connections: how many, how long, over what.

use super::port::{Client, DEADLINE, LOG, Mood, Port, get, post_json, within};
use bytes::Bytes;
use dogsled::serve::Listener;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_connection_serves_one_request_after_another_also_when_sent_ahead() {
    let port = Port::open(|_| {}).await;
    let mut client = port.connect().await;
    let requests = [post_json("/api/v2/logs", LOG), get("/healthz", "").into(), post_json("/v1/input", LOG)].concat();
    client.write(requests).await;
    for status in [202, 200, 200] {
        assert_eq!(client.reply().await.status, status);
    }
    client.write(post_json("/nowhere", LOG)).await;
    client.reply().await.refused(404, &["/nowhere"]);
    client.write(post_json("/api/v2/logs", LOG)).await;
    assert_eq!(client.reply().await.status, 202);
    assert_eq!(port.counts().len(), 3);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on_or_why_not() {
    let port = Port::open(|_| {}).await;
    let head = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nX-Tenant: acme\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            LOG.len()
        )
    };
    let mut client = port.connect().await;
    client.write(head("/api/v2/logs")).await;
    assert_eq!(client.reply().await.status, 100);
    client.write(LOG).await;
    assert_eq!(client.reply().await.status, 202);
    let mut client = port.connect().await;
    client.write(head("/nowhere")).await;
    assert_eq!(client.reply().await.status, 404);
}

#[tokio::test]
async fn a_silent_a_dribbling_and_an_idle_connection_are_closed() {
    let port = Port::open(|settings| settings.ingest.header_timeout = SHORT).await;
    // Nothing at all; half of what could be HTTP/2; half a header; the preface of HTTP/2 and nothing more.
    for start in ["", "PRI * HTTP", "POST /api/v2/logs HTTP/1.1\r\nHost", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = port.connect().await;
        client.write(start).await;
        client.closed().await;
    }
    let mut dribbling = port.connect().await;
    let begun = Instant::now();
    for byte in get("/healthz", &"a: b\r\n".repeat(1_000)).bytes() {
        if dribbling.0.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(begun.elapsed() < DEADLINE, "it was allowed to go on");
    let mut idle = port.connect().await;
    idle.write(get("/healthz", "")).await;
    assert_eq!(idle.reply().await.status, 200);
    assert_eq!(idle.closed().await, b"");
}

#[tokio::test]
async fn a_request_under_way_may_take_longer_than_a_header() {
    let port = Port::open(|settings| settings.ingest.header_timeout = Duration::from_millis(50)).await;
    let go = Arc::new(Notify::new());
    port.mood(Mood::Wait(Arc::clone(&go)));
    let mut client = port.connect().await;
    client.write(post_json("/api/v2/logs", LOG)).await;
    port.asked().await;
    assert!(tokio::time::timeout(SHORT, client.0.read_u8()).await.is_err(), "neither answered nor closed");
    go.notify_one();
    assert_eq!(client.reply().await.status, 202);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_answered_with_408() {
    let port = Port::open(|settings| settings.ingest.body_timeout = SHORT).await;
    let mut client = port.connect().await;
    let request = post_json("/api/v2/logs", LOG);
    client.write(&request[..request.len() - 1]).await;
    let reply = client.reply().await;
    reply.refused(408, &["body_timeout"]);
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(client.closed().await, b"");
    assert_eq!(port.counts(), [""; 0]);
}

#[tokio::test]
async fn the_longest_idle_connection_makes_room() {
    let port = Port::open(|settings| settings.ingest.max_connections = 2).await;
    let mut first = port.connect().await;
    let mut second = port.connect().await;
    for client in [&mut first, &mut second] {
        client.write(get("/healthz", "")).await;
        assert_eq!(client.reply().await.status, 200);
    }
    assert_eq!(port.send(get("/healthz", "")).await.status, 200);
    assert_eq!(first.closed().await, b"");
    second.write(get("/healthz", "")).await;
    assert_eq!(second.reply().await.status, 200, "it was idle for a shorter time");
}

#[tokio::test]
async fn silent_connections_cannot_keep_others_out() {
    let port = Port::open(|settings| settings.ingest.max_connections = 8).await;
    let mut silent = Vec::new();
    for start in ["", "G", "PRI * HTTP/2.0", "POST / HTTP/1.1\r\na: "].into_iter().cycle().take(40) {
        let mut client = port.connect().await;
        client.write(start).await;
        silent.push(client);
    }
    assert_eq!(port.send(post_json("/api/v2/logs", LOG)).await.status, 202);
}

#[tokio::test]
async fn requests_in_flight_keep_their_places() {
    let port = Port::open(|settings| settings.ingest.max_connections = 1).await;
    let go = Arc::new(Notify::new());
    port.mood(Mood::Wait(Arc::clone(&go)));
    let mut first = port.connect().await;
    first.write(post_json("/api/v2/logs", LOG)).await;
    port.asked().await;
    let mut second = port.connect().await;
    second.write(get("/healthz", "")).await;
    assert!(tokio::time::timeout(SHORT, second.0.read_u8()).await.is_err(), "it waits, neither served nor reset");
    go.notify_one();
    assert_eq!(first.reply().await.status, 202);
    assert_eq!(second.reply().await.status, 200);
}

#[tokio::test]
async fn some_places_are_kept_for_the_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listeners = vec![
        Listener::tcp("127.0.0.1:0", "ingest.listen").await.unwrap(),
        Listener::unix(&path, 0o660, "ingest.socket").await.unwrap(),
    ];
    let port = Port::with(listeners, |settings| settings.ingest.max_connections = 8);
    port.mood(Mood::Wait(Arc::default()));
    let mut over_tcp = Vec::new();
    for _ in 0..9 {
        let mut client = port.connect().await;
        client.write(post_json("/api/v2/logs", LOG)).await;
        over_tcp.push(client);
    }
    port.asked().await;
    let mut over_unix = Client(within(UnixStream::connect(&path)).await.unwrap());
    over_unix.write(get("/healthz", "")).await;
    assert_eq!(over_unix.reply().await.status, 200);
}

#[tokio::test]
async fn a_peer_that_never_reads_its_answers_is_ended() {
    let port = Port::open(|settings| settings.ingest.header_timeout = SHORT).await;
    let mut client = port.connect().await;
    let request = get(&format!("/{}", "x".repeat(1_000)), "");
    let written = async { while client.0.write_all(request.as_bytes()).await.is_ok() {} };
    within(written).await;
}

#[tokio::test]
async fn a_unix_socket_serves_the_same_and_is_gone_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dogsled.sock");
    let port = Port::with(vec![Listener::unix(&path, 0o660, "ingest.socket").await.unwrap()], |_| {});
    let mut client = Client(UnixStream::connect(&path).await.unwrap());
    client.write(post_json("/api/v2/logs", LOG)).await;
    assert_eq!(client.reply().await.status, 202);
    assert_eq!(port.counts(), ["acme logs 1"]);
    within(port.shut_down()).await.unwrap();
    assert!(!path.exists());
    assert_eq!(client.closed().await, b"");
}

/// A client that speaks HTTP/2 from the first byte.
async fn http2(port: &Port) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(&port.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn http2_post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("http://x{path}")).header("x-tenant", "acme").body(Full::new(body.into())).unwrap()
}

#[tokio::test]
async fn http2_is_served_without_an_upgrade_many_requests_at_once() {
    let port = Port::open(|settings| settings.ingest.body_timeout = SHORT).await;
    let sender = http2(&port).await;
    let large = format!(r#"{{"message":"{}"}}"#, "m".repeat(600_000));
    let bodies = [LOG.to_owned(), large, LOG.to_owned()];
    let requests: Vec<_> = bodies
        .into_iter()
        .map(|body| {
            let mut sender = sender.clone();
            tokio::spawn(async move { sender.send_request(http2_post("/api/v2/logs", body)).await.unwrap() })
        })
        .collect();
    for request in requests {
        let response = within(request).await.unwrap();
        assert_eq!(response.status(), 202);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{}");
    }
    assert_eq!(port.counts(), ["acme logs 1"; 3]);
    let mut sender = sender;
    let refused = within(sender.send_request(http2_post("/nowhere", vec![b'x'; 1 << 20]))).await.unwrap();
    assert_eq!(refused.status(), 404);
    let again = within(sender.send_request(http2_post("/api/v2/logs", LOG))).await.unwrap();
    assert_eq!(again.status(), 202);
}

#[tokio::test]
async fn an_idle_http2_connection_is_ended() {
    let port = Port::open(|settings| settings.ingest.header_timeout = SHORT).await;
    let mut sender = http2(&port).await;
    assert_eq!(within(sender.send_request(http2_post("/api/v2/logs", LOG))).await.unwrap().status(), 202);
    within(async {
        while !sender.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn shutting_down_finishes_what_is_under_way_and_refuses_what_comes() {
    let port = Port::open(|_| {}).await;
    let go = Arc::new(Notify::new());
    port.mood(Mood::Wait(Arc::clone(&go)));
    let mut idle = port.connect().await;
    idle.write(get("/healthz", "")).await;
    assert_eq!(idle.reply().await.status, 200);
    let mut under_way = port.connect().await;
    under_way.write(post_json("/api/v2/logs", LOG)).await;
    port.asked().await;
    let mut late = port.connect().await;
    let request = post_json("/api/v2/logs", LOG);
    late.write(&request[..30]).await;
    // The server has taken the connection and the half of the header when it answers the next one.
    assert_eq!(port.send(get("/readyz", "")).await.status, 200);

    let (address, taken) = (port.address.clone(), Arc::clone(&port.taken));
    let served = port.shut_down();
    assert_eq!(idle.closed().await, b"");
    assert!(within(TcpStream::connect(&address)).await.is_err(), "nobody listens any more");
    late.write(&request[30..]).await;
    let reply = late.reply().await;
    reply.refused(503, &["shutting down"]);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(!served.is_finished());
    go.notify_one();
    let reply = under_way.reply().await;
    assert_eq!((reply.status, reply.header("connection")), (202, Some("close")));
    within(served).await.unwrap();
    drop(taken);
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_still_gets_its_answer() {
    let port = Port::open(|_| {}).await;
    let mut client = port.connect().await;
    client.write(post_json("/api/v2/logs", LOG)).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(client.reply().await.status, 202);
    assert_eq!(client.closed().await, b"");
}
