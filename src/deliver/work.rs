//! What a tenant's sender has under way, and doing it.

use super::client::{Destination, Transport, Validity};
use super::dead_letter::{DeadLetters, Reason};
use super::judge::Answer;
use super::metrics;
use super::permits::{Permits, Turn};
use crate::machine::Machine;
use crate::payload::{Builder, Built, Payload};
use crate::queue::{Batch, Cores, LaneFigures, TenantQueue};
use crate::types::{Current, Encoding, Kind, Secret, TenantId};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;

/// One thing to do. Cheap to clone: what is under way is also kept by the tenant, so that a panic loses nothing.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// Read spilled items of that kind back.
    Load(Arc<TenantQueue>, Kind),
    /// Build the batch.
    Build(Arc<Batch>, Encoding),
    /// Send a payload.
    Send(Arc<Payload>),
    /// Divide a payload.
    Halve {
        payload: Arc<Payload>,
        /// Whether the halves are suspects of a 400.
        suspect: bool,
    },
    /// Encode a payload otherwise.
    Reencode(Arc<Payload>, Encoding),
    /// Write a payload to the dead letters.
    Bury(Arc<Payload>, Reason),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Landed {
    /// Datadog answered; so many of the items were late.
    Answered { payload: Arc<Payload>, answer: Answer, late: u32 },
    /// No answer came.
    Unanswered { payload: Arc<Payload>, error: String },
    /// It was not sent, because something else came first: the end, or an answer that told to wait.
    Unsent { payload: Arc<Payload> },
    /// So many items of a payload were dropped for their age, and this came of sending the rest.
    Thinned { payload: Arc<Payload>, expired: u32, then: Box<Landed> },
    /// Items were read back.
    Loaded,
    /// The work became these payloads; `expired` items were dropped for their age.
    Built { built: Built, expired: u32 },
    /// The items are on disk.
    Buried { payload: Arc<Payload>, reason: Reason },
    /// Something of ours failed: memory, disk. To be tried again.
    Stuck { work: Work, error: String },
    /// That key was validated.
    Validated(Secret, Validity),
}

/// What all tenants' senders share.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) machine: Machine,
    pub(super) client: Box<dyn Transport>,
    pub(super) builder: Current<Builder>,
    pub(super) permits: Permits,
    /// Payloads are built on these.
    pub(super) cores: Arc<Cores>,
    pub(super) dead_letters: DeadLetters,
    pub(super) drop_late: AtomicBool,
    /// Who is told of refused keys.
    pub(super) refusals: OnceLock<mpsc::UnboundedSender<KeyRefused>>,
}

/// Datadog refuses a tenant's key, which validation has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRefused {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub key: Secret,
}

impl Work {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Load(_, kind) => *kind,
            Self::Build(batch, _) => batch.kind,
            Self::Send(payload) | Self::Halve { payload, .. } | Self::Reencode(payload, _) | Self::Bury(payload, _) => {
                payload.kind
            }
        }
    }

    /// What it holds.
    pub(super) fn figures(&self) -> LaneFigures {
        match self {
            // They are still in the queue's figures.
            Self::Load(_, kind) => LaneFigures { kind: *kind, items: 0, bytes: 0, oldest: None },
            Self::Build(batch, _) => LaneFigures {
                kind: batch.kind,
                items: batch.chunks.iter().map(|chunk| u64::from(chunk.items)).sum(),
                bytes: batch.chunks.iter().map(|chunk| chunk.bytes.len()).sum(),
                oldest: batch.chunks.iter().map(|chunk| chunk.accepted).min(),
            },
            Self::Send(payload) | Self::Halve { payload, .. } | Self::Reencode(payload, _) | Self::Bury(payload, _) => {
                LaneFigures {
                    kind: payload.kind,
                    items: u64::from(payload.items),
                    bytes: payload.body.len(),
                    oldest: Some(payload.accepted),
                }
            }
        }
    }

    /// The payload that it is about; a batch is none yet.
    pub(super) fn payload(&self) -> Option<&Arc<Payload>> {
        match self {
            Self::Build(..) | Self::Load(..) => None,
            Self::Send(payload) | Self::Halve { payload, .. } | Self::Reencode(payload, _) | Self::Bury(payload, _) => {
                Some(payload)
            }
        }
    }

    /// Whether doing it sends a request.
    pub(super) fn sends(&self) -> bool {
        matches!(self, Self::Send(_))
    }

    /// Whether it reads items of that kind back.
    pub(super) fn loads(&self, kind: Kind) -> bool {
        matches!(self, Self::Load(_, loaded) if *loaded == kind)
    }

    /// Whether doing it writes a dead letter.
    pub(super) fn buries(&self) -> bool {
        matches!(self, Self::Bury(..))
    }

    /// Whether it builds a batch of that kind.
    pub(super) fn builds(&self, kind: Kind) -> bool {
        matches!(self, Self::Build(batch, _) if batch.kind == kind)
    }
}

/// Does the work; `turn` is for what [`sends`](Work::sends), and `still` says whether it may when the turn has come. A
/// payload built is not sent at once: the sender does so when its turn has come.
pub(super) async fn fly(
    tools: Arc<Tools>,
    to: Arc<Destination>,
    work: Work,
    turn: Option<Turn>,
    still: impl Fn(&Payload) -> bool,
) -> Landed {
    match work {
        Work::Load(ref queue, kind) => match queue.load(kind).await {
            Ok(()) => Landed::Loaded,
            Err(error) => Landed::Stuck { error: format!("the journal cannot be read: {error}"), work },
        },
        Work::Build(ref batch, encoding) => {
            let batch = batch.clone();
            built(work, tools.compute(move |tools| tools.builder.get().build(&batch, encoding)).await)
        }
        Work::Send(payload) => send(tools, &to, payload, turn, still).await,
        Work::Halve { ref payload, suspect } => {
            let halved = payload.clone();
            built(work, tools.compute(move |tools| tools.builder.get().halve(&halved, suspect)).await)
        }
        Work::Reencode(ref payload, encoding) => {
            let payload = payload.clone();
            built(work, tools.compute(move |tools| tools.builder.get().reencode(&payload, encoding)).await)
        }
        Work::Bury(ref payload, ref reason) => {
            let (buried, words) = (payload.clone(), reason.clone());
            let write = move |tools: &Tools| tools.dead_letters.write(&buried, &words, tools.machine.now());
            match tools.on_disk(write).await {
                Ok(()) => Landed::Buried { payload: payload.clone(), reason: reason.clone() },
                Err(error) => Landed::Stuck { error: error.to_string(), work },
            }
        }
    }
}

fn built(work: Work, result: io::Result<Built>) -> Landed {
    match result {
        Ok(built) => Landed::Built { built, expired: 0 },
        Err(error) => Landed::Stuck { work, error: error.to_string() },
    }
}

async fn send(
    tools: Arc<Tools>,
    to: &Destination,
    payload: Arc<Payload>,
    turn: Option<Turn>,
    still: impl Fn(&Payload) -> bool,
) -> Landed {
    let Some(_permit) = tools.permits.wait(turn.unwrap_or(Turn::Waiting { probe: false })).await else {
        return Landed::Unsent { payload };
    };
    let looked = match look(&tools, &payload).await {
        Ok(looked) => looked,
        Err(landed) => return landed,
    };
    if !still(&looked.rest) {
        return Landed::Unsent { payload };
    }
    let Looked { rest, late, expired } = looked;
    let started = tokio::time::Instant::now();
    let result = tools.client.submit(to, &rest).await;
    record(&rest, started.elapsed(), &result);
    let landed = match result {
        Ok(answer) => Landed::Answered { payload: rest, answer, late },
        Err(error) => Landed::Unanswered { payload: rest, error },
    };
    if expired > 0 { Landed::Thinned { payload, expired, then: Box::new(landed) } } else { landed }
}

/// A payload that is about to be sent.
struct Looked {
    /// What is left of it.
    rest: Arc<Payload>,
    /// So many of the items in there are late.
    late: u32,
    /// So many are not in there any more, because they were.
    expired: u32,
}

/// Looks for late items, at the last moment: what waits grows old.
async fn look(tools: &Arc<Tools>, payload: &Arc<Payload>) -> Result<Looked, Landed> {
    let cutoff = payload.cutoff(tools.machine.now());
    if payload.oldest >= cutoff {
        return Ok(Looked { rest: payload.clone(), late: 0, expired: 0 });
    }
    let examined = payload.clone();
    let result = tools.clone().compute(move |tools| {
        let late = examined.late_items(cutoff)?;
        let drops = late > 0 && tools.drop_late.load(Ordering::Relaxed);
        let rest = if drops { Some(tools.builder.get().without_late(&examined, cutoff)?) } else { None };
        Ok((late, rest))
    });
    match result.await {
        Ok((late, None)) => Ok(Looked { rest: payload.clone(), late, expired: 0 }),
        Ok((expired, Some(mut built))) => match (built.payloads.pop(), built.payloads.is_empty()) {
            (Some(rest), true) => Ok(Looked { rest: Arc::new(rest), late: 0, expired }),
            (last, _) => {
                built.payloads.extend(last);
                Err(Landed::Built { built, expired })
            }
        },
        Err(error) => Err(Landed::Stuck { work: Work::Send(payload.clone()), error: error.to_string() }),
    }
}

fn record(payload: &Payload, took: Duration, result: &Result<Answer, String>) {
    let status = result.as_ref().map_or_else(|_| "none".to_owned(), |answer| answer.status.to_string());
    metrics::REQUESTS.with(&[("status", status)]).increment(1);
    metrics::SECONDS.handle().record(took.as_secs_f64());
    metrics::PAYLOAD_BYTES.with(&[("encoding", payload.encoding.name())]).record(payload.body.len() as f64);
}

impl Tools {
    /// Runs CPU work off the async threads, as much at once as there are cores.
    async fn compute<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let this = self.clone();
        let Some(_core) = self.cores.acquire().await else { return Err(io::Error::other("shutting down")) };
        self.machine.on_blocking_pool("payload", move || work(&this)).await
    }

    async fn on_disk(self: Arc<Self>, work: impl FnOnce(&Self) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let this = self.clone();
        self.machine.on_blocking_pool("payload", move || work(&this)).await
    }
}
