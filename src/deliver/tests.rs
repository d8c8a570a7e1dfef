//! Deliveries on paused time, with a Datadog that answers what, and when, it is told to.

use super::{Answer, Delivery, Destination, Soon, Transport, Validity};
use crate::journal::{Fsync, Options, SimDisk};
use crate::ledger::{Balance, DropReason, Ledger};
use crate::payload::Payload;
use crate::queue::Queues;
use crate::settings::Settings;
use crate::simulation::committer;
use crate::simulation::machine::{Simulated, now};
use crate::tenancy::{Access, Hold, Recipients, Registry, Tenant};
use crate::types::{Chunk, Generation, Kind, Secret, TenantId, UnixMillis};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Notes the key and the body of each request that begins.
#[derive(Debug, Clone)]
struct Scripted {
    begun: Arc<Mutex<Vec<(String, String)>>>,
    /// So many requests may be answered.
    answers: Arc<Semaphore>,
    /// With these statuses, and 202 after them.
    statuses: Arc<Mutex<VecDeque<u16>>>,
    validity: Arc<Mutex<Validity>>,
}

impl Scripted {
    fn new() -> Self {
        let validity = Arc::new(Mutex::new(Validity::Valid));
        Self { begun: Arc::default(), answers: Arc::new(Semaphore::new(0)), statuses: Arc::default(), validity }
    }

    /// The keys.
    fn begun(&self) -> Vec<String> {
        self.begun.lock().unwrap().iter().map(|(key, _)| key.clone()).collect()
    }

    /// The bodies.
    fn bodies(&self) -> Vec<String> {
        self.begun.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }
}

impl Transport for Scripted {
    fn submit<'a>(&'a self, to: &'a Destination, payload: &'a Payload) -> Soon<'a, Result<Answer, String>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.begun.lock().unwrap().push((text(to.key()), text(&payload.unpack().unwrap())));
        Box::pin(async {
            self.answers.acquire().await.unwrap().forget();
            let status = self.statuses.lock().unwrap().pop_front().unwrap_or(202);
            Ok(Answer { status, ..Answer::default() })
        })
    }

    fn validate<'a>(&'a self, _: &'a Destination) -> Soon<'a, Validity> {
        Box::pin(async { self.validity.lock().unwrap().clone() })
    }
}

/// A delivery, and two tenants whose keys are their names.
struct Scene {
    datadog: Scripted,
    delivery: Arc<Delivery>,
    queues: Arc<Queues>,
    registry: Arc<Registry>,
    ledger: Arc<Ledger>,
    _dir: tempfile::TempDir,
    _machine: Simulated,
}

impl Scene {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let machine = Simulated::begin(1);
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.state.dir = dir.path().into();
        settings.batch.max_age = Duration::from_millis(10);
        settings.delivery.retry_max = Duration::from_secs(1);
        change(&mut settings);
        let options = Options { fsync: Fsync::Never, ..Options::new("/simulated") };
        let (journal, ..) = committer::open(&options, SimDisk::new(1), 1);
        let (ledger, simulated) = (Arc::new(Ledger::default()), Simulated::machine());
        simulated.learn_time(now());
        let queues = Arc::new(Queues::new(&simulated, &settings, ledger.clone(), Arc::new(journal)));
        let (registry, datadog) = (Arc::new(Registry::default()), Scripted::new());
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
        Self { datadog, delivery, queues, registry, ledger, _dir: dir, _machine: machine }
    }

    /// There is one permit: the first tenant has it, and the second one waits for it.
    async fn of_one_permit() -> Self {
        let scene = Self::new(|settings| settings.delivery.concurrency = 1);
        for name in ["first", "second"] {
            scene.accept(name, Kind::Logs, "{}", Duration::ZERO).await;
        }
        let taken: u64 = scene.delivery.figures(&scene.second().id).iter().map(|lane| lane.items).sum();
        assert_eq!((scene.datadog.begun(), taken), (vec!["first".to_owned()], 1));
        scene
    }

    /// Takes an item of that age, and lets a second pass.
    async fn accept(&self, tenant: &str, kind: Kind, item: &str, age: Duration) {
        self.submit(tenant, kind, item, age).await;
        sleep(Duration::from_secs(1)).await;
    }

    async fn submit(&self, tenant: &str, kind: Kind, item: &str, age: Duration) {
        self.queues.submit(vec![chunk(tenant, kind, item, age, now())]).await.unwrap();
    }

    fn second(&self) -> Arc<Tenant> {
        self.registry.get("second").unwrap()
    }

    /// What has begun after the permit was given back.
    async fn after_the_answer(&self) -> Vec<String> {
        self.datadog.answers.add_permits(1);
        sleep(Duration::from_secs(1)).await;
        self.datadog.begun().split_off(1)
    }

    /// All tenants' figures together.
    fn balance(&self) -> Balance {
        self.ledger.read().iter().fold(Balance::default(), |mut all, (.., balance)| {
            all.add(balance);
            all
        })
    }
}

fn chunk(tenant: &str, kind: Kind, item: &str, age: Duration, accepted: UnixMillis) -> Chunk {
    let (tenant, bytes) = (TenantId::new(tenant).unwrap(), item.to_owned().into());
    let items = 1 + item.matches("},{").count() as u32;
    let generation = Generation::UNKNOWN;
    Chunk { tenant, kind, generation, items, oldest: accepted.minus(age), accepted, bytes, follow: None }
}

fn key(name: &str) -> Access {
    Access::Key(Secret::new(name.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_free_permit_sends_what_waits_for_it() {
    let scene = Scene::of_one_permit().await;
    assert_eq!(scene.after_the_answer().await, ["second"]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_stops_what_has_not_begun() {
    let scene = Scene::of_one_permit().await;
    scene.second().set_terms(key("second"), Hold { paused: true, ..Hold::default() });
    assert!(scene.after_the_answer().await.is_empty());
    scene.second().set_terms(key("second"), Hold::default());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.datadog.begun(), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn items_of_another_organisation_do_not_begin() {
    let scene = Scene::of_one_permit().await;
    let recipients = Recipients { present: Generation(1), others: Vec::new() };
    let held = Hold { recipients, ..Hold::default() };
    scene.second().set_terms(key("another"), held.clone());
    assert!(scene.after_the_answer().await.is_empty());
    let released = Some(UnixMillis(now().0 + 1));
    scene.second().set_terms(key("another"), Hold { released, ..held });
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.datadog.begun(), ["first", "another"]);
}

#[tokio::test(start_paused = true)]
async fn held_items_do_not_hold_up_later_ones() {
    let scene = Scene::of_one_permit().await;
    let recipients = Recipients { present: Generation(1), others: Vec::new() };
    scene.second().set_terms(key("another"), Hold { recipients, ..Hold::default() });
    let fresh = chunk("second", Kind::Logs, r#"{"fresh":1}"#, Duration::ZERO, now());
    scene.queues.submit(vec![Chunk { generation: Generation(1), ..fresh }]).await.unwrap();
    assert_eq!(scene.after_the_answer().await, ["another"]);
    assert_eq!(scene.datadog.bodies().last().unwrap(), r#"[{"fresh":1}]"#);
}

#[tokio::test(start_paused = true)]
async fn a_removed_key_sends_nothing() {
    let scene = Scene::of_one_permit().await;
    scene.second().set_terms(Access::Refused, Hold::default());
    assert!(scene.after_the_answer().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn waiting_payloads_use_the_new_key() {
    let scene = Scene::of_one_permit().await;
    scene.second().set_terms(key("new"), Hold::default());
    assert_eq!(scene.after_the_answer().await, ["new"]);
}

#[tokio::test(start_paused = true)]
async fn a_removed_tenant_sends_nothing() {
    let scene = Scene::of_one_permit().await;
    scene.registry.remove(&scene.second().id);
    assert!(scene.after_the_answer().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn purged_items_do_not_begin() {
    let scene = Scene::of_one_permit().await;
    scene.delivery.purge(&scene.second().id, now(), None).await.unwrap();
    assert!(scene.after_the_answer().await.is_empty());
    assert_eq!(scene.balance().dropped[DropReason::Purged as usize], 1);
}

/// It may have been on its way into the queue.
#[tokio::test(start_paused = true)]
async fn a_purge_spares_newer_items() {
    let scene = Scene::new(|settings| settings.batch.max_age = Duration::from_secs(1));
    scene.datadog.answers.add_permits(1000);
    scene.accept("first", Kind::Logs, r#"{"n":1}"#, Duration::ZERO).await;
    sleep(Duration::from_secs(1)).await;
    let before = now();
    assert_eq!(scene.delivery.purge(&TenantId::new("first").unwrap(), before, None).await.unwrap(), 0);
    let chunk = |item: &str, accepted| chunk("first", Kind::Logs, item, Duration::ZERO, accepted);
    scene.queues.submit(vec![chunk(r#"{"n":2}"#, UnixMillis(before.0 - 1))]).await.unwrap();
    scene.queues.submit(vec![chunk(r#"{"n":3}"#, before)]).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(scene.datadog.bodies(), [r#"[{"n":1}]"#, r#"[{"n":3}]"#]);
    let balance = scene.balance();
    assert_eq!((balance.queued, balance.dropped[DropReason::Purged as usize]), (0, 1));
    scene.queues.journal().flush().await;
    assert_eq!(scene.queues.journal().figures().records, 0);
}

/// The endpoint has failed, so that the item that has become too old would be its probe.
#[tokio::test(start_paused = true)]
async fn an_expired_probe_gives_way_to_the_next() {
    let scene = Scene::new(|settings| settings.delivery.drop_late = true);
    scene.datadog.answers.add_permits(1000);
    scene.datadog.statuses.lock().unwrap().extend([503; 1000]);
    let kind = Kind::SeriesV2Json;
    let series = |age: Duration| {
        let at = now().minus(age).0 / 1000;
        format!(r#"{{"metric":"m","points":[{{"timestamp":{at},"value":1}}]}}"#)
    };
    let age = kind.max_age() - Duration::from_secs(10);
    scene.accept("first", kind, &series(age), age).await;
    scene.accept("first", kind, &series(Duration::ZERO), Duration::ZERO).await;
    assert!(scene.datadog.begun().len() > 1, "it is tried again and again");
    sleep(Duration::from_secs(20)).await;
    let dropped = scene.balance().dropped[DropReason::Expired as usize];
    assert_eq!((dropped, scene.balance().queued), (1, 1));
    scene.datadog.statuses.lock().unwrap().clear();
    sleep(Duration::from_secs(2)).await;
    assert_eq!((scene.balance().delivered, scene.balance().queued), (1, 0));
}

/// Each refusal of an event may be a mistake once, the one whatever became of the other.
#[tokio::test(start_paused = true)]
async fn an_event_refused_in_two_ways_is_kept() {
    for (statuses, validity) in [([400, 403], Validity::Invalid("403".into())), ([403, 400], Validity::Valid)] {
        let scene = Scene::new(|_| ());
        scene.datadog.answers.add_permits(1000);
        scene.datadog.statuses.lock().unwrap().extend(statuses);
        scene.accept("first", Kind::EventV2, "{}", Duration::ZERO).await;
        *scene.datadog.validity.lock().unwrap() = validity;
        sleep(Duration::from_secs(10)).await;
        *scene.datadog.validity.lock().unwrap() = Validity::Valid;
        sleep(Duration::from_secs(10)).await;
        let balance = scene.balance();
        assert_eq!((scene.datadog.begun().len(), balance.delivered, balance.dead_lettered), (3, 1, 0), "{statuses:?}");
    }
}

/// What says that it is old has to be looked at before it is sent.
#[tokio::test(start_paused = true)]
async fn payloads_checked_for_age_keep_their_order() {
    for drop_late in [false, true] {
        let scene = Scene::new(|settings| settings.delivery.drop_late = drop_late);
        scene.datadog.answers.add_permits(1000);
        for number in 0..100 {
            let (now, hour) = (now(), Duration::from_secs(3600));
            let item = match number % 2 {
                0 => {
                    let late = format!(r#"{{"n":-1,"timestamp":{}}}"#, now.minus(hour * 19).0);
                    format!(r#"{late},{{"n":{number},"timestamp":{}}}"#, now.0)
                }
                _ => format!(r#"{{"n":{number}}}"#),
            };
            scene.submit("first", Kind::Logs, &item, if number % 2 == 0 { hour * 19 } else { Duration::ZERO }).await;
            sleep(Duration::from_millis(15)).await;
        }
        sleep(Duration::from_secs(1)).await;
        let bodies = scene.datadog.bodies().concat();
        let numbers: Vec<i64> = bodies
            .split("\"n\":")
            .skip(1)
            .map(|rest| rest.split([',', '}']).next().unwrap().parse().unwrap())
            .filter(|number| *number >= 0)
            .collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        assert_eq!(bodies.contains("-1"), !drop_late);
    }
}
