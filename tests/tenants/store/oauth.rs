//! Pending authorisations.

use super::harness::{add, both, id};
use dogsled::store::{Park, Pending, StoreError, Taken};
use dogsled::types::{Secret, TenantId, UnixMillis};

fn pending(tenant: &TenantId) -> Pending {
    Pending {
        tenant: tenant.clone(),
        verifier: Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        domain: "datadoghq.eu".into(),
        site: "https://acme.datadoghq.eu".into(),
        session: None,
        answer: None,
    }
}

both! {
    async fn a_parked_answer_is_returned_once_for_its_ticket(place: Place) {
        let (store, now) = (place.open().await, UnixMillis::now());
        let acme = add(&store, "acme").await;
        let bound = Pending { session: Some([7; 32]), ..pending(&acme) };
        store.add_pending("bound", &bound, UnixMillis(now.0 + 60_000)).await.unwrap();
        let answer = Secret::new("code=c&state=bound");
        let park = || Some(Park { ticket: "ticket-1", answer: &answer });
        assert_eq!(store.take_ticket("ticket-1", now).await.unwrap(), Taken::Unknown);
        assert_eq!(store.take_or_park("bound", now, park()).await.unwrap(), Taken::Unconfirmed(acme.clone()));
        assert_eq!(store.take_pending("bound", now).await.unwrap(), Taken::Used(acme.clone()));
        assert_eq!(store.take_or_park("bound", now, park()).await.unwrap(), Taken::Used(acme.clone()));
        store.rekey(None).await.unwrap();
        let late = UnixMillis(now.0 + 60_000);
        assert_eq!(store.take_ticket("ticket-1", late).await.unwrap(), Taken::Expired(acme.clone()));
        let parked = Pending { answer: Some(answer.clone()), ..bound };
        assert_eq!(place.open().await.take_ticket("ticket-1", now).await.unwrap(), Taken::Fresh(parked));
        assert_eq!(store.take_ticket("ticket-1", now).await.unwrap(), Taken::Used(acme.clone()));
        // One without a session is not parked: there is nobody to confirm it.
        store.add_pending("unbound", &pending(&acme), UnixMillis(now.0 + 60_000)).await.unwrap();
        let unbound = Some(Park { ticket: "ticket-2", answer: &answer });
        assert_eq!(store.take_or_park("unbound", now, unbound).await.unwrap(), Taken::Fresh(pending(&acme)));
    }

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

    async fn a_late_state_differs_from_an_invented_one(place: Place) {
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
