//! Any sequence of operations has the same results on both databases, and those of a plain model.

use super::harness::{Place, id, tokens};
use dogsled::store::{
    Change, Connection, Guard, NewKey, NewTenant, Organisation, Origin, Pending, Replaces, Revision, Store, StoreError,
    Taken,
};
use dogsled::types::{Secret, UnixMillis};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 3] = ["acme", "Beta", "c_d.e-f"];

#[derive(Debug, Clone)]
enum Operation {
    Add(usize),
    Remove(usize),
    Apply { tenant: usize, expect_fresh: bool, changes: Vec<Simple> },
    AddToken { tenant: usize, token: u8 },
    RemoveToken { tenant: usize, token: u8 },
    AddPending { tenant: usize, state: u8, expired: bool },
    TakePending(u8),
    CancelPending(usize),
    Rekey,
    Reopen,
}

#[derive(Debug, Clone)]
enum Simple {
    Name(String),
    Paused(bool),
    Unauthorized(String),
    Connected,
    Organisation(Option<u8>),
    Key(Option<u8>),
    Grant(u8),
    /// A refresh of the tokens that are there, or of older ones.
    Refresh {
        token: u8,
        of_present: bool,
    },
    Forget,
}

fn operation() -> impl Strategy<Value = Operation> {
    let tenant = 0..NAMES.len();
    let simple = prop_oneof![
        "\\PC{0,6}".prop_map(Simple::Name),
        any::<bool>().prop_map(Simple::Paused),
        "\\PC{0,6}".prop_map(Simple::Unauthorized),
        Just(Simple::Connected),
        proptest::option::of(0..2_u8).prop_map(Simple::Organisation),
        proptest::option::of(any::<u8>()).prop_map(Simple::Key),
        any::<u8>().prop_map(Simple::Grant),
        (any::<u8>(), any::<bool>()).prop_map(|(token, of_present)| Simple::Refresh { token, of_present }),
        Just(Simple::Forget),
    ];
    prop_oneof![
        3 => tenant.clone().prop_map(Operation::Add),
        1 => tenant.clone().prop_map(Operation::Remove),
        8 => (tenant.clone(), any::<bool>(), proptest::collection::vec(simple, 0..4))
            .prop_map(|(tenant, expect_fresh, changes)| Operation::Apply { tenant, expect_fresh, changes }),
        2 => (tenant.clone(), 0..4_u8).prop_map(|(tenant, token)| Operation::AddToken { tenant, token }),
        1 => (tenant.clone(), 0..4_u8).prop_map(|(tenant, token)| Operation::RemoveToken { tenant, token }),
        2 => (tenant.clone(), 0..3_u8, any::<bool>())
            .prop_map(|(tenant, state, expired)| Operation::AddPending { tenant, state, expired }),
        2 => (0..3_u8).prop_map(Operation::TakePending),
        1 => tenant.prop_map(Operation::CancelPending),
        1 => Just(Operation::Rekey),
        1 => Just(Operation::Reopen),
    ]
}

/// What a tenant should be.
#[derive(Debug, Clone, Default, PartialEq)]
struct Expected {
    name: String,
    paused: bool,
    connection: Connection,
    organisation: Option<u8>,
    key: Option<u8>,
    token: Option<u8>,
}

#[derive(Debug, Default)]
struct Model {
    tenants: BTreeMap<usize, Expected>,
    ingest: BTreeMap<u8, usize>,
    /// Tenant, whether it expired, whether it was taken.
    pending: BTreeMap<u8, (usize, bool, bool)>,
}

impl Model {
    /// The result of an operation, in a word.
    fn run(&mut self, operation: &Operation) -> &'static str {
        match operation {
            Operation::Add(tenant) if self.tenants.contains_key(tenant) => "exists",
            Operation::Add(tenant) => {
                self.tenants.insert(*tenant, Expected::default());
                "fine"
            }
            Operation::Remove(tenant) => {
                self.ingest.retain(|_, of| of != tenant);
                self.pending.retain(|_, (of, ..)| of != tenant);
                if self.tenants.remove(tenant).is_some() { "fine" } else { "absent" }
            }
            Operation::Apply { tenant, expect_fresh, changes } => {
                let Some(mut expected) = self.tenants.get(tenant).cloned() else { return "unknown" };
                if !expect_fresh {
                    return "stale";
                }
                for change in changes {
                    let held = |n: &u8| self.tenants.iter().any(|(of, it)| of != tenant && it.organisation == Some(*n));
                    match change {
                        Simple::Organisation(Some(n)) if held(n) => return "held",
                        Simple::Refresh { of_present, .. } if !of_present || expected.token.is_none() => return "stale",
                        Simple::Name(name) => expected.name = name.clone(),
                        Simple::Paused(paused) => expected.paused = *paused,
                        Simple::Unauthorized(reason) => {
                            let (reason, instructions) = (reason.clone(), "do".into());
                            expected.connection = Connection::Unauthorized { reason, instructions };
                        }
                        Simple::Connected => expected.connection = Connection::Connected,
                        Simple::Organisation(n) => expected.organisation = *n,
                        Simple::Key(key) => expected.key = *key,
                        Simple::Grant(token) | Simple::Refresh { token, .. } => expected.token = Some(*token),
                        Simple::Forget => expected.token = None,
                    }
                }
                self.tenants.insert(*tenant, expected);
                "fine"
            }
            Operation::AddToken { tenant, .. } | Operation::AddPending { tenant, .. }
                if !self.tenants.contains_key(tenant) =>
            {
                "unknown"
            }
            Operation::AddToken { token, .. } if self.ingest.contains_key(token) => "taken",
            Operation::AddToken { tenant, token } => {
                self.ingest.insert(*token, *tenant);
                "fine"
            }
            Operation::RemoveToken { tenant, token } => {
                let found = self.ingest.get(token) == Some(tenant);
                if found {
                    self.ingest.remove(token);
                }
                if found { "fine" } else { "absent" }
            }
            Operation::AddPending { state, .. } if self.pending.contains_key(state) => "stale",
            Operation::AddPending { tenant, state, expired } => {
                self.pending.insert(*state, (*tenant, *expired, false));
                "fine"
            }
            Operation::TakePending(state) => match self.pending.get_mut(state) {
                None => "unknown state",
                Some((_, _, true)) => "used",
                Some((_, true, _)) => "expired",
                Some((_, _, taken)) => {
                    *taken = true;
                    "fresh"
                }
            },
            Operation::CancelPending(tenant) => {
                self.pending.retain(|_, (of, ..)| of != tenant);
                "fine"
            }
            Operation::Rekey | Operation::Reopen => "fine",
        }
    }
}

fn key(n: u8) -> Secret {
    Secret::new(format!("key-{n}"))
}

fn ingest_token(n: u8) -> Secret {
    Secret::new(format!("{n:032x}"))
}

/// A token's id is the first half of its digest.
async fn token_id(store: &Store, token: u8) -> String {
    let all = store.ingest_tokens(None).await.unwrap();
    let last4 = format!("{token:04x}");
    all.into_iter().find(|kept| kept.last4 == last4).map_or_else(|| "none".into(), |kept| kept.id)
}

async fn run(place: &Place, store: &mut Store, operation: &Operation) -> Result<&'static str, StoreError> {
    match operation {
        Operation::Add(tenant) => {
            let new = NewTenant { id: id(NAMES[*tenant]), site: "datadoghq.com".into() };
            store.add_tenant(&new, &[]).await?;
        }
        Operation::Remove(tenant) => {
            if !store.remove_tenant(&id(NAMES[*tenant])).await? {
                return Ok("absent");
            }
        }
        Operation::Apply { tenant, expect_fresh, changes } => {
            let tenant = id(NAMES[*tenant]);
            let present = store.tenant(&tenant).await?;
            let generation = present.as_ref().and_then(|tenant| tenant.tokens.as_ref()).map(|info| info.generation);
            let revision = present.as_ref().map(|tenant| tenant.revision);
            // A refresh within the same step as a grant is of the tokens of that step.
            let mut granted = false;
            let mut list = Vec::new();
            for change in changes {
                list.push(match change {
                    Simple::Name(name) => Change::DisplayName(name.clone()),
                    Simple::Paused(paused) => Change::Paused(*paused),
                    Simple::Unauthorized(reason) => Change::Connection(Connection::Unauthorized {
                        reason: reason.clone(),
                        instructions: "do".into(),
                    }),
                    Simple::Connected => Change::Connection(Connection::Connected),
                    Simple::Organisation(n) => {
                        Change::Organisation(n.map(|n| Organisation { id: format!("org-{n}"), name: None }))
                    }
                    Simple::Key(n) => {
                        Change::Key(n.map(|n| NewKey { key: key(n), datadog_id: None, origin: Origin::Static }))
                    }
                    Simple::Grant(n) => {
                        granted = true;
                        Change::Tokens(Some(tokens(&format!("a{n}"), &format!("r{n}"), Replaces::Any)))
                    }
                    Simple::Refresh { token, of_present } => {
                        let replaces = match (of_present, granted, generation) {
                            (true, true, _) => Replaces::Any,
                            (true, false, Some(generation)) => Replaces::Generation(generation),
                            _ => Replaces::Generation(Revision(0)),
                        };
                        granted = true;
                        Change::Tokens(Some(tokens(&format!("a{token}"), &format!("r{token}"), replaces)))
                    }
                    Simple::Forget => {
                        granted = false;
                        Change::Tokens(None)
                    }
                });
            }
            let revision = if *expect_fresh { revision } else { Some(Revision(-1)) };
            store.apply(&tenant, Guard { lease: None, revision }, &list).await?;
        }
        Operation::AddToken { tenant, token } => {
            store.add_ingest_token(&id(NAMES[*tenant]), &ingest_token(*token), "").await?;
        }
        Operation::RemoveToken { tenant, token } => {
            let token = token_id(store, *token).await;
            if !store.remove_ingest_token(&id(NAMES[*tenant]), &token).await? {
                return Ok("absent");
            }
        }
        Operation::AddPending { tenant, state, expired } => {
            let tenant = id(NAMES[*tenant]);
            let verifier = Secret::new(format!("v{state}"));
            let pending =
                Pending { tenant, verifier, domain: "d".into(), site: "s".into(), session: None, answer: None };
            let expires = if *expired { UnixMillis::now() } else { UnixMillis(i64::MAX) };
            store.add_pending(&state.to_string(), &pending, expires).await?;
        }
        Operation::TakePending(state) => {
            return Ok(match store.take_pending(&state.to_string(), UnixMillis::now()).await? {
                Taken::Fresh(pending) => {
                    assert_eq!(pending.verifier.expose(), format!("v{state}"));
                    "fresh"
                }
                Taken::Used(_) | Taken::Unconfirmed(_) => "used",
                Taken::Expired(_) => "expired",
                Taken::Unknown => "unknown state",
            });
        }
        Operation::CancelPending(tenant) => store.cancel_pending(&id(NAMES[*tenant])).await?,
        Operation::Rekey => drop(store.rekey(None).await?),
        Operation::Reopen => *store = place.open().await,
    }
    Ok("fine")
}

fn word(result: Result<&'static str, StoreError>) -> &'static str {
    match result {
        Ok(word) => word,
        Err(StoreError::TenantExists(_)) => "exists",
        Err(StoreError::UnknownTenant(_)) => "unknown",
        Err(StoreError::Stale { .. }) => "stale",
        Err(StoreError::OrganisationHeld { .. }) => "held",
        Err(StoreError::TokenTaken(_)) => "taken",
        Err(other) => panic!("{other}"),
    }
}

async fn check(store: &Store, model: &Model) {
    let found = store.tenants().await.unwrap();
    let expected: BTreeSet<_> = model.tenants.keys().map(|n| NAMES[*n]).collect();
    assert_eq!(found.iter().map(|tenant| tenant.id.as_str()).collect::<BTreeSet<_>>(), expected);
    for (n, expected) in &model.tenants {
        let tenant = found.iter().find(|tenant| tenant.id.as_str() == NAMES[*n]).unwrap();
        let key = store.api_key(&tenant.id).await.unwrap();
        let tokens = store.tokens(&tenant.id).await.unwrap();
        let organisation = tenant.organisation.as_ref().map(|organisation| organisation.id.clone());
        assert_eq!(tenant.display_name, expected.name);
        assert_eq!((tenant.paused, &tenant.connection), (expected.paused, &expected.connection));
        assert_eq!(organisation, expected.organisation.map(|n| format!("org-{n}")));
        assert_eq!(key.as_ref().map(|key| key.key.clone()), expected.key.map(self::key));
        assert_eq!(key.map(|key| key.info), tenant.key);
        assert_eq!(tokens.as_ref().map(|t| t.refresh.expose().to_owned()), expected.token.map(|n| format!("r{n}")));
        assert_eq!(tokens.map(|tokens| tokens.info), tenant.tokens);
    }
    let all = store.ingest_tokens(None).await.unwrap();
    let found: BTreeMap<_, _> = all.into_iter().map(|kept| (kept.last4, kept.tenant)).collect();
    let expected = model.ingest.iter().map(|(token, tenant)| (format!("{token:04x}"), id(NAMES[*tenant])));
    assert_eq!(found, expected.collect());
}

#[test]
fn both_databases_agree_with_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let sequences = proptest::collection::vec(operation(), 1..30);
    runner
        .run(&sequences, |operations| {
            runtime.block_on(async {
                let places = [Some(Place::sqlite()), Place::postgres().await];
                for place in places.into_iter().flatten() {
                    let mut model = Model::default();
                    let mut store = place.open().await;
                    for operation in &operations {
                        let before = store.changes_since(Revision::default()).await.unwrap();
                        let expected = model.run(operation);
                        assert_eq!(word(run(&place, &mut store, operation).await), expected, "{operation:?}");
                        check(&store, &model).await;
                        let changed = store.changes_since(before.revision).await.unwrap();
                        assert!(expected == "fine" || expected == "fresh" || changed.tenants.is_empty());
                    }
                }
            });
            Ok(())
        })
        .unwrap();
}
