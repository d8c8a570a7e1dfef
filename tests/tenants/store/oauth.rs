//! Pending authorisations.

use super::harness::{add, both, id};
use dogsled::store::{Pending, StoreError, Taken};
use dogsled::types::{Secret, TenantId, UnixMillis};

fn pending(tenant: &TenantId) -> Pending {
    Pending {
        tenant: tenant.clone(),
        verifier: Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        domain: "datadoghq.eu".into(),
        site: "https://acme.datadoghq.eu".into(),
    }
}

both! {
    async fn a_state_is_good_once(place: Place) {
        let store = place.open().await;
        let acme = add(&store, "acme").await;
        store.add_pending("state-1", &pending(&acme), UnixMillis(i64::MAX)).await.unwrap();
        let now = UnixMillis::now();
        assert_eq!(store.take_pending("state-1", now).await.unwrap(), Taken::Fresh(pending(&acme)));
        assert_eq!(place.open().await.take_pending("state-1", now).await.unwrap(), Taken::Used(acme.clone()));
        assert_eq!(store.take_pending("state-2", now).await.unwrap(), Taken::Unknown);
        let error = store.add_pending("state-1", &pending(&acme), UnixMillis(i64::MAX)).await.unwrap_err();
        assert!(matches!(error, StoreError::Stale { .. }), "a used state does not become fresh: {error}");
    }

    async fn a_state_that_comes_back_late_is_told_from_one_that_was_made_up(place: Place) {
        let store = place.open().await;
        let acme = add(&store, "acme").await;
        let now = UnixMillis::now();
        store.add_pending("late", &pending(&acme), now).await.unwrap();
        assert_eq!(store.take_pending("late", now).await.unwrap(), Taken::Expired(acme.clone()));
        let long_past = UnixMillis(now.0 - 25 * 3_600_000);
        store.add_pending("past", &pending(&acme), long_past).await.unwrap();
        store.add_pending("next", &pending(&acme), UnixMillis(i64::MAX)).await.unwrap();
        assert_eq!(store.take_pending("past", now).await.unwrap(), Taken::Unknown, "it was cleared away");
        store.cancel_pending(&acme).await.unwrap();
        assert_eq!(store.take_pending("next", now).await.unwrap(), Taken::Unknown);
        let error = store.add_pending("none", &pending(&id("nobody")), now).await.unwrap_err();
        assert!(matches!(error, StoreError::UnknownTenant(_)), "{error}");
    }

    async fn of_many_callbacks_at_once_one_gets_it(place: Place) {
        let hosts = [place.open().await, place.open().await];
        let acme = add(&hosts[0], "acme").await;
        hosts[0].add_pending("state", &pending(&acme), UnixMillis(i64::MAX)).await.unwrap();
        let take = |n: usize| {
            let host = hosts[n % 2].clone();
            tokio::spawn(async move { host.take_pending("state", UnixMillis::now()).await.unwrap() })
        };
        let callbacks: Vec<_> = (0..12).map(take).collect();
        let mut fresh = 0;
        for callback in callbacks {
            match callback.await.unwrap() {
                Taken::Fresh(_) => fresh += 1,
                other => assert_eq!(other, Taken::Used(acme.clone())),
            }
        }
        assert_eq!(fresh, 1);
    }
}
