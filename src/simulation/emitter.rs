//! Those who send telemetry.

use super::datadog::Datadog;
use super::machine::{elapsed, pass_time};
use super::oracle::Oracle;
use super::plan::{Request, Run, STORM};
use crate::queue::{Queues, Refused};
use crate::types::{Chunk, Follow, TenantId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// One who sends telemetry, and sends it again when it is told to.
pub(super) struct Emitter {
    pub(super) queues: Arc<Queues>,
    pub(super) tenants: Vec<TenantId>,
    pub(super) requests: Arc<Mutex<VecDeque<Request>>>,
    pub(super) oracle: Arc<Mutex<Oracle>>,
    pub(super) datadog: Datadog,
    pub(super) start: Instant,
}

/// So often an emitter tries.
const TRIES: usize = 12;

impl Emitter {
    pub(super) async fn run(self) {
        loop {
            let Some(at) = self.requests.lock().unwrap().front().map(|request| request.at) else { return };
            sleep_until(self.start + at).await;
            // What a process had in hand when it died is not sent again: nobody was told that it is accepted.
            let Some(request) = self.requests.lock().unwrap().pop_front() else { return };
            self.send(&request.runs).await;
        }
    }

    async fn send(&self, runs: &[Run]) {
        let calm = elapsed() >= STORM;
        for _ in 0..if calm { 2 } else { TRIES } {
            self.queues.wait_for_capacity().await;
            let chunks: Vec<Chunk> = runs.iter().map(|run| self.chunk(run)).collect();
            let follows: Vec<Option<Follow>> = chunks.iter().map(|chunk| chunk.follow.clone()).collect();
            runs.iter().for_each(|run| self.oracle.lock().unwrap().emitted(&run.ids));
            match self.queues.submit(chunks).await {
                Ok(refused) => {
                    let mut oracle = self.oracle.lock().unwrap();
                    let without_room = |run: &Run| {
                        let id = &self.tenants[run.tenant];
                        refused.iter().any(|refused| matches!(refused, Refused::Full { tenant, .. } if tenant == id))
                    };
                    for (run, follow) in runs.iter().zip(follows) {
                        let Run { tenant, kind, ids, .. } = run;
                        if without_room(run) {
                            oracle.count("part full");
                            continue;
                        }
                        oracle.accepted(ids, follow);
                        oracle.event(format_args!("accepted {tenant} {kind} {:?}..{:?}", ids.first(), ids.last()));
                    }
                    return;
                }
                Err(Refused::Full { retry_after, .. }) => {
                    self.oracle.lock().unwrap().count("full");
                    sleep(retry_after.min(Duration::from_secs(2))).await;
                }
                Err(Refused::Storage(_)) => {
                    self.oracle.lock().unwrap().count("storage");
                    pass_time(Duration::from_secs(2)).await;
                }
                Err(Refused::Stopping) => return,
            }
        }
    }

    fn chunk(&self, run: &Run) -> Chunk {
        let now = self.queues.machine().now();
        Chunk {
            tenant: self.tenants[run.tenant].clone(),
            kind: run.kind,
            generation: self.datadog.permission(run.tenant).recipient(),
            items: run.ids.len() as u32,
            oldest: run.oldest.unwrap_or(now).min(now),
            accepted: now,
            bytes: run.bytes.clone(),
            follow: run.followed.then(|| Follow::new(run.ids.len() as u64)),
        }
    }
}
