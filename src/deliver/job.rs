//! A payload's life, from the batch that it is built of to its end: it is built, sent, perhaps split or encoded otherwise,
//! and delivered or written to the dead letters.

use super::dead_letter::Reason;
use crate::payload::Payload;
use crate::queue::{Batch, LaneFigures, LaneId};
use crate::types::{Encoding, Kind};
use std::sync::Arc;
use tokio::time::Instant;

/// A payload on its way. Cheap to clone: a task that does a step has a copy, so that a panic loses nothing.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) sequence: Sequence,
    pub(super) step: Step,
    pub(super) state: State,
    pub(super) suspicion: Suspicion,
    /// It is an event v2 and was answered 401 or 403, which may have been the key's fault.
    pub(super) forbidden: bool,
    /// It, or a payload that it is a part of, was answered 400 or 413.
    pub(super) refused: Option<Refused>,
    /// How many payloads the endpoint had taken when the last request began.
    pub(super) taken_before: u64,
}

/// A refusal of a payload. It is believed to be the payload's fault only once the endpoint has taken others since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    /// How many payloads the endpoint had taken before.
    pub(super) taken: u64,
    /// Attempts that were refused although nothing is left to divide.
    pub(super) attempts: u32,
}

/// The order of acceptance: the batch, and the first item in it. The parts of a payload that is split keep their
/// sequence, so that first attempts are in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sequence {
    pub(super) batch: u64,
    pub(super) item: u32,
}

/// What is to be done next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Build(Arc<Batch>, Encoding),
    Send(Arc<Payload>),
    Split(Arc<Payload>),
    Reencode(Arc<Payload>, Encoding),
    DeadLetter(Arc<Payload>, Reason),
}

/// How far the step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has not begun, and does not before this time.
    Waiting { not_before: Option<Instant> },
    /// A task does it; nothing is sent.
    Running,
    /// A task is to send the payload, but waits for a permit, or looks for late items first.
    Admitted { probe: bool },
    /// The request has begun.
    InFlight { probe: bool },
}

/// Whether a 400 was the payload's own fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// There was none.
    #[default]
    None,
    /// There was one, which may have been the intake's fault.
    Once,
    /// The payload is a part of one that was refused again: another 400 is believed.
    Divided,
}

impl Job {
    /// A job that may begin at once.
    pub(super) fn new(sequence: Sequence, step: Step) -> Self {
        let state = State::Waiting { not_before: None };
        Self { sequence, step, state, suspicion: Suspicion::None, forbidden: false, refused: None, taken_before: 0 }
    }

    /// Of a payload that this one becomes: nothing is held against it but that it was divided.
    pub(super) fn successor(&self, sequence: Sequence, step: Step) -> Self {
        let suspicion = match self.suspicion {
            Suspicion::Divided => Suspicion::Divided,
            Suspicion::None | Suspicion::Once => Suspicion::None,
        };
        Self { suspicion, refused: self.refused, ..Self::new(sequence, step) }
    }

    /// Forgives refusals that may not have been the payload's fault.
    pub(super) fn forgive(&mut self) {
        self.forbidden = false;
        self.refused = None;
        if self.suspicion == Suspicion::Once {
            self.suspicion = Suspicion::None;
        }
    }

    pub(super) fn lane(&self) -> LaneId {
        match &self.step {
            Step::Build(batch, _) => batch.lane,
            Step::Send(payload) | Step::Split(payload) | Step::Reencode(payload, _) | Step::DeadLetter(payload, _) => {
                payload.lane()
            }
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.lane().kind
    }

    /// The payload, once it is built.
    pub(super) fn payload(&self) -> Option<&Arc<Payload>> {
        match &self.step {
            Step::Build(..) => None,
            Step::Send(payload) | Step::Split(payload) | Step::Reencode(payload, _) | Step::DeadLetter(payload, _) => {
                Some(payload)
            }
        }
    }

    pub(super) fn figures(&self) -> LaneFigures {
        match &self.step {
            Step::Build(batch, _) => LaneFigures {
                lane: batch.lane,
                items: batch.chunks.iter().map(|chunk| u64::from(chunk.items)).sum(),
                bytes: batch.chunks.iter().map(|chunk| chunk.bytes.len()).sum(),
                oldest: batch.chunks.iter().map(|chunk| chunk.accepted).min(),
            },
            Step::Send(payload) | Step::Split(payload) | Step::Reencode(payload, _) | Step::DeadLetter(payload, _) => {
                LaneFigures {
                    lane: payload.lane(),
                    items: u64::from(payload.items),
                    bytes: payload.body.len(),
                    oldest: Some(payload.accepted),
                }
            }
        }
    }

    pub(super) fn is_send(&self) -> bool {
        matches!(self.step, Step::Send(_))
    }

    pub(super) fn is_build(&self) -> bool {
        matches!(self.step, Step::Build(..))
    }

    pub(super) fn is_dead_letter(&self) -> bool {
        matches!(self.step, Step::DeadLetter(..))
    }

    /// Whether nothing is left to divide of a refused payload, and it waits for proof that it is the payload's fault.
    pub(super) fn is_condemned(&self) -> bool {
        self.refused.is_some_and(|refused| refused.attempts > 0)
    }

    /// Whether a task has the job.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.state, State::Waiting { .. })
    }

    /// Whether the circuit breaker waits for the answer.
    pub(super) fn is_probe(&self) -> bool {
        matches!(self.state, State::Admitted { probe: true } | State::InFlight { probe: true })
    }

    /// Whether the step may begin: not before this time, if it must rest.
    pub(super) fn is_due(&self, now: Instant) -> Result<bool, Instant> {
        match self.state {
            State::Waiting { not_before: Some(at) } if at > now => Err(at),
            State::Waiting { .. } => Ok(true),
            _ => Ok(false),
        }
    }
}

impl Sequence {
    /// The sequence of a part that begins `items` later.
    pub(super) fn plus(self, items: u32) -> Self {
        Self { item: self.item.saturating_add(items), ..self }
    }
}
