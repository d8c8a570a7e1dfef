//! TLS toward PostgreSQL: the server is verified, always.

use super::harness::{add, key_source};
use crate::postgres::Cluster;
use dogsled::settings::StoreUrl;
use dogsled::store::{Store, StoreError};
use std::path::Path;
use std::process::{Command, Stdio};

/// A certificate for `localhost` alone that vouches for itself, and its key.
fn certificate(dir: &Path) -> Option<(String, String)> {
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    made.is_ok_and(|status| status.success()).then(|| (read(&certificate), read(&key)))
}

#[tokio::test]
async fn a_server_needs_certificate_and_name() {
    let dir = tempfile::tempdir().unwrap();
    let Some((certificate, key)) = certificate(dir.path()) else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let configuration = format!("listen_addresses = '127.0.0.1'\nport = {port}");
    let Some(cluster) = Cluster::start(&configuration, port) else { return };
    let client = cluster.client("postgres").await;
    client.batch_execute("CREATE DATABASE d").await.unwrap();
    let open = async |host: &str, options: &str| {
        let url = StoreUrl::parse(&format!("postgres://postgres@{host}:{port}/d?{options}")).unwrap();
        Store::open(&url, dir.path(), key_source(dir.path())).await
    };
    let words = |result: Result<Store, StoreError>| result.map(drop).unwrap_err().to_string();

    let error = words(open("localhost", "sslmode=verify-full").await);
    assert!(error.contains("server does not support TLS"), "{error}");

    std::fs::write(cluster.directory.join("data/server.crt"), certificate).unwrap();
    cluster.write_private("data/server.key", &key);
    client.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let roots = format!("sslmode=require&sslrootcert={}", dir.path().join("cert.pem").display());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let store = loop {
        match open("localhost", &roots).await {
            Ok(store) => break store,
            Err(error) if std::time::Instant::now() > deadline => panic!("{error}"),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    };
    add(&store, "acme").await;
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND datname = 'd'";
    assert!(client.query_one(encrypted, &[]).await.unwrap().get::<_, i64>(0) >= 1);

    let error = words(open("localhost", "sslmode=require").await);
    assert!(error.contains("certificate"), "nobody vouches for it: {error}");
    let error = words(open("127.0.0.1", &roots).await);
    assert!(error.contains("certificate"), "it is not for this name: {error}");
}
