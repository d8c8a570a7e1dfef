//! Opening: what is made, what is refused.

use super::harness::{Place, add, both, key_source};
use dogsled::settings::{Settings, StoreUrl};
use dogsled::store::{Change, Guard, NewKey, Origin, Store, StoreError};
use dogsled::types::{Generation, Secret, UnixMillis};
use dogsled::vault::Source;
use std::os::unix::fs::PermissionsExt;

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

both! {
    async fn a_newer_store_is_refused_untouched(place: Place) {
        drop(place.open().await);
        place.sql("UPDATE dogsled_schema SET version = version + 1000").await;
        let error = place.try_open().await.unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { found: 1001.., .. }), "{error}");
        assert!(error.to_string().contains("install the newer dogsled"), "{error}");
        place.sql("UPDATE dogsled_schema SET version = version - 1000").await;
        place.open().await;
    }

    async fn a_store_of_the_first_version_is_upgraded_whole(place: Place) {
        let store = place.open().await;
        let acme = add(&store, "acme").await;
        drop(store);
        place
            .sql(
                "ALTER TABLE dogsled_tenants DROP COLUMN dropped_before; \
                 ALTER TABLE dogsled_tenants DROP COLUMN generations; DROP INDEX dogsled_pending_ticket; \
                 ALTER TABLE dogsled_pending DROP COLUMN session; ALTER TABLE dogsled_pending DROP COLUMN ticket; \
                 ALTER TABLE dogsled_pending DROP COLUMN answer; UPDATE dogsled_schema SET version = 1",
            )
            .await;
        let store = place.open().await;
        let record = store.tenant(&acme).await.unwrap().unwrap();
        assert_eq!((record.dropped_before, record.generations.present()), (None, Generation::UNKNOWN));
        let change = [Change::DroppedBefore(UnixMillis(7))];
        store.apply(&acme, Guard::default(), &change).await.unwrap();
        assert_eq!(place.open().await.tenant(&acme).await.unwrap().unwrap().dropped_before, Some(UnixMillis(7)));
    }

    async fn processes_open_a_new_store_concurrently(place: Place) {
        // The key is there, as on hosts that share a store.
        key_source(place.dir.path()).create().unwrap();
        let open = |_| {
            let (url, dir) = (place.url.clone(), place.dir.path().to_owned());
            tokio::spawn(async move { Store::open(&url, &dir, key_source(&dir)).await.map(drop) })
        };
        for opened in (0..6).map(open).collect::<Vec<_>>() {
            opened.await.unwrap().unwrap();
        }
    }

    async fn the_first_host_names_the_master_key(place: Place) {
        drop(place.open().await);
        place.sql("UPDATE dogsled_meta SET master_key = NULL").await;
        let hosts = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let open = |host: &tempfile::TempDir| {
            let (url, dir, source) = (place.url.clone(), place.dir.path().to_owned(), key_source(host.path()));
            tokio::spawn(async move { Store::open(&url, &dir, source).await })
        };
        let (one, other) = (open(&hosts[0]), open(&hosts[1]));
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert_ne!(one.is_ok(), other.is_ok());
        let (store, error) = if one.is_ok() { (one, other) } else { (other, one) };
        add(&store.unwrap(), "acme").await;
        let error = error.unwrap_err();
        assert!(matches!(error, StoreError::MasterKey { .. }), "{error}");
    }

    async fn a_wrong_master_key_is_refused_by_name(place: Place) {
        let store = place.open().await;
        let acme = add(&store, "acme").await;
        let key = NewKey { key: Secret::new("k"), datadog_id: None, origin: Origin::Static };
        store.apply(&acme, Guard::default(), &[Change::Key(Some(key))]).await.unwrap();
        drop(store);
        let right = key_source(place.dir.path()).load().unwrap().first().unwrap();
        std::fs::rename(place.key_file(), place.dir.path().join("away")).unwrap();

        let error = place.try_open().await.unwrap_err().to_string();
        assert!(error.contains(&right.to_string()) && error.contains("there is no master key"), "{error}");
        assert!(!place.key_file().exists(), "a key for nothing would be a riddle later");

        let wrong = key_source(place.dir.path()).create().unwrap().id();
        let error = place.try_open().await.unwrap_err().to_string();
        for part in [&right.to_string(), &wrong.to_string(), "nothing was changed", "from a backup"] {
            assert!(error.contains(part), "{part} in {error}");
        }

        std::fs::rename(place.dir.path().join("away"), place.key_file()).unwrap();
        assert_eq!(place.open().await.api_key(&acme).await.unwrap().unwrap().key.expose(), "k");
    }

    async fn a_key_that_others_can_read_is_refused(place: Place) {
        drop(place.open().await);
        assert_eq!(mode(&place.key_file()), 0o600);
        std::fs::set_permissions(place.key_file(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = place.try_open().await.unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    async fn a_key_from_the_environment_needs_no_file(place: Place) {
        let mut settings = Settings::default();
        settings.state.dir = place.dir.path().to_owned();
        settings.store.master_key = Some(Secret::new("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"));
        let source = Source::configured(&settings, None);
        Store::open(&place.url, place.dir.path(), source.clone()).await.unwrap();
        assert!(!place.key_file().exists());
        let error = place.try_open().await.unwrap_err().to_string();
        assert!(error.contains("there is no master key"), "{error}");
        Store::open(&place.url, place.dir.path(), source).await.unwrap();
    }
}

#[tokio::test]
async fn sqlite_files_are_private() {
    let place = Place::sqlite();
    let dir = place.dir.path().join("state");
    let open = || Store::open(&StoreUrl::Default, &dir, key_source(&dir));
    // The key's directory is made by whoever starts the daemon; here it is the same one.
    let url = StoreUrl::parse(&format!("sqlite:{}/deep/er/t.db", dir.display())).unwrap();
    std::fs::create_dir(&dir).unwrap();
    let store = Store::open(&url, &dir, key_source(&dir)).await.unwrap();
    add(&store, "acme").await;
    assert_eq!(mode(&dir.join("deep")), 0o700);
    for file in ["t.db", "t.db-wal", "t.db-shm"] {
        assert_eq!(mode(&dir.join("deep/er").join(file)), 0o600, "{file}");
    }
    drop(open().await.unwrap());
    let file = dir.join("tenants.db");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(open().await.unwrap());
    assert_eq!(mode(&file), 0o600);
}
