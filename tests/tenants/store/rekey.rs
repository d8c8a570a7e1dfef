//! Changing the master key.

use super::harness::{Place, add, both, key_source, tokens};
use dogsled::store::{Change, Guard, NewKey, Origin, Pending, Replaces, Store, StoreError, Taken};
use dogsled::types::{Secret, TenantId, UnixMillis};
use dogsled::vault::MasterKey;
use std::process::Command;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

/// A tenant with every kind of secret.
async fn fill(store: &Store) -> TenantId {
    let acme = add(store, "acme").await;
    let key = NewKey { key: Secret::new("the-key"), datadog_id: None, origin: Origin::OAuth };
    let changes = [Change::Key(Some(key)), Change::Tokens(Some(tokens("the-access", "the-refresh", Replaces::Any)))];
    store.apply(&acme, Guard::default(), &changes).await.unwrap();
    for state in ["state-1", "state-2"] {
        let verifier = Secret::new(format!("verifier of {state}"));
        let pending = Pending {
            tenant: acme.clone(),
            verifier,
            domain: "d".into(),
            site: "s".into(),
            session: None,
            answer: None,
        };
        store.add_pending(state, &pending, UnixMillis(i64::MAX)).await.unwrap();
    }
    acme
}

async fn assert_readable(store: &Store, acme: &TenantId) {
    assert_eq!(store.api_key(acme).await.unwrap().unwrap().key.expose(), "the-key");
    let kept = store.tokens(acme).await.unwrap().unwrap();
    assert_eq!((kept.access.expose(), kept.refresh.expose()), ("the-access", "the-refresh"));
}

both! {
    async fn rekey_reseals_all_and_keeps_the_old(place: Place) {
        let store = place.open().await;
        let acme = fill(&store).await;
        let done = store.rekey(None).await.unwrap();
        assert_eq!(done.secrets, 5);
        assert_ne!(done.from, done.to);
        let kept = done.kept.unwrap().unwrap();
        assert_eq!(kept, place.dir.path().join(format!("master.key.old-{}", done.from)));
        assert_readable(&store, &acme).await;
        drop(store);

        assert_eq!(key_source(place.dir.path()).load().unwrap().first(), Some(done.to));
        let store = place.open().await;
        assert_readable(&store, &acme).await;
        match store.take_pending("state-2", UnixMillis::now()).await.unwrap() {
            Taken::Fresh(pending) => assert_eq!(pending.verifier.expose(), "verifier of state-2"),
            other => panic!("{other:?}"),
        }
        drop(store);
        // The old key opens nothing any more, and the error says where the right one may be.
        std::fs::rename(place.key_file(), place.dir.path().join("away")).unwrap();
        std::fs::rename(kept, place.key_file()).unwrap();
        let error = place.try_open().await.unwrap_err().to_string();
        assert!(error.contains(&done.to.to_string()) && error.contains(&done.from.to_string()), "{error}");
    }

    async fn a_running_process_continues_with_the_new_key(place: Place) {
        let (daemon, tool) = (place.open().await, place.open().await);
        let acme = fill(&daemon).await;
        tool.rekey(None).await.unwrap();
        assert_readable(&daemon, &acme).await;
        let changes = [Change::Tokens(Some(tokens("later", "later", Replaces::Any)))];
        daemon.apply(&acme, Guard::default(), &changes).await.unwrap();
        drop((daemon, tool));
        let kept = place.open().await.tokens(&acme).await.unwrap().unwrap();
        assert_eq!(kept.refresh.expose(), "later", "nothing was sealed with the key that was given up");
    }

    async fn a_process_without_the_new_key_writes_nothing(place: Place) {
        let there = tempfile::tempdir().unwrap();
        let here = place.open().await;
        let acme = fill(&here).await;
        std::fs::copy(place.key_file(), there.path().join("master.key")).unwrap();
        let other = Store::open(&place.url, &place.dir.path().join("."), key_source(there.path())).await.unwrap();
        here.rekey(None).await.unwrap();
        let changes = [Change::Tokens(Some(tokens("lost", "lost", Replaces::Any)))];
        let error = other.apply(&acme, Guard::default(), &changes).await.unwrap_err();
        assert!(matches!(error, StoreError::MasterKey { .. }), "{error}");
        assert_readable(&here, &acme).await;
        // Once the key is there, it goes on by itself.
        std::fs::copy(place.key_file(), there.path().join("master.key.new")).unwrap();
        assert_readable(&other, &acme).await;
    }

    async fn an_interrupted_rekey_is_readable_and_finished(place: Place) {
        let store = place.open().await;
        let acme = fill(&store).await;
        drop(store);
        let source = key_source(place.dir.path());
        // Before: the new key waits, the store has the old one.
        let waiting = source.rotation().unwrap().begin(None).unwrap().id();
        let old = source.load().unwrap().first().unwrap();
        let store = place.open().await;
        assert_readable(&store, &acme).await;
        drop(store);
        assert_eq!(source.load().unwrap().first(), Some(old));
        // After: the store has the new key, the files are not exchanged yet.
        let old_file = std::fs::read(place.key_file()).unwrap();
        let store = place.open().await;
        assert_eq!(store.rekey(None).await.unwrap().to, waiting, "the one that waits is taken");
        drop(store);
        let new_file = place.dir.path().join("master.key.new");
        std::fs::rename(place.key_file(), &new_file).unwrap();
        std::fs::write(place.key_file(), old_file).unwrap();
        std::fs::set_permissions(place.key_file(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let store = place.open().await;
        assert_readable(&store, &acme).await;
        assert!(!new_file.exists());
        assert_eq!(source.load().unwrap().first(), Some(waiting));
    }

    async fn the_same_key_is_no_change(place: Place) {
        let store = place.open().await;
        let acme = fill(&store).await;
        let key = MasterKey::parse(&std::fs::read_to_string(place.key_file()).unwrap(), "key").unwrap();
        let error = store.rekey(Some(key)).await.unwrap_err();
        assert!(matches!(error, StoreError::SameKey(_)), "{error}");
        store.rekey(Some(MasterKey::parse(HEX, "key").unwrap())).await.unwrap();
        assert_readable(&store, &acme).await;
    }

    async fn an_unreadable_secret_stops_rekey(place: Place) {
        let store = place.open().await;
        let acme = fill(&store).await;
        place.sql("UPDATE dogsled_tokens SET refresh = access").await;
        let error = store.rekey(None).await.unwrap_err().to_string();
        assert!(error.contains("refresh_token of tenant acme"), "{error}");
        assert_eq!(store.api_key(&acme).await.unwrap().unwrap().key.expose(), "the-key");
        assert!(store.tokens(&acme).await.is_err(), "a secret that was moved does not open");
    }
}

fn dogsled(arguments: &[&str], environment: &[(&str, &str)]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dogsled"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap()
}

#[tokio::test]
async fn the_command_rotates_and_names_the_old() {
    let place = Place::sqlite();
    let config = place.dir.path().join("dogsled.toml");
    std::fs::write(&config, format!("[state]\ndir = {:?}\n", place.dir.path())).unwrap();
    let rekey = ["store", "rekey", "--config", config.to_str().unwrap()];
    let nothing = dogsled(&rekey, &[]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("there is no store"));

    let acme = fill(&place.open().await).await;
    let done = dogsled(&rekey, &[]);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && text.starts_with("5 secrets are sealed with master key "), "{text}");
    assert!(text.contains("master.key.old-"), "{text}");
    assert_readable(&place.open().await, &acme).await;

    let given = place.dir.path().join("given");
    std::fs::write(&given, HEX).unwrap();
    let with_file = [&rekey[..], &["--json", "--new-key-file", given.to_str().unwrap()]].concat();
    std::fs::set_permissions(&given, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let open = dogsled(&with_file, &[]);
    assert_eq!(open.status.code(), Some(2), "a key that others can read is no good");
    std::fs::set_permissions(&given, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let done: serde_json::Value = serde_json::from_slice(&dogsled(&with_file, &[]).stdout).unwrap();
    assert_eq!(done["to"], MasterKey::parse(HEX, "key").unwrap().id().to_string());
    assert_readable(&place.open().await, &acme).await;
}

#[tokio::test]
async fn a_provided_key_is_rotated_with_instructions() {
    let place = Place::sqlite();
    let config = place.dir.path().join("dogsled.toml");
    std::fs::write(&config, format!("[state]\ndir = {:?}\n", place.dir.path())).unwrap();
    drop(place.open().await);
    let old = std::fs::read_to_string(place.key_file()).unwrap();
    std::fs::remove_file(place.key_file()).unwrap();
    let given = place.dir.path().join("given");
    std::fs::write(&given, HEX).unwrap();
    std::fs::set_permissions(&given, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();

    let rekey = ["store", "rekey", "--config", config.to_str().unwrap()];
    let environment = [("DOGSLED_STORE__MASTER_KEY", old.trim())];
    let refused = dogsled(&rekey, &environment);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--new-key-file"), "{refused:?}");
    let done = dogsled(&[&rekey[..], &["--new-key-file", given.to_str().unwrap()]].concat(), &environment);
    let note = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && note.contains("DOGSLED_STORE__MASTER_KEY"), "{note}");
    let again = dogsled(&rekey, &environment);
    assert_eq!(again.status.code(), Some(1), "the old key is of no use now");
    let error = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(error.contains("nothing was changed") && !error.contains(old.trim()), "{error}");
}

#[tokio::test]
async fn replaced_keys_are_listed_and_removed_by_command() {
    let place = Place::sqlite();
    let config = place.dir.path().join("dogsled.toml");
    std::fs::write(&config, format!("[state]\ndir = {:?}\n", place.dir.path())).unwrap();
    let store = place.open().await;
    let acme = fill(&store).await;
    let old = [store.rekey(None).await.unwrap().from, store.rekey(None).await.unwrap().from];
    drop(store);
    let run = |more: &[&str]| {
        let done = dogsled(&[&["store", "old-keys", "--config", config.to_str().unwrap()], more].concat(), &[]);
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let listed = run(&[]);
    assert!(listed.lines().count() == 2 && old.iter().all(|key| listed.contains(&format!("{key} "))), "{listed}");
    let json: serde_json::Value = serde_json::from_str(&run(&["--json"])).unwrap();
    assert_eq!(json["keys"].as_array().unwrap().len(), 2, "{json}");
    let in_use = MasterKey::parse(&std::fs::read_to_string(place.key_file()).unwrap(), "key").unwrap().id();
    let kept = place.dir.path().join(format!("master.key.old-{in_use}"));
    std::fs::copy(place.key_file(), &kept).unwrap();
    assert_eq!(run(&["--remove"]).lines().filter(|line| line.starts_with("removed ")).count(), 2);
    assert!(kept.exists(), "the key that the store needs stays, whatever its file is called");
    assert_eq!(run(&[]), "");
    assert_readable(&place.open().await, &acme).await;
}
