//! Databases in trouble: an error that says what to do, in bounded time, and life afterwards.

use super::harness::{Place, add, key_source, tokens};
use dogsled::settings::StoreUrl;
use dogsled::store::{Change, Fault, Guard, Replaces, Store, StoreError};
use std::time::{Duration, Instant};

fn fault(error: StoreError) -> Fault {
    match error {
        StoreError::Database { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_locked_database_is_busy_until_released() {
    let place = Place::sqlite();
    let store = place.open().await;
    let acme = add(&store, "acme").await;
    let other = rusqlite::Connection::open(place.dir.path().join("tenants.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let from = Instant::now();
    let error = store.apply(&acme, Guard::default(), &[Change::Paused(true)]).await.unwrap_err();
    assert!(from.elapsed() < Duration::from_secs(12), "{:?}", from.elapsed());
    assert!(error.is_transient() && error.to_string().contains("tenants.db"), "{error}");
    assert!(matches!(fault(error), Fault::Busy(_)));
    assert!(store.tenant(&acme).await.is_ok(), "reading waits for nobody");
    other.execute_batch("ROLLBACK").unwrap();
    store.apply(&acme, Guard::default(), &[Change::Paused(true)]).await.unwrap();
}

#[tokio::test]
async fn a_foreign_file_is_left_alone() {
    let place = Place::sqlite();
    let path = place.dir.path().join("tenants.db");
    std::fs::write(&path, "this is somebody's diary, and no database. ".repeat(50)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = place.try_open().await.unwrap_err();
    assert!(error.to_string().contains("restore a backup"), "{error}");
    assert!(matches!(fault(error), Fault::Corrupt(_)));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let place = Place::sqlite();
    std::fs::write(place.dir.path().join("file"), "").unwrap();
    let url = StoreUrl::parse(&format!("sqlite:{}/file/t.db", place.dir.path().display())).unwrap();
    let error = Store::open(&url, place.dir.path(), key_source(place.dir.path())).await.unwrap_err().to_string();
    assert!(error.contains("/file: ") && error.contains("must be able to write"), "{error}");
}

#[tokio::test]
async fn an_absent_server_is_unreachable_without_password() {
    let place = Place::sqlite();
    // A port that nobody listens at, since it was ours a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = StoreUrl::parse(&format!("postgres://me:hunter2@127.0.0.1:{port}/d")).unwrap();
    let error = Store::open(&url, place.dir.path(), key_source(place.dir.path())).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("me:[redacted]@127.0.0.1") && text.contains("check that it runs"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(error.is_transient() && matches!(fault(error), Fault::Unreachable(_)));
    assert!(!place.key_file().exists(), "no key is made for a store that cannot be reached");
}

#[tokio::test]
async fn a_silent_server_is_abandoned() {
    let place = Place::sqlite();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = StoreUrl::parse(&format!("postgres://me@{}/d", silent.local_addr().unwrap())).unwrap();
    let from = Instant::now();
    let error = Store::open(&url, place.dir.path(), key_source(place.dir.path())).await.unwrap_err();
    assert!(from.elapsed() < Duration::from_secs(15) && error.is_transient(), "{:?}: {error}", from.elapsed());
}

#[tokio::test]
async fn connections_that_broke_are_replaced() {
    let Some(place) = Place::postgres().await else { return };
    let store = place.open().await;
    let acme = add(&store, "acme").await;
    for _ in 0..3 {
        place
            .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dogsled' AND datname = current_database()")
            .await;
        store.apply(&acme, Guard::default(), &[Change::Paused(true)]).await.unwrap();
    }
}

#[tokio::test]
async fn a_read_only_server_is_named() {
    let Some(place) = Place::postgres().await else { return };
    let store = place.open().await;
    let acme = add(&store, "acme").await;
    let database = place.database.as_deref().unwrap();
    place.sql(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
    drop(store);
    let store = place.open().await;
    let error = store.apply(&acme, Guard::default(), &[Change::Paused(true)]).await.unwrap_err();
    assert!(error.to_string().contains("name the primary"), "{error}");
    assert!(matches!(fault(error), Fault::ReadOnly));
    place
        .sql(&format!("BEGIN READ WRITE; ALTER DATABASE {database} RESET default_transaction_read_only; COMMIT"))
        .await;
    assert!(place.open().await.tenant(&acme).await.unwrap().is_some());
}

#[tokio::test]
async fn an_unknown_database_or_user_is_named() {
    let Some(place) = Place::postgres().await else { return };
    let cluster = crate::postgres::shared().unwrap();
    let nobody = cluster.url(place.database.as_deref().unwrap()).replace("postgres@", "nobody@");
    for url in [cluster.url("nowhere"), nobody] {
        let url = StoreUrl::parse(&url).unwrap();
        let error = Store::open(&url, place.dir.path(), key_source(place.dir.path())).await.unwrap_err();
        assert!(error.to_string().contains("check the user, password, database"), "{error}");
        assert!(matches!(fault(error), Fault::Refused(_)));
    }
}

#[tokio::test]
async fn an_abandoned_step_leaves_nothing() {
    for place in [Some(Place::sqlite()), Place::postgres().await].into_iter().flatten() {
        let store = place.open().await;
        let acme = add(&store, "acme").await;
        let changes = [Change::Paused(true), Change::Tokens(Some(tokens("a", "r", Replaces::Any)))];
        for polls in 0..40 {
            let mut step = Box::pin(store.apply(&acme, Guard::default(), &changes));
            let mut done = None;
            for _ in 0..polls {
                done = poll_once(step.as_mut()).await;
                if done.is_some() {
                    break;
                }
            }
            drop(step);
            let found = store.tenant(&acme).await.unwrap().unwrap();
            assert_eq!(found.paused, found.tokens.is_some(), "after {polls} polls");
            assert!(done.is_none() || found.paused);
            let undo = [Change::Paused(false), Change::Tokens(None)];
            store.apply(&acme, Guard::default(), &undo).await.unwrap();
        }
    }
}

/// Polls a future once, and lets others run a little.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await;
    tokio::time::sleep(Duration::from_micros(200)).await;
    match polled {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
