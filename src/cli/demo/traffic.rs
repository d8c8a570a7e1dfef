//! The tenants' applications: real HTTP to the daemon's local port and DogStatsD lines, each item with an identifier of its own.

use super::item_id::TAG;
use super::stage::{Stage, StageError, TENANTS};
use crate::cli::local;
use crate::types::{Kind, UnixMillis};
use serde_json::{Value, json};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often each application sends.
const BEAT: Duration = Duration::from_millis(50);

/// What the poison log says; the stand-in is told to refuse it.
pub(super) const POISON: &str = "poison";

/// What the applications share.
#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    poison: AtomicBool,
    sent: Mutex<Sent>,
}

/// What was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Identifiers of items that the daemon took, by tenant.
    pub(super) accepted: [Vec<String>; TENANTS.len()],
    /// The first request that it did not take, in words.
    pub(super) failure: Option<String>,
}

/// The applications, at work.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    applications: JoinSet<()>,
}

/// The application of one tenant.
struct Application {
    tenant: usize,
    url: String,
    /// What names the tenant: a header...
    header: Option<(&'static str, String)>,
    /// ...or a tag of every item.
    tag: Option<String>,
    http: reqwest::Client,
    /// Sends to the daemon's DogStatsD socket.
    statsd: Arc<UdpSocket>,
    shared: Arc<Shared>,
    serial: u64,
}

impl Traffic {
    /// Has every tenant's application send. Each names its tenant in another way, the second with its ingest token.
    pub(super) fn start(stage: &Stage, token: String) -> Result<Self, StageError> {
        let shared = Arc::new(Shared::default());
        let http = local::client(Duration::from_secs(10))?;
        let statsd = UdpSocket::bind("127.0.0.1:0").and_then(|socket| {
            socket.connect(&stage.dogstatsd)?;
            Ok(Arc::new(socket))
        });
        let statsd = statsd.map_err(StageError::Dogstatsd)?;
        let mut applications = JoinSet::new();
        for (tenant, name) in TENANTS.into_iter().enumerate() {
            let (header, tag) = match tenant {
                0 => (Some(("x-tenant", name.to_owned())), None),
                1 => (Some(("dd-api-key", token.clone())), None),
                _ => (None, Some(format!("tenant:{name}"))),
            };
            let (url, http, statsd, shared) = (stage.url.clone(), http.clone(), statsd.clone(), shared.clone());
            applications.spawn(Application { tenant, url, header, tag, http, statsd, shared, serial: 0 }.work());
        }
        Ok(Self { shared, applications })
    }

    /// Has the last tenant's application send the poison log once.
    pub(super) fn poison(&self) {
        self.shared.poison.store(true, Ordering::Relaxed);
    }

    /// Ends sending. Waits for requests in flight, so that it is known of every item whether it was accepted.
    pub(super) async fn stop(self) -> Sent {
        self.shared.over.store(true, Ordering::Relaxed);
        self.applications.join_all().await;
        std::mem::take(&mut *self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Application {
    async fn work(mut self) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for count in 0_u64.. {
            beat.tick().await;
            if self.shared.over.load(Ordering::Relaxed) {
                return;
            }
            self.send(Kind::Logs, 10).await;
            self.send(Kind::SeriesV2Json, 5).await;
            self.send(Kind::Distributions, 2).await;
            self.send_line();
            if count % 10 == 0 {
                self.send(Kind::EventV1, 1).await;
            }
            if count % 20 == 0 {
                self.send(Kind::CheckRun, 1).await;
            }
        }
    }

    /// One request with that many items.
    async fn send(&mut self, kind: Kind, items: u64) {
        let (mut ids, mut values) = (Vec::new(), Vec::new());
        for _ in 0..items {
            self.serial += 1;
            let id = format!("{}.{}.{}", TENANTS[self.tenant], kind.name(), self.serial);
            values.push(self.item(kind, &id));
            ids.push(id);
        }
        let body = match kind {
            Kind::SeriesV2Json | Kind::Distributions => json!({ "series": values }),
            Kind::EventV1 => values.remove(0),
            _ => Value::Array(values),
        };
        let url = format!("{}{}", self.url, kind.endpoint().path());
        let mut request = self.http.post(url).header("content-type", "application/json").body(body.to_string());
        if let Some((name, value)) = &self.header {
            request = request.header(*name, value);
        }
        let outcome = match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("{}: {}", answer.status(), answer.text().await.unwrap_or_default())),
            Err(error) => Err(local::words(error)),
        };
        let mut sent = self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => sent.accepted[self.tenant].extend(ids),
            Err(words) => drop(sent.failure.get_or_insert(format!("{kind} of {}: {words}", TENANTS[self.tenant]))),
        }
    }

    /// A gauge by DogStatsD, whose tag makes it an item of its own.
    fn send_line(&mut self) {
        self.serial += 1;
        let (tenant, serial) = (TENANTS[self.tenant], self.serial);
        let id = format!("{tenant}.dogstatsd.{serial}");
        let line = format!("demo.cart.size:{}|g|#env:demo,{TAG}{id},tenant:{tenant}", serial % 9);
        let sending = self.statsd.send(line.as_bytes());
        let mut sent = self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner);
        match sending {
            Ok(_) => sent.accepted[self.tenant].push(id),
            Err(error) => drop(sent.failure.get_or_insert(format!("a DogStatsD line of {tenant}: {error}"))),
        }
    }

    /// One item as an official client would send it.
    fn item(&self, kind: Kind, id: &str) -> Value {
        let mut tags = vec!["env:demo".to_owned(), format!("{TAG}{id}")];
        tags.extend(self.tag.clone());
        let (serial, seconds) = (self.serial, UnixMillis::now().0 / 1000);
        match kind {
            Kind::Logs => {
                let poisoned = self.tenant == TENANTS.len() - 1 && self.shared.poison.swap(false, Ordering::Relaxed);
                let text = if poisoned { POISON } else { "200 in 12 ms" };
                json!({
                    "message": format!("GET /orders/{serial} {text}"), "service": "shop", "status": "info",
                    "ddsource": "demo", "hostname": "web-1", "ddtags": tags.join(","),
                })
            }
            Kind::SeriesV2Json => json!({
                "metric": "demo.queue.depth", "type": 3, "tags": tags,
                "points": [{ "timestamp": seconds, "value": serial % 17 }],
            }),
            Kind::Distributions => json!({
                "metric": "demo.latency", "points": [[seconds, [serial % 13, serial % 29]]], "tags": tags,
            }),
            Kind::EventV1 => json!({ "title": "Deployed", "text": format!("Version {serial}"), "tags": tags }),
            _ => json!({ "check": "demo.up", "status": 0, "host_name": "web-1", "timestamp": seconds, "tags": tags }),
        }
    }
}
