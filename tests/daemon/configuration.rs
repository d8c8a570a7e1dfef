//! What the daemon makes of its configuration on the machine that it runs on.

use crate::support::{FakeIntake, Home, Setup, client};
use serde_json::json;
use std::fs::{Permissions, create_dir, metadata, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn mode(path: &Path) -> u32 {
    metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn both_loopbacks_take_telemetry() {
    let fakeintake = FakeIntake::start();
    let daemon = Setup::new(&fakeintake, &["a"]).set("ingest.listen", json!(["127.0.0.1:0", "[::1]:0"])).start().await;
    let listening = daemon.log("listening").into_iter().filter(|line| line["listener"] == "ingest");
    let addresses: Vec<_> = listening.map(|line| line["address"].as_str().unwrap().to_owned()).collect();
    assert!(addresses.len() == 2 && addresses[1].starts_with("[::1]:"), "{addresses:?}");
    for address in &addresses {
        let request = client().post(format!("http://{address}/api/v2/logs")).header("X-Tenant", "a");
        let request = request.header("Content-Type", "application/json").body(r#"[{"message":"m"}]"#);
        assert_eq!(request.send().await.unwrap().status(), 202, "{address}");
    }
    fakeintake.wait_items("a", "logs", 2).await;
}

#[tokio::test]
async fn state_and_journal_are_the_daemons_own() {
    let (fakeintake, home) = (FakeIntake::start(), Home::new());
    let (state, journal) = (home.state_dir(), home.state_dir().join("elsewhere"));
    create_dir(&state).unwrap();
    create_dir(&journal).unwrap();
    for dir in [&state, &journal] {
        set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    }
    // Whatever the mask of whoever starts it.
    let setup = Setup::new(&fakeintake, &["a"]).set("journal.dir", journal.to_str().unwrap()).after("umask 000");
    let daemon = setup.start_in(&home).await;
    daemon.logs("a", [1]).await;
    fakeintake.wait_items("a", "logs", 1).await;
    assert_eq!((mode(&state), mode(&journal)), (0o700, 0o700));
    let mut files = 0;
    for dir in [&state, &journal] {
        for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let expected = if entry.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&entry), expected, "{}", entry.display());
            files += 1;
        }
    }
    assert!(files > 3, "{files} files");
    assert_eq!(daemon.log("others had permissions on").len(), 2);
}
