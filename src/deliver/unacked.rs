//! Payloads that have ended while the journal has not written that yet.
//!
//! A process that dies just then sends them again. So each goes on taking the place of a request: no more can arrive twice
//! after a crash than a tenant may have in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Counts a tenant's unacknowledged payloads.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    count: AtomicUsize,
    fewer: Notify,
}

/// One unacknowledged payload, until it is dropped.
#[derive(Debug)]
pub(super) struct Held(Arc<Unacked>);

impl Unacked {
    /// Counts one more.
    pub(super) fn hold(self: &Arc<Self>) -> Held {
        self.count.fetch_add(1, Ordering::AcqRel);
        Held(self.clone())
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until there is one less.
    pub(super) async fn fewer(&self) {
        self.fewer.notified().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.fewer.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use crate::deliver::{Answer, Delivery, Destination, Soon, Transport, Validity};
    use crate::journal::{Entry, Fsync, Journal, Options};
    use crate::ledger::Ledger;
    use crate::machine::Machine;
    use crate::payload::Payload;
    use crate::queue::Queues;
    use crate::settings::Settings;
    use crate::tenancy::{Registry, Tenant};
    use crate::types::{Chunk, Generation, Kind, Secret, TenantId, UnixMillis};
    use bytes::Bytes;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    const AT_ONCE: usize = 3;

    /// Datadog, which takes everything at once, and counts.
    #[derive(Debug, Clone, Default)]
    struct Prompt(Arc<AtomicUsize>);

    impl Transport for Prompt {
        fn submit<'a>(&'a self, _: &'a Destination, _: &'a Payload) -> Soon<'a, Result<Answer, String>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(Answer { status: 202, ..Answer::default() }) })
        }

        fn validate<'a>(&'a self, _: &'a Destination) -> Soon<'a, Validity> {
            Box::pin(async { Validity::Valid })
        }
    }

    impl Prompt {
        fn payloads(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }

        /// Waits until so many payloads have come.
        async fn wait(&self, payloads: usize) {
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while self.payloads() < payloads {
                assert!(std::time::Instant::now() < deadline, "{} payloads came, not {payloads}", self.payloads());
                // The runtime's time is virtual, and the journal's thread is not of it.
                tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
            }
        }
    }

    /// One event: each is a payload of its own.
    fn event(tenant: &TenantId) -> Chunk {
        Chunk {
            tenant: tenant.clone(),
            kind: Kind::EventV1,
            generation: Generation::UNKNOWN,
            items: 1,
            oldest: UnixMillis::now(),
            accepted: UnixMillis::now(),
            bytes: Bytes::from_static(br#"{"title":"a","text":"b"}"#),
            follow: None,
        }
    }

    /// Has the journal's thread wait, as for a disk, until the value is dropped.
    async fn hang(journal: &Arc<Journal>) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let entry = Entry {
            lane: "other".into(),
            items: 1,
            accepted: UnixMillis(1),
            oldest: UnixMillis(1),
            head: Bytes::new(),
            payload: Bytes::new(),
        };
        let journal = journal.clone();
        tokio::spawn(async move {
            let then = move |_| {
                begun.send(()).unwrap();
                released.recv().unwrap_err();
            };
            journal.append(vec![entry], then).await.unwrap();
        });
        begins.await.unwrap();
        release
    }

    #[tokio::test(start_paused = true)]
    async fn unacked_payloads_count_as_in_flight() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.state.dir = dir.path().into();
        settings.delivery.concurrency_per_tenant = AT_ONCE;
        let options = Options { fsync: Fsync::Never, ..Options::new(dir.path().join("journal")) };
        let journal = Arc::new(Journal::open(options.clone()).unwrap().0);
        let ledger = Arc::new(Ledger::default());
        let queues = Arc::new(Queues::new(&Machine::system(), &settings, ledger.clone(), journal.clone()));
        let registry = Arc::new(Registry::default());
        let tenant = TenantId::new("a").unwrap();
        let site = settings.datadog.sites.get("datadoghq.com").unwrap().clone();
        registry.insert(Arc::new(Tenant::new(tenant.clone(), site, Some(Secret::new("k".repeat(32))))));
        for _ in 0..20 {
            queues.submit(vec![event(&tenant)]).await.unwrap();
        }
        let hanging = hang(&journal).await;
        let datadog = Prompt::default();
        let delivery = Delivery::new(&settings, Box::new(datadog.clone()), queues.clone(), registry, ledger);
        let delivery = Arc::new(delivery);
        let sending = tokio::spawn({
            let delivery = delivery.clone();
            async move { delivery.run().await }
        });
        datadog.wait(AT_ONCE).await;
        // Virtual time goes on only while nothing can be done.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(datadog.payloads(), AT_ONCE, "payloads that a crash would have delivered again");
        drop(hanging);
        datadog.wait(20).await;
        sending.abort();
    }
}
