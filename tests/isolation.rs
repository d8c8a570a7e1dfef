//! One tenant's trouble costs others nothing: the time from acceptance to arrival of healthy tenants is measured with
//! and without sick ones beside them.
//!
//! In both runs all tenants send the same, so that what differs is the sickness and not the load.

// What clippy.toml forbids, tests may do.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod support;

use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use support::{Daemon, FakeIntake, Setup, now_ms};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long each run sends.
const LENGTH: Duration = Duration::from_secs(3);

/// The others begin so much earlier: what they can take, they have taken when the healthy ones come.
const HEAD_START: Duration = Duration::from_millis(500);

/// Each healthy tenant sends so often.
const EVERY: Duration = Duration::from_millis(50);

/// Logs in each request.
const LOGS: usize = 5;

/// Datadog takes this long for a request of a healthy tenant, so that requests overlap.
const ANSWER_MS: u64 = 10;

/// Times from the start of a request to the arrival of its items, of all healthy tenants.
#[derive(Debug)]
struct Times {
    median: i64,
    p95: i64,
}

impl Times {
    fn of(mut all: Vec<i64>) -> Self {
        all.sort_unstable();
        Self { median: all[all.len() / 2], p95: all[all.len() * 95 / 100] }
    }

    /// Whether these are as good as those without sick tenants. A healthy tenant that waits for a sick one waits for
    /// seconds, so the tolerance need not be small.
    fn as_good_as(&self, without: &Self) -> bool {
        self.median <= without.median + 50 && self.p95 <= without.p95 + 250
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

/// Sends for one tenant until the end; gives its name and the number of items accepted.
async fn send(daemon: Arc<Daemon>, tenant: String, every: Duration, end: Instant) -> (String, usize) {
    let mut turn = tokio::time::interval(every);
    let mut accepted = 0;
    while Instant::now() < end {
        turn.tick().await;
        let logs: Value = (0..LOGS).map(|_| json!({ "message": "m", "sent": now_ms() })).collect();
        let answer = daemon.try_post(&tenant, "/api/v2/logs", logs.to_string().into()).await;
        accepted += answer.filter(|answer| answer.status == 202).map_or(0, |_| LOGS);
    }
    (tenant, accepted)
}

/// Sends for all tenants, and measures the healthy ones. `sicken` makes the others sick.
async fn run(
    setup: impl Fn(&FakeIntake, &[&str]) -> Setup,
    healthy: &[String],
    others: &[String],
    sicken: impl AsyncFn(&FakeIntake),
) -> Times {
    let fakeintake = FakeIntake::start();
    let tenants: Vec<&str> = healthy.iter().chain(others).map(String::as_str).collect();
    let daemon = setup(&fakeintake, &tenants).start().await;
    sicken(&fakeintake).await;
    for tenant in healthy {
        fakeintake.fault(tenant, json!({ "effect": { "delay_ms": ANSWER_MS } })).await;
    }
    let daemon = Arc::new(daemon);
    let end = Instant::now() + LENGTH;
    let mut trouble: JoinSet<_> =
        others.iter().map(|tenant| send(daemon.clone(), tenant.clone(), EVERY * 2, end)).collect();
    tokio::time::sleep(HEAD_START).await;
    let measured: JoinSet<_> = healthy.iter().map(|tenant| send(daemon.clone(), tenant.clone(), EVERY, end)).collect();
    let mut times = Vec::new();
    for (tenant, accepted) in measured.join_all().await {
        assert!(accepted > 0);
        fakeintake.wait_items(&tenant, "logs", accepted).await;
        let items = fakeintake.items(&tenant, "logs").await;
        assert_eq!(items.len(), accepted, "{tenant}: none twice");
        times.extend(items.iter().map(|arrived| arrived.at_ms - arrived.item["sent"].as_i64().unwrap()));
    }
    trouble.shutdown().await;
    daemon.scrape().await.assert_balanced();
    Times::of(times)
}

/// Compares runs with and without sick tenants. The machine may have been busy with something else during one of them:
/// only what comes out three times is true.
async fn compare(setup: impl Fn(&FakeIntake, &[&str]) -> Setup, others: &[String], sicken: impl AsyncFn(&FakeIntake)) {
    let healthy = names("healthy", 20);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let without = run(&setup, &healthy, others, async |_| {}).await;
        let with = run(&setup, &healthy, others, &sicken).await;
        println!("without sick tenants {without:?}, with them {with:?}");
        if with.as_good_as(&without) {
            return;
        }
        seen.push((without, with));
    }
    panic!("sick tenants hold up healthy ones, in milliseconds (without, with): {seen:?}");
}

#[tokio::test]
async fn troubled_tenants_hold_up_nobody_else() {
    let sick = ["revoked", "throttled", "hanging", "reset"].map(str::to_owned);
    let setup =
        |fakeintake: &FakeIntake, tenants: &[&str]| Setup::new(fakeintake, tenants).set("delivery.timeout", "30s");
    compare(setup, &sick, async |fakeintake| {
        fakeintake.set_key("revoked", false).await;
        let throttled = json!({ "status": { "code": 429, "headers": { "retry-after": "1" } } });
        fakeintake.fault("throttled", json!({ "effect": throttled })).await;
        fakeintake.fault("hanging", json!({ "effect": { "hang": { "seconds": 30 } } })).await;
        fakeintake.fault("reset", json!({ "effect": { "close": {} } })).await;
    })
    .await;
}

#[tokio::test]
async fn forty_hanging_tenants_hold_up_nobody_else() {
    let sick = names("hanging", 40);
    let setup = |fakeintake: &FakeIntake, tenants: &[&str]| {
        Setup::new(fakeintake, tenants).set("delivery.timeout", "30s").set("delivery.concurrency", 64)
    };
    compare(setup, &sick, async |fakeintake| {
        for tenant in &sick {
            fakeintake.fault(tenant, json!({ "effect": { "hang": { "seconds": 30 } } })).await;
        }
    })
    .await;
}

/// Tenants that were healthy when their requests began to hang: they had as much under way as they could get.
#[tokio::test]
async fn tenants_hanging_under_load_leave_room() {
    let sick = names("hanging", 40);
    let setup = |fakeintake: &FakeIntake, tenants: &[&str]| {
        Setup::new(fakeintake, tenants).set("delivery.timeout", "30s").set("delivery.concurrency", 64)
    };
    compare(setup, &sick, async |fakeintake| {
        for tenant in &sick {
            fakeintake.fault(tenant, json!({ "skip": 2, "effect": { "hang": { "seconds": 30 } } })).await;
        }
    })
    .await;
}
