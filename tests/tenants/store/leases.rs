//! Leases between hosts.

use super::harness::{Place, add, both, id, tokens};
use dogsled::store::{Change, Guard, Lease, Replaces, Store, StoreError};
use dogsled::types::TenantId;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(600);

/// Takes a lease as soon as it is free.
async fn lock_soon(store: &Store, tenant: &TenantId) -> Lease {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match store.lock(tenant, "refresh", LONG).await.unwrap() {
            Some(lease) => return lease,
            None => assert!(Instant::now() < deadline, "the lease never becomes free"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

both! {
    async fn a_lease_has_one_holder_until_released(place: Place) {
        let (here, there) = (place.open().await, place.open().await);
        let (acme, beta) = (id("acme"), id("beta"));
        let lease = here.lock(&acme, "refresh", LONG).await.unwrap().unwrap();
        assert!(there.lock(&acme, "refresh", LONG).await.unwrap().is_none());
        assert!(here.lock(&acme, "refresh", LONG).await.unwrap().is_none(), "not even the same host takes it twice");
        assert!(there.lock(&acme, "create-key", LONG).await.unwrap().is_some());
        assert!(there.lock(&beta, "refresh", LONG).await.unwrap().is_some());
        lease.release().await.unwrap();
        let lease = there.lock(&acme, "refresh", LONG).await.unwrap().unwrap();
        drop(lease);
        lock_soon(&here, &acme).await;
    }

    async fn concurrent_takers_yield_one_lease(place: Place) {
        let hosts = [place.open().await, place.open().await];
        let lock = |n: usize| {
            let host = hosts[n % 2].clone();
            tokio::spawn(async move { host.lock(&id("acme"), "refresh", LONG).await.unwrap() })
        };
        let all: Vec<_> = (0..12).map(lock).collect();
        let mut holders = Vec::new();
        for one in all {
            holders.extend(one.await.unwrap());
        }
        assert_eq!(holders.len(), 1);
    }

    async fn a_lost_lease_stores_nothing(place: Place) {
        let (slow, quick) = (place.open().await, place.open().await);
        let acme = add(&slow, "acme").await;
        let old = slow.lock(&acme, "refresh", Duration::from_millis(20)).await.unwrap().unwrap();
        let new = lock_soon(&quick, &acme).await;
        assert!(new.fencing() > old.fencing());
        let store = |name: &str| [Change::Tokens(Some(tokens(name, name, Replaces::Any)))];
        quick.apply(&acme, Guard { lease: Some(&new), revision: None }, &store("new")).await.unwrap();
        let error = slow.apply(&acme, Guard { lease: Some(&old), revision: None }, &store("old")).await.unwrap_err();
        assert!(matches!(error, StoreError::LeaseLost { .. }), "{error}");
        assert!(old.renew(LONG).await.is_err());
        assert_eq!(quick.tokens(&acme).await.unwrap().unwrap().refresh.expose(), "new");
        // Giving back what was lost takes nothing from the new holder.
        old.release().await.unwrap();
        new.renew(LONG).await.unwrap();
        assert!(slow.lock(&acme, "refresh", LONG).await.unwrap().is_none());
    }

    async fn an_expired_lease_holds_until_taken(place: Place) {
        let store = place.open().await;
        let acme = add(&store, "acme").await;
        let lease = store.lock(&acme, "refresh", Duration::ZERO).await.unwrap().unwrap();
        let changes = [Change::Tokens(Some(tokens("a", "r", Replaces::Any)))];
        store.apply(&acme, Guard { lease: Some(&lease), revision: None }, &changes).await.unwrap();
        lease.renew(LONG).await.unwrap();
        assert!(store.lock(&acme, "refresh", LONG).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_lease_is_released_when_the_store_returns() {
    let place = Place::sqlite();
    let store = place.open().await;
    let acme = add(&store, "acme").await;
    let lease = store.lock(&acme, "refresh", Duration::from_secs(3_600)).await.unwrap().unwrap();
    let other = rusqlite::Connection::open(place.dir.path().join("tenants.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(lease.release().await.unwrap_err().is_transient());
    other.execute_batch("ROLLBACK").unwrap();
    lock_soon(&store, &acme).await;
}
