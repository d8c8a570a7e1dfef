//! Changes are seen by other hosts.

use super::harness::{Place, add, both, id};
use dogsled::store::{Change, Changes, Guard, Revision, Watch};
use std::slice;
use std::time::{Duration, Instant};

async fn next(watch: &mut Watch) -> Changes {
    tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("a change is seen").unwrap()
}

both! {
    async fn another_host_sees_every_change_once(place: Place) {
        let (here, there) = (place.open().await, place.open().await);
        let acme = add(&here, "acme").await;
        let mut watch = there.watch(Revision::default());
        assert_eq!(next(&mut watch).await.tenants, slice::from_ref(&acme));
        here.apply(&acme, Guard::default(), &[Change::Paused(true)]).await.unwrap();
        assert_eq!(next(&mut watch).await.tenants, slice::from_ref(&acme));
        let (_, token) = here.create_ingest_token(&acme, "").await.unwrap();
        assert_eq!(next(&mut watch).await.tenants, slice::from_ref(&acme));
        assert!(here.remove_ingest_token(&acme, &token.id).await.unwrap());
        assert_eq!(next(&mut watch).await.tenants, slice::from_ref(&acme));
        let beta = add(&here, "beta").await;
        assert_eq!(next(&mut watch).await.tenants, slice::from_ref(&beta));
        assert!(here.remove_tenant(&acme).await.unwrap());
        let seen = next(&mut watch).await;
        assert_eq!(seen.tenants, slice::from_ref(&acme));
        assert_eq!(watch.revision(), seen.revision);
        // A lease is nobody else's business.
        here.lock(&beta, "refresh", Duration::from_secs(9)).await.unwrap().unwrap().release().await.unwrap();
        let since = there.changes_since(seen.revision).await.unwrap();
        assert!(since.tenants.is_empty() && since.revision > seen.revision);
        assert_eq!(there.changes_since(Revision::default()).await.unwrap().tenants, [acme, beta]);
    }

    async fn changes_of_the_same_process_are_seen_immediately(place: Place) {
        let store = place.open().await;
        let mut watch = store.watch(Revision::default());
        add(&store, "acme").await;
        next(&mut watch).await;
        let waiting = tokio::spawn(async move { (watch.next().await, Instant::now()) });
        tokio::task::yield_now().await;
        add(&store, "beta").await;
        let done = Instant::now();
        let (seen, at) = waiting.await.unwrap();
        assert_eq!(seen.unwrap().tenants, [id("beta")]);
        assert!(at < done + Duration::from_millis(900), "before it would have been polled");
    }

    async fn a_restored_backup_makes_everything_change(place: Place) {
        let store = place.open().await;
        add(&store, "acme").await;
        let ahead = Revision(1_000_000);
        assert_eq!(store.changes_since(ahead).await.unwrap().tenants, [id("acme")]);
    }
}

#[tokio::test]
async fn unprocessed_changes_are_returned_again() {
    let place = Place::sqlite();
    let store = place.open().await;
    let mut watch = store.watch(Revision::default());
    let acme = add(&store, "acme").await;
    let first = next(&mut watch).await;
    watch.again();
    let beta = add(&store, "beta").await;
    let again = next(&mut watch).await;
    assert_eq!((first.tenants, again.tenants), (vec![acme.clone()], vec![acme, beta]));
}

#[tokio::test]
async fn a_watch_listens_again_after_its_connection_broke() {
    let Some(place) = Place::postgres().await else { return };
    let (here, there) = (place.open().await, place.open().await);
    let mut watch = there.watch(Revision::default());
    add(&here, "acme").await;
    next(&mut watch).await;
    place
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dogsled' AND datname = current_database()")
        .await;
    add(&here, "beta").await;
    assert_eq!(next(&mut watch).await.tenants, [id("beta")]);
    // By notification again, not only by polling.
    let client = crate::postgres::shared().unwrap().client(place.database.as_deref().unwrap()).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    while client.query_one(listening, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(Instant::now() < deadline, "nobody listens");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
