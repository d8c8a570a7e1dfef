//! Who reaches the operator's side: over the port, over the Unix socket, and what is left to monitors.

use crate::operator::Operator;
use crate::support::{Daemon, FakeIntake, Setup, client, until};
use reqwest::Method;
use std::fs::Permissions;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

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
