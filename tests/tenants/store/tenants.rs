//! Tenants and what is changed of them.

use super::harness::{add, both, id, tokens};
use dogsled::store::{Change, Connection, Guard, NewKey, NewTenant, Organisation, Origin, Replaces, StoreError};
use dogsled::types::{Secret, UnixMillis};

fn organisation(id: &str) -> Organisation {
    Organisation { id: id.into(), name: Some(format!("The {id}s")) }
}

fn key(text: &str) -> NewKey {
    NewKey { key: Secret::new(text), datadog_id: Some("6f1c".into()), origin: Origin::OAuth }
}

both! {
    async fn a_tenant_survives_reopening(place: Place) {
        let store = place.open().await;
        let acme = add(&store, "acme").await;
        let overrides = serde_json::json!({ "items_per_second": 5, "ümläut": ["\"'; DROP TABLE dogsled_tenants; --"] });
        let connection =
            Connection::Unauthorized { reason: "key refused".into(), instructions: "revoke it;\nconnect again".into() };
        let changes = [
            Change::DisplayName("Acme 'Inc' \u{1F6F7}".into()),
            Change::Site("datadoghq.eu".into()),
            Change::Paused(true),
            Change::Connection(connection.clone()),
            Change::Organisation(Some(organisation("org-1"))),
            Change::HeldFor(Some(Organisation { id: "org-0".into(), name: None })),
            Change::DroppedBefore(UnixMillis(1_700_000_000_000)),
            Change::Overrides(overrides.as_object().unwrap().clone()),
            Change::Key(Some(key("0123456789abcdef0123456789abcdef"))),
            Change::Tokens(Some(tokens("access-1", "refresh-1", Replaces::Any))),
            Change::KeyCreation(true),
        ];
        let changed = store.apply(&acme, Guard::default(), &changes).await.unwrap();
        drop(store);

        let store = place.open().await;
        let found = store.tenant(&acme).await.unwrap().unwrap();
        assert_eq!(found, changed);
        assert_eq!(store.tenants().await.unwrap(), std::slice::from_ref(&found));
        assert_eq!(found.display_name, "Acme 'Inc' \u{1F6F7}");
        assert_eq!(found.site, "datadoghq.eu");
        assert!(found.paused);
        assert_eq!(found.connection, connection);
        assert_eq!(found.organisation, Some(organisation("org-1")));
        assert_eq!(found.held_for.unwrap().name, None);
        assert_eq!(found.dropped_before, Some(UnixMillis(1_700_000_000_000)));
        assert_eq!(serde_json::Value::Object(found.overrides), overrides);
        assert!(found.key_creation_begun.unwrap() >= found.created && found.updated >= found.created);
        let api_key = store.api_key(&acme).await.unwrap().unwrap();
        assert_eq!(api_key.key.expose(), "0123456789abcdef0123456789abcdef");
        assert_eq!((Some(api_key.info.clone()), api_key.info.origin), (found.key, Origin::OAuth));
        let kept = store.tokens(&acme).await.unwrap().unwrap();
        assert_eq!((kept.access.expose(), kept.refresh.expose()), ("access-1", "refresh-1"));
        assert_eq!(Some(kept.info), found.tokens);
        let all = store.api_keys().await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].1.as_ref().unwrap(), &api_key);
    }

    async fn a_failed_change_leaves_nothing(place: Place) {
        let store = place.open().await;
        let (acme, beta) = (add(&store, "acme").await, add(&store, "beta").await);
        let connect = [Change::Organisation(Some(organisation("org-1"))), Change::Key(Some(key("first")))];
        store.apply(&acme, Guard::default(), &connect).await.unwrap();
        let before = store.tenant(&beta).await.unwrap();
        let since = store.changes_since(Default::default()).await.unwrap().revision;

        let changes = [
            Change::Paused(true),
            Change::Tokens(Some(tokens("a", "r", Replaces::Any))),
            Change::Key(Some(key("second"))),
            Change::Organisation(Some(organisation("org-1"))),
            Change::DisplayName("never".into()),
        ];
        let error = store.apply(&beta, Guard::default(), &changes).await.unwrap_err();
        assert!(matches!(&error, StoreError::OrganisationHeld { by, .. } if *by == acme), "{error}");
        assert!(error.to_string().contains("disconnect acme first"), "{error}");
        assert_eq!(store.tenant(&beta).await.unwrap(), before);
        assert!(store.api_key(&beta).await.unwrap().is_none() && store.tokens(&beta).await.unwrap().is_none());
        assert!(store.changes_since(since).await.unwrap().tenants.is_empty());

        let new = NewTenant { id: id("gamma"), site: "datadoghq.com".into() };
        store.add_tenant(&new, &changes).await.unwrap_err();
        assert_eq!(store.tenant(&new.id).await.unwrap(), None);
    }

    async fn a_removed_tenant_frees_its_organisation(place: Place) {
        let store = place.open().await;
        let (acme, beta, gamma) = (add(&store, "acme").await, add(&store, "beta").await, add(&store, "gamma").await);
        let take = [Change::Organisation(Some(organisation("org-1")))];
        store.apply(&acme, Guard::default(), &take).await.unwrap();
        store.apply(&acme, Guard::default(), &take).await.unwrap();
        store.apply(&acme, Guard::default(), &[Change::Organisation(None)]).await.unwrap();
        store.apply(&beta, Guard::default(), &take).await.unwrap();
        store.apply(&acme, Guard::default(), &take).await.unwrap_err();
        assert!(store.remove_tenant(&beta).await.unwrap());
        store.apply(&gamma, Guard::default(), &take).await.unwrap();
    }

    async fn a_removed_tenant_leaves_nothing(place: Place) {
        let store = place.open().await;
        let acme = add(&store, "acme").await;
        let again = NewTenant { id: acme.clone(), site: "us5.datadoghq.com".into() };
        let error = store.add_tenant(&again, &[]).await.unwrap_err();
        assert!(matches!(error, StoreError::TenantExists(_)), "{error}");
        assert_eq!(store.tenant(&acme).await.unwrap().unwrap().site, "datadoghq.com");

        let changes = [Change::Key(Some(key("k"))), Change::Tokens(Some(tokens("a", "r", Replaces::Any)))];
        let first = store.apply(&acme, Guard::default(), &changes).await.unwrap().tokens.unwrap();
        let (token, _) = store.create_ingest_token(&acme, "agent").await.unwrap();
        assert!(store.remove_tenant(&acme).await.unwrap());
        assert!(!store.remove_tenant(&acme).await.unwrap());
        let error = store.apply(&acme, Guard::default(), &[]).await.unwrap_err();
        assert!(matches!(error, StoreError::UnknownTenant(_)), "{error}");

        store.add_tenant(&again, &[]).await.unwrap();
        assert!(store.api_key(&acme).await.unwrap().is_none() && store.tokens(&acme).await.unwrap().is_none());
        assert!(store.ingest_tokens(None).await.unwrap().is_empty());
        store.add_ingest_token(&acme, &token, "").await.unwrap();
        let second = store.apply(&acme, Guard::default(), &changes).await.unwrap().tokens.unwrap();
        assert!(second.generation > first.generation, "a generation never comes back");
    }

    async fn a_stale_change_is_refused(place: Place) {
        let store = place.open().await;
        let acme = add(&store, "acme").await;
        let seen = store.tenant(&acme).await.unwrap().unwrap().revision;
        store.apply(&acme, Guard::default(), &[Change::Paused(true)]).await.unwrap();
        let guard = Guard { revision: Some(seen), lease: None };
        let error = store.apply(&acme, guard, &[Change::Paused(false)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Stale { .. }), "{error}");
        let found = store.tenant(&acme).await.unwrap().unwrap();
        assert!(found.paused);
        let guard = Guard { revision: Some(found.revision), lease: None };
        assert!(!store.apply(&acme, guard, &[Change::Paused(false)]).await.unwrap().paused);
    }

    async fn one_of_two_refreshes_is_stored(place: Place) {
        let (here, there) = (place.open().await, place.open().await);
        let acme = add(&here, "acme").await;
        let grant = [Change::Tokens(Some(tokens("a0", "r0", Replaces::Any)))];
        let generation = here.apply(&acme, Guard::default(), &grant).await.unwrap().tokens.unwrap().generation;
        let refresh = |n: &str| [Change::Tokens(Some(tokens(&format!("a{n}"), &format!("r{n}"), Replaces::Generation(generation))))];
        let (first, second) = (refresh("1"), refresh("2"));
        let (one, other) =
            tokio::join!(here.apply(&acme, Guard::default(), &first), there.apply(&acme, Guard::default(), &second));
        assert_ne!(one.is_ok(), other.is_ok());
        let winner = if one.is_ok() { "r1" } else { "r2" };
        assert_eq!(here.tokens(&acme).await.unwrap().unwrap().refresh.expose(), winner);
        // Forgotten tokens are not brought back by a refresh that comes late either.
        here.apply(&acme, Guard::default(), &[Change::Tokens(None)]).await.unwrap();
        let error = there.apply(&acme, Guard::default(), &second).await.unwrap_err();
        assert!(matches!(error, StoreError::Stale { .. }), "{error}");
    }

    async fn an_ingest_token_belongs_to_one_tenant(place: Place) {
        let store = place.open().await;
        let (acme, beta) = (add(&store, "acme").await, add(&store, "beta").await);
        let (token, kept) = store.create_ingest_token(&acme, "agent").await.unwrap();
        assert_eq!(token.expose().len(), 32);
        assert!(token.expose().ends_with(&kept.last4) && kept.last4.len() == 4 && kept.label == "agent");
        let upper = Secret::new(token.expose().to_uppercase());
        let error = store.add_ingest_token(&beta, &upper, "").await.unwrap_err();
        assert!(matches!(&error, StoreError::TokenTaken(by) if *by == acme), "{error}");
        assert!(!error.to_string().to_lowercase().contains(token.expose()));
        let (_, other) = store.create_ingest_token(&beta, "").await.unwrap();
        assert_eq!(store.ingest_tokens(Some(&acme)).await.unwrap(), std::slice::from_ref(&kept));
        assert_eq!(store.ingest_tokens(None).await.unwrap().len(), 2);
        assert!(!store.remove_ingest_token(&beta, &kept.id).await.unwrap(), "a token of another tenant");
        assert!(store.remove_ingest_token(&acme, &kept.id).await.unwrap());
        assert_eq!(store.ingest_tokens(None).await.unwrap(), [other]);
        let error = store.create_ingest_token(&id("nobody"), "").await.unwrap_err();
        assert!(matches!(error, StoreError::UnknownTenant(_)), "{error}");
    }
}
