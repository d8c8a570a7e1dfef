//! What a tenant's sender holds and has under way, in order of acceptance. Pure logic.

use super::work::Work;
use crate::types::{Kind, UnixMillis};
use std::collections::{BTreeMap, VecDeque};
use tokio::time::Instant;

/// Where something stands among all that the sender has taken: the batch it came in, and its first item in there. What
/// a payload is divided into keeps its place, so that everything goes on in order of acceptance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    batch: u64,
    item: u32,
}

/// What has come of a payload before that may not have been its own fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tried {
    /// It was answered 400.
    pub(super) malformed: bool,
    /// It is an event v2, and was answered 401 or 403.
    pub(super) forbidden: bool,
}

/// Work that waits.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) work: Work,
    pub(super) place: Place,
    /// It rests until then.
    pub(super) not_before: Option<Instant>,
    pub(super) tried: Tried,
}

/// Work under way, or a validation of the key, which has no work.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) work: Option<Work>,
    pub(super) place: Place,
    /// Whether the gate waits for its answer.
    pub(super) probe: bool,
    /// Of a payload: its request has begun, or does so at once.
    pub(super) begun: bool,
    pub(super) tried: Tried,
}

/// All that one sender has taken from its queue and not settled.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// By place.
    held: VecDeque<Held>,
    under_way: BTreeMap<u64, Flight>,
    last_id: u64,
    last_batch: u64,
}

impl Place {
    /// The place of a part whose first item is that many items after the first one here.
    pub(super) fn plus(self, items: u32) -> Self {
        Self { item: self.item.saturating_add(items), ..self }
    }
}

impl Backlog {
    /// The place for what is taken from the queue next.
    pub(super) fn next_place(&mut self) -> Place {
        self.last_batch += 1;
        Place { batch: self.last_batch, item: 0 }
    }

    /// Holds work at its place.
    pub(super) fn hold(&mut self, held: Held) {
        let index = self.held.partition_point(|other| other.place <= held.place);
        self.held.insert(index, held);
    }

    /// Notes that something is under way; gives its number.
    pub(super) fn begin(&mut self, flight: Flight) -> u64 {
        self.last_id += 1;
        self.under_way.insert(self.last_id, flight);
        self.last_id
    }

    /// Notes that the request of that number begins; says whether that is news.
    pub(super) fn begins(&mut self, id: u64) -> bool {
        self.under_way.get_mut(&id).is_some_and(|flight| !std::mem::replace(&mut flight.begun, true))
    }

    /// What was under way with that number.
    pub(super) fn end(&mut self, id: u64) -> Option<Flight> {
        self.under_way.remove(&id)
    }

    /// The numbers of all that is under way.
    pub(super) fn under_way(&self) -> Vec<u64> {
        self.under_way.keys().copied().collect()
    }

    /// Whether nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Everything held and under way.
    pub(super) fn all(&self) -> impl Iterator<Item = &Work> {
        let under_way = self.under_way.values().filter_map(|flight| flight.work.as_ref());
        under_way.chain(self.held.iter().map(|held| &held.work))
    }

    /// Everything held and under way, in order of acceptance.
    pub(super) fn by_place(&self) -> Vec<Work> {
        let under_way = self.under_way.values().filter_map(|flight| Some((flight.place, flight.work.clone()?)));
        let held = self.held.iter().map(|held| (held.place, held.work.clone()));
        let mut all: Vec<(Place, Work)> = under_way.chain(held).collect();
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, work)| work).collect()
    }

    /// How many works under way are of that sort.
    pub(super) fn flying(&self, wanted: impl Fn(&Work) -> bool) -> usize {
        self.under_way.values().filter(|flight| flight.work.as_ref().is_some_and(&wanted)).count()
    }

    /// Forgives every refusal that may have been a mistake.
    pub(super) fn forgive(&mut self) {
        self.held.iter_mut().for_each(|held| held.tried = Tried::default());
    }

    /// Takes everything held of which some was accepted before a time.
    pub(super) fn take_older(&mut self, before: UnixMillis) -> Vec<Work> {
        let older = |work: &Work| work.figures().oldest.is_some_and(|oldest| oldest < before);
        let (taken, kept) = std::mem::take(&mut self.held).into_iter().partition(|held| older(&held.work));
        self.held = kept;
        let taken: VecDeque<Held> = taken;
        taken.into_iter().map(|held| held.work).collect()
    }

    /// Takes the first work of a kind that sends nothing and does not rest; tells `timer` of what rests. Dead letters
    /// are written one at a time: they go to one file, and wait for the disk.
    pub(super) fn pop_chore(&mut self, kind: Kind, now: Instant, timer: impl FnMut(Instant)) -> Option<Held> {
        let burying = self.flying(Work::buries) > 0;
        let wanted = |work: &Work| work.kind() == kind && !work.sends() && !(burying && work.buries());
        let index = self.first_due(now, wanted, timer)?;
        self.held.remove(index)
    }

    /// Where the next payload of a kind to send stands. There is none while an earlier batch is still being built, or an
    /// earlier payload waits for its turn or is looked at: first attempts are in order of acceptance.
    pub(super) fn next_to_send(&self, kind: Kind, now: Instant, timer: impl FnMut(Instant)) -> Option<usize> {
        let index = self.first_due(now, |work| work.kind() == kind && work.sends(), timer)?;
        let ahead = |flight: &&Flight| {
            let waits = |work: &Work| work.kind() == kind && work.sends() && !flight.begun;
            flight.work.as_ref().is_some_and(|work| work.builds(kind) || waits(work))
        };
        let earliest = self.under_way.values().filter(ahead).map(|flight| flight.place).min();
        earliest.is_none_or(|earliest| self.held[index].place < earliest).then_some(index)
    }

    /// Takes what [`next_to_send`](Self::next_to_send) found.
    pub(super) fn pop(&mut self, index: usize) -> Option<Held> {
        self.held.remove(index)
    }

    /// How many payloads of a kind could be sent at once.
    pub(super) fn ready(&self, kind: Kind, now: Instant) -> usize {
        let due = |held: &&Held| held.not_before.is_none_or(|at| at <= now);
        self.held.iter().filter(due).filter(|held| held.work.kind() == kind && held.work.sends()).count()
    }

    fn first_due(&self, now: Instant, wanted: impl Fn(&Work) -> bool, mut timer: impl FnMut(Instant)) -> Option<usize> {
        self.held.iter().position(|held| match held.not_before {
            _ if !wanted(&held.work) => false,
            Some(at) if at > now => {
                timer(at);
                false
            }
            _ => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::dead_letter::Reason;
    use crate::journal::{AckGuard, Seq};
    use crate::payload::Payload;
    use crate::queue::{Acknowledge, Batch, Budget, Finalizer};
    use crate::types::{Encoding, TenantId};
    use std::sync::Arc;
    use std::time::Duration;

    #[derive(Debug)]
    struct NoJournal;

    impl Acknowledge for NoJournal {
        fn acknowledge(&self, _: &[Seq], _: Option<AckGuard>) {}
    }

    fn finalizer() -> Arc<Finalizer> {
        Arc::new(Finalizer::new(Vec::new(), 1, Arc::new(NoJournal)))
    }

    fn payload(kind: Kind, items: u32) -> Arc<Payload> {
        Arc::new(Payload {
            tenant: TenantId::new("a").unwrap(),
            kind,
            items,
            oldest: UnixMillis(0),
            accepted: UnixMillis(0),
            encoding: Encoding::Identity,
            body: vec![b'x'].into(),
            uncompressed: 1,
            suspect: false,
            follow: None,
            finalizer: finalizer(),
            memory: Budget::new(1000).reserve(&Arc::default(), 1).unwrap(),
        })
    }

    fn held(work: Work, place: Place) -> Held {
        Held { work, place, not_before: None, tried: Tried::default() }
    }

    fn build(kind: Kind) -> Work {
        let (chunks, memory, finalizer) = (Vec::new(), Vec::new(), finalizer());
        let batch = Batch { tenant: TenantId::new("a").unwrap(), kind, chunks, memory, finalizer };
        Work::Build(Arc::new(batch), Encoding::Identity)
    }

    /// The items of the payloads that can be sent, in turn.
    fn sendable(backlog: &mut Backlog, now: Instant) -> Vec<u32> {
        let next = || {
            let index = backlog.next_to_send(Kind::Logs, now, |_| ())?;
            match backlog.pop(index)?.work {
                Work::Send(payload) => Some(payload.items),
                other => panic!("{other:?} sends nothing"),
            }
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_comes_back_takes_its_old_place() {
        let mut backlog = Backlog::default();
        let places: Vec<Place> = (0..3).map(|_| backlog.next_place()).collect();
        for (items, place) in [(3, places[2]), (1, places[0]), (2, places[1]), (12, places[1].plus(2))] {
            backlog.hold(held(Work::Send(payload(Kind::Logs, items)), place));
        }
        assert_eq!(backlog.ready(Kind::Logs, Instant::now()), 4);
        assert_eq!(sendable(&mut backlog, Instant::now()), [1, 2, 12, 3]);
        assert!(backlog.is_idle());
    }

    #[test]
    fn nothing_is_sent_before_an_earlier_batch_of_its_kind_is_built() {
        let mut backlog = Backlog::default();
        let [first, second, third] = [(); 3].map(|()| backlog.next_place());
        backlog.hold(held(Work::Send(payload(Kind::Logs, 1)), first));
        backlog.hold(held(Work::Send(payload(Kind::Logs, 3)), third));
        let flight =
            |work| Flight { work: Some(work), place: second, probe: false, begun: false, tried: Tried::default() };
        let other = backlog.begin(flight(build(Kind::SeriesV1)));
        let building = backlog.begin(flight(build(Kind::Logs)));
        assert_eq!(sendable(&mut backlog, Instant::now()), [1]);
        assert!(backlog.end(building).is_some());
        assert_eq!(sendable(&mut backlog, Instant::now()), [3]);
        assert!(backlog.end(other).is_some() && backlog.end(other).is_none());
    }

    #[test]
    fn nothing_is_sent_before_the_request_of_an_earlier_payload_of_its_kind_begins() {
        let mut backlog = Backlog::default();
        let [first, second] = [(); 2].map(|()| backlog.next_place());
        let work = Some(Work::Send(payload(Kind::Logs, 1)));
        let id = backlog.begin(Flight { work, place: first, probe: false, begun: false, tried: Tried::default() });
        backlog.hold(held(Work::Send(payload(Kind::Logs, 2)), second));
        assert!(sendable(&mut backlog, Instant::now()).is_empty());
        assert_eq!((backlog.begins(id), backlog.begins(id)), (true, false));
        assert_eq!(sendable(&mut backlog, Instant::now()), [2]);
    }

    #[test]
    fn what_rests_is_passed_over_and_told_to_the_timer() {
        let mut backlog = Backlog::default();
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let [first, second] = [(); 2].map(|()| backlog.next_place());
        let resting = held(Work::Send(payload(Kind::Logs, 1)), first);
        backlog.hold(Held { not_before: Some(later), tried: Tried { malformed: true, forbidden: true }, ..resting });
        backlog.hold(held(Work::Send(payload(Kind::Logs, 2)), second));
        backlog.hold(held(Work::Bury(payload(Kind::Logs, 9), Reason { status: None, words: String::new() }), second));
        let mut told = Vec::new();
        assert!(backlog.next_to_send(Kind::Logs, now, |at| told.push(at)).is_some());
        assert_eq!(told, [later]);
        assert_eq!(backlog.ready(Kind::Logs, now), 1);
        assert!(backlog.pop_chore(Kind::Logs, now, |_| ()).is_some());
        assert!(backlog.pop_chore(Kind::Logs, now, |_| ()).is_none());
        assert_eq!(sendable(&mut backlog, now), [2]);
        backlog.forgive();
        assert!(
            backlog
                .next_to_send(Kind::Logs, later, |_| ())
                .and_then(|i| backlog.pop(i))
                .is_some_and(|held| held.tried == Tried::default())
        );
    }
}
