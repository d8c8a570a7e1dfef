//! Who reaches the operator's side: over the port, over the Unix socket, and what is left to monitors.

use crate::operator::Operator;
use crate::support::{Daemon, FakeIntake, Setup, client, until};
use dogsled::settings::Settings;
use reqwest::Method;
use std::fs::Permissions;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn socket(daemon: &Daemon) -> PathBuf {
    daemon.state_dir().join("admin.sock")
}

async fn get(daemon: &Daemon, path: &str) -> u16 {
    let http = reqwest::Client::builder().no_proxy().unix_socket(socket(daemon)).build().unwrap();
    http.get(format!("http://localhost{path}")).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_socket_asks_for_the_user_and_no_token() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["acme"]).start().await;
    assert_eq!(std::fs::metadata(socket(&daemon)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((get(&daemon, "/admin/v1/status").await, get(&daemon, "/metrics").await), (200, 200));

    // Let in by the file system, a process of another user is refused all the same.
    let way = [socket(&daemon), daemon.state_dir(), daemon.state_dir().parent().unwrap().to_owned()];
    for path in &way {
        std::fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }
    const ASK: &str = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
        s.sendall(b'GET /admin/v1/status HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n')\n\
        while data := s.recv(65536): sys.stdout.buffer.write(data)";
    let mut ask = Command::new("python3");
    ask.args(["-c", ASK]).arg(socket(&daemon)).current_dir("/").uid(65_534);
    let Ok(output) = ask.output() else {
        eprintln!("skipped: only root can become another user");
        return;
    };
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("other_user"), "{answer}");
}

#[tokio::test]
async fn a_metrics_port_serves_probes_alone() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["acme"]).set("metrics.listen", "127.0.0.1:0").start().await;
    let (url, operator) = (daemon.url("metrics"), Operator::of(&daemon));
    let token = std::fs::read_to_string(daemon.state_dir().join("admin.token")).unwrap();
    for (path, status) in
        [("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/admin/v1/status", 404), ("/", 404)]
    {
        let answer = client().get(format!("{url}{path}")).bearer_auth(token.trim()).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    operator.expect(200, operator.request(Method::GET, "status")).await;
}

#[tokio::test]
async fn silent_and_greedy_connections_leave_room_for_others() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["acme"]).start().await;
    let address = daemon.url("admin").replace("http://", "");
    let silent: Vec<_> = (0..80).map(|_| TcpStream::connect(&address).unwrap()).collect();
    until("a place over TCP", async || (daemon.admin_status("/healthz").await == 200).then_some(())).await;
    let greedy: Vec<_> = (0..80)
        .map(|_| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.set_nonblocking(true).unwrap();
            let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(2_000);
            // As much as fits; nothing of the answers is ever read.
            let _ = stream.write(&request);
            stream
        })
        .collect();
    assert_eq!(get(&daemon, "/admin/v1/status").await, 200, "the socket has places of its own");
    drop((silent, greedy));
}

#[test]
fn beyond_loopback_the_admin_port_needs_tls() {
    let refused = |toml: &str| Settings::from_toml(toml).unwrap_err().to_string();
    for address in ["0.0.0.0:8283", "[::]:8283", "10.1.2.3:8283"] {
        let error = refused(&format!("admin.listen = \"{address}\""));
        assert!(error.contains("admin.tls_cert_file") && error.contains("in clear"), "{error}");
    }
    assert!(refused("admin.tls_cert_file = \"a.pem\"").contains("admin.tls_key_file"));
    let with_tls = "admin.listen = \"0.0.0.0:8283\"\nadmin.tls_cert_file = \"a\"\nadmin.tls_key_file = \"b\"";
    assert!(Settings::from_toml(with_tls).is_ok());
}

#[tokio::test]
async fn web_pages_read_nothing_on_the_admin_port() {
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["acme"]).set("metrics.listen", "127.0.0.1:0");
    let daemon = setup.set("admin.allowed_hosts", serde_json::json!(["dogsled.internal"])).start().await;
    let (admin, metrics) = (daemon.url("admin"), daemon.url("metrics"));
    let token = std::fs::read_to_string(daemon.state_dir().join("admin.token")).unwrap();
    for (name, value, status) in [
        ("host", "evil.example", 421),
        ("host", "dogsled.internal:8283", 200),
        ("host", "localhost:8283", 200),
        ("origin", "https://evil.example", 403),
        ("origin", "http://localhost:3000", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "none", 200),
    ] {
        for url in [&admin, &metrics] {
            for path in ["/metrics", "/healthz", "/readyz"] {
                let answer = client().get(format!("{url}{path}")).header(name, value).send().await.unwrap();
                assert_eq!(answer.status(), status, "{url}{path} {name}: {value}");
            }
        }
        let ask = || client().get(format!("{admin}/admin/v1/status")).header(name, value);
        let without = ask().send().await.unwrap().status().as_u16();
        assert_eq!(without, if status == 200 { 401 } else { status }, "{name}: {value}");
        assert_eq!(ask().bearer_auth(token.trim()).send().await.unwrap().status(), 200, "{name}: {value}");
    }
}

/// Makes a certificate for loopback that vouches for itself; false where there is no openssl.
fn certify(certificate: &Path, key: &Path) -> bool {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-out"])
        .arg(certificate)
        .arg("-keyout")
        .arg(key)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    made.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn the_admin_port_speaks_tls_and_follows_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let [certificate, key, old] = ["admin.crt", "admin.key", "old.crt"].map(|name| dir.path().join(name));
    if !certify(&certificate, &key) {
        eprintln!("skipped: no openssl here to make a certificate");
        return;
    }
    std::fs::copy(&certificate, &old).unwrap();
    let fakeintake = FakeIntake::start();
    let setup = Setup::new(&fakeintake, &["acme"]);
    let setup = setup.set("admin.tls_cert_file", certificate.to_str().unwrap());
    let daemon = setup.set("admin.tls_key_file", key.to_str().unwrap()).start().await;
    let url = daemon.url("admin");
    let tls = url.replace("http://", "https://");
    let ask = async |url: &str, ca: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dogsled"));
        command.args(["tenant", "list", "--admin", url, "--token-file"]).arg(daemon.state_dir().join("admin.token"));
        command.args(ca.iter().flat_map(|ca| [Path::new("--ca-file"), ca]));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, listed) = ask(&tls, Some(&old)).await;
    assert!(code == Some(0) && listed.contains("acme"), "{listed}");
    let (code, refused) = ask(&tls, None).await;
    assert!(code == Some(1) && refused.contains("certificate"), "nobody vouches for it: {refused}");
    assert_eq!(ask(&url, None).await.0, Some(1), "nothing is answered in clear");
    assert_eq!(get(&daemon, "/admin/v1/status").await, 200, "the socket is as before");

    assert!(certify(&certificate, &key));
    let (code, listed) = ask(&tls, Some(&certificate)).await;
    assert!(code == Some(0) && listed.contains("acme"), "{listed}");
    assert_eq!(ask(&tls, Some(&old)).await.0, Some(1), "the old one is gone");
}
