//! What waits for a permit when the operator changes their mind: on paused time, with a Datadog that answers when told.

use super::{Answer, Delivery, Destination, Soon, Transport, Validity};
use crate::journal::{Fsync, Journal, Options, SimDisk};
use crate::ledger::{DropReason, Ledger};
use crate::payload::Payload;
use crate::queue::Queues;
use crate::settings::Settings;
use crate::simulation::host::Simulated;
use crate::tenancy::{Access, Hold, Registry, Tenant};
use crate::types::{Chunk, Kind, Secret, TenantId, UnixMillis};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Notes the key of each request that begins, and answers one request each time it is told to.
#[derive(Debug, Default, Clone)]
struct Slow {
    begun: Arc<Mutex<Vec<String>>>,
    answer: Arc<Notify>,
}

impl Slow {
    fn begun(&self) -> Vec<String> {
        self.begun.lock().unwrap().clone()
    }
}

impl Transport for Slow {
    fn submit<'a>(&'a self, to: &'a Destination, _: &'a Payload) -> Soon<'a, Result<Answer, String>> {
        self.begun.lock().unwrap().push(String::from_utf8_lossy(to.key()).into_owned());
        Box::pin(async {
            self.answer.notified().await;
            Ok(Answer { status: 202, ..Answer::default() })
        })
    }

    fn validate<'a>(&'a self, _: &'a Destination) -> Soon<'a, Validity> {
        Box::pin(async { Validity::Valid })
    }
}

/// A delivery with one permit, and two tenants.
struct Scene {
    datadog: Slow,
    delivery: Arc<Delivery>,
    queues: Arc<Queues>,
    registry: Arc<Registry>,
    ledger: Arc<Ledger>,
    _host: Simulated,
}

impl Scene {
    /// `first` has the permit, and `second` waits for it.
    async fn new() -> Self {
        let host = Simulated::begin(1);
        let mut settings = Settings::default();
        settings.delivery.concurrency = 1;
        settings.batch.max_age = Duration::from_millis(10);
        let options = Options { fsync: Fsync::Never, ..Options::new("/simulated") };
        let (journal, _) = Journal::open_simulated(&options, SimDisk::new(1), 1);
        let ledger = Arc::new(Ledger::default());
        let queues = Arc::new(Queues::new(&settings, ledger.clone(), Arc::new(journal)));
        let (registry, datadog) = (Arc::new(Registry::default()), Slow::default());
        let site = settings.datadog.sites.get("datadoghq.com").unwrap();
        for name in ["first", "second"] {
            let key = Some(Secret::new(name.to_owned()));
            registry.insert(Arc::new(Tenant::new(TenantId::new(name).unwrap(), site.clone(), key)));
        }
        let transport = Box::new(datadog.clone());
        let delivery = Arc::new(Delivery::new(&settings, transport, queues.clone(), registry.clone(), ledger.clone()));
        tokio::spawn({
            let delivery = delivery.clone();
            async move { delivery.run().await }
        });
        let scene = Self { datadog, delivery, queues, registry, ledger, _host: host };
        for name in ["first", "second"] {
            scene.accept(name).await;
        }
        let taken: u64 = scene.delivery.figures(&scene.second().id).iter().map(|lane| lane.items).sum();
        assert_eq!((scene.datadog.begun(), taken), (vec!["first".to_owned()], 1));
        scene
    }

    async fn accept(&self, tenant: &str) {
        let now = UnixMillis::now();
        let chunk = Chunk {
            tenant: TenantId::new(tenant).unwrap(),
            kind: Kind::Logs,
            items: 1,
            oldest: now,
            accepted: now,
            bytes: "{}".into(),
            follow: None,
        };
        self.queues.submit(vec![chunk]).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }

    fn second(&self) -> Arc<Tenant> {
        self.registry.get("second").unwrap()
    }

    /// What has begun after the permit was given back.
    async fn after_the_answer(&self) -> Vec<String> {
        self.datadog.answer.notify_one();
        sleep(Duration::from_secs(1)).await;
        self.datadog.begun().split_off(1)
    }
}

fn key(name: &str) -> Access {
    Access::Key(Secret::new(name.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_permit_is_sent_when_there_is_one() {
    let scene = Scene::new().await;
    assert_eq!(scene.after_the_answer().await, ["second"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_after_a_pause_and_all_goes_on_after_it() {
    let scene = Scene::new().await;
    scene.second().set_terms(key("second"), Hold { paused: true, before: None });
    assert!(scene.after_the_answer().await.is_empty());
    scene.second().set_terms(key("second"), Hold::default());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.datadog.begun(), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_meant_for_another_organisation_does_not_begin() {
    let scene = Scene::new().await;
    let before = Some(UnixMillis::now());
    scene.second().set_terms(key("another"), Hold { paused: false, before });
    assert!(scene.after_the_answer().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_with_a_key_that_was_taken_away() {
    let scene = Scene::new().await;
    scene.second().set_terms(Access::Refused, Hold::default());
    assert!(scene.after_the_answer().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_waits_begins_with_the_key_that_is_new() {
    let scene = Scene::new().await;
    scene.second().set_terms(key("new"), Hold::default());
    assert_eq!(scene.after_the_answer().await, ["new"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_for_a_tenant_that_was_removed() {
    let scene = Scene::new().await;
    scene.registry.remove(&scene.second().id);
    assert!(scene.after_the_answer().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_purged_does_not_begin() {
    let scene = Scene::new().await;
    scene.delivery.purge(&scene.second().id, UnixMillis::now()).await.unwrap();
    assert!(scene.after_the_answer().await.is_empty());
    let purged: u64 = scene.ledger.read().iter().map(|(.., b)| b.dropped[DropReason::Purged as usize]).sum();
    assert_eq!(purged, 1);
}
