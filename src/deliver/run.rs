//! Doing the steps of jobs, on tasks of their own.

use super::client::{Destination, Transport};
use super::dead_letter::{DeadLetters, WriteError};
use super::job::{Job, Step};
use super::judge::Answer;
use super::metrics;
use super::permits::{Permits, Turn};
use crate::machine::Machine;
use crate::payload::{Builder, Built, Payload};
use crate::queue::{Cores, TenantQueue};
use crate::types::{Current, Secret, TenantId};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;

/// How a step ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A request was made, with the payload or what was left of it after `expired` items were dropped for their age. Of the
    /// items sent, `late` were late. No answer: an error in words.
    Sent { payload: Arc<Payload>, late: u32, expired: u32, result: Result<Answer, String> },
    /// No request was made: the daemon ends, or an answer to another request says to wait.
    Unsent,
    /// The job becomes these payloads; `expired` items were dropped for their age.
    Built { built: Built, expired: u32 },
    /// The items are in the dead letters, which take so many bytes now.
    DeadLettered(u64),
    /// The tenant's quota is used up by dead letters.
    NoRoom(String),
    /// Something of this host failed: memory, disk. The step is to be tried again.
    Failed(String),
}

/// What the senders of all tenants share.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) machine: Machine,
    pub(super) client: Box<dyn Transport>,
    pub(super) builder: Current<Builder>,
    pub(super) permits: Permits,
    /// The cores that payloads are built on.
    pub(super) cores: Arc<Cores>,
    pub(super) dead_letters: DeadLetters,
    pub(super) drop_late: AtomicBool,
    /// The receiver of refused keys.
    pub(super) refusals: OnceLock<mpsc::UnboundedSender<KeyRefused>>,
}

/// Datadog refuses a tenant's key, and validation has confirmed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRefused {
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub key: Secret,
}

/// Does a job's step. To send takes a `turn`, and `may_begin` is asked once the turn has come.
pub(super) async fn run(
    tools: Arc<Tools>,
    queue: &TenantQueue,
    to: Arc<Destination>,
    job: Job,
    turn: Option<Turn>,
    may_begin: impl Fn(&Payload) -> bool,
) -> Outcome {
    match job.step {
        Step::Build(batch, encoding) => {
            built(tools.compute(move |tools| tools.builder.get().build(&batch, encoding)).await)
        }
        Step::Send(payload) => send(tools, &to, payload, turn, may_begin).await,
        Step::Split(payload) => built(tools.compute(move |tools| tools.builder.get().split(&payload)).await),
        Step::Reencode(payload, encoding) => {
            built(tools.compute(move |tools| tools.builder.get().reencode(&payload, encoding)).await)
        }
        Step::DeadLetter(payload, reason) => {
            let (this, max_bytes) = (tools.clone(), queue.dead_letter_quota() as u64);
            let write = move || Ok(this.dead_letters.write(&payload, &reason, this.machine.now(), max_bytes));
            match tools.machine.on_blocking_pool("payload", write).await.unwrap_or_else(|error| Err(error.into())) {
                Ok(bytes) => Outcome::DeadLettered(bytes),
                Err(error @ WriteError::Full { .. }) => Outcome::NoRoom(error.to_string()),
                Err(WriteError::Io(error)) => Outcome::Failed(error.to_string()),
            }
        }
    }
}

fn built(result: io::Result<Built>) -> Outcome {
    match result {
        Ok(built) => Outcome::Built { built, expired: 0 },
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

async fn send(
    tools: Arc<Tools>,
    to: &Destination,
    payload: Arc<Payload>,
    turn: Option<Turn>,
    may_begin: impl Fn(&Payload) -> bool,
) -> Outcome {
    let Some(_permit) = tools.permits.wait(turn.unwrap_or(Turn::Waiting { probe: false })).await else {
        return Outcome::Unsent;
    };
    let Checked { payload, late, expired } = match check_age(&tools, payload).await {
        Ok(checked) => checked,
        Err(outcome) => return outcome,
    };
    if !may_begin(&payload) {
        return Outcome::Unsent;
    }
    let started = tokio::time::Instant::now();
    let result = tools.client.submit(to, &payload).await;
    record(&payload, started.elapsed(), &result);
    Outcome::Sent { payload, late, expired, result }
}

/// A payload whose items' ages were looked at.
struct Checked {
    payload: Arc<Payload>,
    /// Items in it that are late.
    late: u32,
    /// Items that are not in it any more because they were late.
    expired: u32,
}

/// Looks for late items at the last moment, since waiting makes items late.
async fn check_age(tools: &Arc<Tools>, payload: Arc<Payload>) -> Result<Checked, Outcome> {
    let cutoff = payload.cutoff(tools.machine.now());
    let may_drop = tools.drop_late.load(Ordering::Relaxed) && tools.machine.knows_time(payload.kind.max_age());
    if payload.oldest >= cutoff {
        return Ok(Checked { payload, late: 0, expired: 0 });
    }
    let examined = payload.clone();
    let result = tools.clone().compute(move |tools| {
        let late = examined.late_items(cutoff)?;
        let drops = late > 0 && may_drop;
        let rest = if drops { Some(tools.builder.get().without_late(&examined, cutoff)?) } else { None };
        Ok((late, rest))
    });
    match result.await {
        Ok((late, None)) => Ok(Checked { payload, late, expired: 0 }),
        Ok((expired, Some(mut built))) => match (built.payloads.pop(), built.payloads.is_empty()) {
            (Some(rest), true) => Ok(Checked { payload: Arc::new(rest), late: 0, expired }),
            (last, _) => {
                built.payloads.extend(last);
                Err(Outcome::Built { built, expired })
            }
        },
        Err(error) => Err(Outcome::Failed(error.to_string())),
    }
}

fn record(payload: &Payload, took: Duration, result: &Result<Answer, String>) {
    let status = result.as_ref().map_or_else(|_| "none".to_owned(), |answer| answer.status.to_string());
    metrics::REQUESTS.with(&[("status", status)]).increment(1);
    metrics::SECONDS.handle().record(took.as_secs_f64());
    metrics::PAYLOAD_BYTES.with(&[("encoding", payload.encoding.name())]).record(payload.body.len() as f64);
}

impl Tools {
    /// Runs CPU work on the blocking pool, on as many threads at once as there are cores.
    async fn compute<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let this = self.clone();
        let Some(_core) = self.cores.acquire().await else { return Err(io::Error::other("shutting down")) };
        self.machine.on_blocking_pool("payload", move || work(&this)).await
    }
}
