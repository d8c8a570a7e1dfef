use super::*;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};

#[tokio::test]
async fn lines_come_by_every_kind_of_socket() {
    let fakeintake = FakeIntake::start();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (own, own_value) = listener(&path("globex.sock"), "globex");
    let setup = setup(&fakeintake, &["acme", "globex"])
        .set("tenancy.default", "acme")
        .set("dogstatsd.listen", json!(["localhost:0", "127.0.0.1:0"]))
        .set("dogstatsd.socket", path("d.sock"))
        .set("dogstatsd.stream_socket", path("s.sock"))
        .set(&own, own_value);
    let daemon = setup.start().await;
    let mut sent = 0.0;
    for address in listeners(&daemon).iter().filter_map(|address| address.parse().ok()) {
        udp_to(address).send(b"hits:1|c").unwrap();
        sent += 1.0;
    }
    let datagram = UnixDatagram::unbound().unwrap();
    datagram.send_to(b"hits:1|c", path("d.sock")).unwrap();
    datagram.send_to(b"hits:1|c\nhits:1|c|#tenant:acme", path("globex.sock")).unwrap();
    let mut stream = UnixStream::connect(path("s.sock")).unwrap();
    stream.write_all(b"\x08\0\0\0hits:1|c\x08\0\0\0hits:").unwrap();
    wait_lines(&daemon, sent as u64 + 4).await;
    stream.write_all(b"2|c").unwrap();
    wait_sum(&fakeintake, "acme", "hits", sent + 5.0).await;
    wait_sum(&fakeintake, "globex", "hits", 1.0).await;
    assert_eq!(std::fs::metadata(path("d.sock")).unwrap().permissions().mode() & 0o777, 0o722);
    daemon.stop().await;
    for name in ["d.sock", "s.sock", "globex.sock"] {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn a_stream_that_is_no_stream_of_packets_is_closed() {
    let fakeintake = FakeIntake::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let daemon = setup(&fakeintake, &["acme"])
        .set("tenancy.default", "acme")
        .set("dogstatsd.stream_socket", path.to_str().unwrap())
        .start()
        .await;
    for head in [0_u32, 8_193, u32::MAX] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"\x06\0\0\0ok:1|c").unwrap();
        stream.write_all(&head.to_le_bytes()).unwrap();
        until("the connection to be closed", async || match stream.write_all(b"x") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Some(()),
            _ => None,
        })
        .await;
    }
    wait_sum(&fakeintake, "acme", "ok", 3.0).await;
    assert_eq!(errors(&daemon, "frame_too_long").await, 3);
}

#[tokio::test]
async fn a_socket_file_that_was_left_behind_is_replaced() {
    let fakeintake = FakeIntake::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.sock");
    drop(UnixDatagram::bind(&path).unwrap());
    let setup =
        setup(&fakeintake, &["acme"]).set("tenancy.default", "acme").set("dogstatsd.socket", path.to_str().unwrap());
    let first = setup.start().await;
    first.kill();
    let daemon = setup.start().await;
    UnixDatagram::unbound().unwrap().send_to(b"hits:1|c", &path).unwrap();
    wait_sum(&fakeintake, "acme", "hits", 1.0).await;
    // Another one is not to take it over.
    let mut other = setup.spawn_in(&crate::support::Home::new());
    assert!(!other.wait_end().await.success());
    assert!(other.log_text().contains("dogstatsd.socket"), "{}", other.log_text());
    // Of a file that is not its own any more it takes no care at its end.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "another's").unwrap();
    daemon.stop().await;
    assert_eq!(std::fs::read(&path).unwrap(), b"another's");
}

#[tokio::test]
async fn with_tokens_asked_for_only_listeners_with_a_tenant_take_lines() {
    let fakeintake = FakeIntake::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acme.sock");
    let (key, value) = listener(path.to_str().unwrap(), "acme");
    let daemon = setup(&fakeintake, &["acme", "globex"])
        .set("ingest.require_token", true)
        .set("tenancy.default", "globex")
        .set(&key, value)
        .start()
        .await;
    udp(&daemon).send(b"hits:1|c\nhits:1|c|#tenant:globex").unwrap();
    let own = UnixDatagram::unbound().unwrap();
    own.send_to(b"hits:1|c\nhits:1|c|#tenant:acme\nhits:1|c|#tenant:globex", &path).unwrap();
    wait_sum(&fakeintake, "acme", "hits", 2.0).await;
    assert_eq!((errors(&daemon, "no_tenant").await, errors(&daemon, "foreign_tenant").await), (2, 1));
    assert_eq!(sum(&fakeintake, "globex", "hits").await, 0.0);
}
