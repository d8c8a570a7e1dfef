//! A sender's jobs in order of acceptance. Pure logic.

use super::job::{Job, Sequence, State, Step};
use super::purge::Purge;
use crate::queue::LaneId;
use crate::types::Endpoint;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// All jobs that one sender has, waiting and active.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    jobs: BTreeMap<JobId, Job>,
    last_number: u64,
    last_batch: u64,
}

/// The key of a job; the order of keys is that of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobId {
    sequence: Sequence,
    number: u64,
}

impl Backlog {
    /// The sequence of the next batch from the queue.
    pub(super) fn next_sequence(&mut self) -> Sequence {
        self.last_batch += 1;
        Sequence { batch: self.last_batch, item: 0 }
    }

    pub(super) fn add(&mut self, job: Job) -> JobId {
        self.last_number += 1;
        let id = JobId { sequence: job.sequence, number: self.last_number };
        self.jobs.insert(id, job);
        id
    }

    /// Has a job wait for its next step, and not before that time.
    pub(super) fn requeue(&mut self, job: Job, not_before: Option<Instant>) {
        self.add(Job { state: State::Waiting { not_before }, ..job });
    }

    /// Has a task do a job's step, `taken_before` payloads having been taken; returns a copy of the job.
    pub(super) fn begin(&mut self, id: JobId, state: State, taken_before: u64) -> Option<Job> {
        let job = self.jobs.get_mut(&id)?;
        (job.state, job.taken_before) = (state, taken_before);
        Some(job.clone())
    }

    /// Notes that a request begins. False if it had.
    pub(super) fn begin_request(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        let State::Admitted { probe } = job.state else { return false };
        job.state = State::InFlight { probe };
        true
    }

    pub(super) fn take(&mut self, id: JobId) -> Option<Job> {
        self.jobs.remove(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// All jobs, in order of acceptance.
    pub(super) fn all(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    pub(super) fn active(&self) -> impl Iterator<Item = &Job> {
        self.all().filter(|job| job.is_active())
    }

    pub(super) fn active_ids(&self) -> Vec<JobId> {
        self.jobs.iter().filter(|(_, job)| job.is_active()).map(|(id, _)| *id).collect()
    }

    fn waiting(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs.iter().filter(|(_, job)| !job.is_active()).map(|(id, job)| (*id, job))
    }

    /// The number of an endpoint's jobs that were refused.
    pub(super) fn refused(&self, endpoint: Endpoint) -> usize {
        self.all().filter(|job| job.refused.is_some() && job.kind().endpoint() == endpoint).count()
    }

    /// The number of an endpoint's condemned jobs.
    pub(super) fn condemned(&self, endpoint: Endpoint) -> usize {
        self.all().filter(|job| job.is_condemned() && job.kind().endpoint() == endpoint).count()
    }

    /// Has the condemned jobs of an endpoint rest no longer.
    pub(super) fn wake_condemned(&mut self, endpoint: Endpoint) {
        let waiting = self.jobs.values_mut().filter(|job| !job.is_active() && job.is_condemned());
        waiting.filter(|job| job.kind().endpoint() == endpoint).for_each(|job| {
            job.state = State::Waiting { not_before: None };
        });
    }

    /// Forgives every refusal of a waiting payload that may not have been its fault.
    pub(super) fn forgive(&mut self) {
        self.jobs.values_mut().filter(|job| !job.is_active()).for_each(Job::forgive);
    }

    /// Takes the waiting jobs with items that are to be dropped.
    pub(super) fn take_purged(&mut self, purge: &Purge) -> Vec<Job> {
        let is_purged =
            |job: &Job| job.figures().oldest.is_some_and(|oldest| purge.includes(job.lane().generation, oldest));
        let purged: Vec<JobId> = self.waiting().filter(|(_, job)| is_purged(job)).map(|(id, _)| id).collect();
        purged.into_iter().filter_map(|id| self.take(id)).collect()
    }

    /// The first waiting job of a lane that sends nothing and is due; tells `timer` when others are. Dead letters are
    /// written one at a time: they go to one file, and wait for the disk.
    pub(super) fn next_chore(&self, lane: LaneId, now: Instant, mut timer: impl FnMut(Instant)) -> Option<JobId> {
        let is_writing = self.active().any(Job::is_dead_letter);
        let chores = self
            .waiting()
            .filter(|(_, job)| job.lane() == lane && !job.is_send() && !(is_writing && job.is_dead_letter()));
        for (id, job) in chores {
            match job.is_due(now) {
                Ok(_) => return Some(id),
                Err(at) => timer(at),
            }
        }
        None
    }

    /// The next payload of a lane to send. There is none while an earlier batch is being built, or the request of an
    /// earlier payload has not begun: first attempts are in order of acceptance. As a probe, payloads that were not refused
    /// go before parts of those that were. Condemned ones, one after another, come last.
    pub(super) fn next_to_send(
        &self,
        lane: LaneId,
        now: Instant,
        probe: bool,
        mut timer: impl FnMut(Instant),
    ) -> Option<JobId> {
        let mut next: Option<((u8, Option<Instant>), JobId)> = None;
        for (id, job) in self.jobs.iter().filter(|(_, job)| job.lane() == lane) {
            let not_before = match (&job.step, job.state) {
                (Step::Build(..), State::Running) | (_, State::Admitted { .. }) => break,
                (Step::Send(_), State::Waiting { not_before }) => not_before,
                _ => continue,
            };
            let rank = match not_before {
                Some(at) if at > now => {
                    timer(at);
                    continue;
                }
                Some(at) if job.is_condemned() => (2, Some(at)),
                _ => (u8::from(probe && job.refused.is_some()), None),
            };
            if next.is_none_or(|(best, _)| rank < best) {
                next = Some((rank, *id));
            }
        }
        next.map(|(_, id)| id)
    }

    /// How many payloads of a lane could be sent at once; of those that were not refused, with `fresh`.
    pub(super) fn ready(&self, lane: LaneId, now: Instant, fresh: bool) -> usize {
        let is_wanted = |job: &&Job| job.lane() == lane && job.is_send() && !(fresh && job.refused.is_some());
        self.all().filter(is_wanted).filter(|job| job.is_due(now) == Ok(true)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::dead_letter::Reason;
    use crate::deliver::job::{Refused, Suspicion};
    use crate::journal::{AckGuard, Seq};
    use crate::payload::Payload;
    use crate::queue::{Acknowledge, Batch, Budget, Finalizer};
    use crate::types::{Encoding, Generation, Kind, TenantId, UnixMillis};
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
            generation: Generation::UNKNOWN,
            items,
            oldest: UnixMillis(0),
            accepted: UnixMillis(0),
            encoding: Encoding::Identity,
            body: vec![b'x'].into(),
            uncompressed: 1,
            follow: None,
            finalizer: finalizer(),
            memory: Budget::new(1000).reserve(&Arc::default(), 1).unwrap(),
        })
    }

    fn lane(kind: Kind) -> LaneId {
        LaneId { kind, generation: Generation::UNKNOWN }
    }

    fn send(items: u32, sequence: Sequence) -> Job {
        Job::new(sequence, Step::Send(payload(Kind::Logs, items)))
    }

    fn build(kind: Kind, sequence: Sequence) -> Job {
        let (chunks, memory, finalizer) = (Vec::new(), Vec::new(), finalizer());
        let batch = Batch { tenant: TenantId::new("a").unwrap(), lane: lane(kind), chunks, memory, finalizer };
        Job { state: State::Running, ..Job::new(sequence, Step::Build(Arc::new(batch), Encoding::Identity)) }
    }

    /// The items of the payloads that can be sent, in order.
    fn sendable(backlog: &mut Backlog, now: Instant) -> Vec<u32> {
        let next = || {
            let id = backlog.next_to_send(lane(Kind::Logs), now, false, |_| ())?;
            Some(backlog.take(id)?.payload()?.items)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn requeued_payloads_keep_their_order() {
        let mut backlog = Backlog::default();
        let sequences: Vec<Sequence> = (0..3).map(|_| backlog.next_sequence()).collect();
        for (items, sequence) in [(3, sequences[2]), (1, sequences[0]), (2, sequences[1]), (12, sequences[1].plus(2))] {
            backlog.requeue(send(items, sequence), None);
        }
        assert_eq!(backlog.ready(lane(Kind::Logs), Instant::now(), false), 4);
        assert_eq!(sendable(&mut backlog, Instant::now()), [1, 2, 12, 3]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn earlier_batches_go_before_later_payloads() {
        let mut backlog = Backlog::default();
        let [first, second, third] = [(); 3].map(|()| backlog.next_sequence());
        backlog.add(send(1, first));
        backlog.add(send(3, third));
        let other = backlog.add(build(Kind::SeriesV1, second));
        let building = backlog.add(build(Kind::Logs, second));
        assert_eq!(sendable(&mut backlog, Instant::now()), [1]);
        assert!(backlog.take(building).is_some());
        assert_eq!(sendable(&mut backlog, Instant::now()), [3]);
        assert!(backlog.take(other).is_some() && backlog.take(other).is_none());
    }

    #[test]
    fn requests_begin_in_order() {
        let mut backlog = Backlog::default();
        let [first, second] = [(); 2].map(|()| backlog.next_sequence());
        let id = backlog.add(send(1, first));
        backlog.begin(id, State::Admitted { probe: false }, 0);
        backlog.add(send(2, second));
        assert!(sendable(&mut backlog, Instant::now()).is_empty());
        assert_eq!((backlog.begin_request(id), backlog.begin_request(id)), (true, false));
        assert_eq!(sendable(&mut backlog, Instant::now()), [2]);
    }

    #[test]
    fn resting_payloads_are_passed_over() {
        let mut backlog = Backlog::default();
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let [first, second] = [(); 2].map(|()| backlog.next_sequence());
        backlog.requeue(Job { suspicion: Suspicion::Once, forbidden: true, ..send(1, first) }, Some(later));
        backlog.add(send(2, second));
        let reason = Reason { status: None, message: String::new() };
        backlog.add(Job::new(second, Step::DeadLetter(payload(Kind::Logs, 9), reason)));
        let mut told = Vec::new();
        assert!(backlog.next_to_send(lane(Kind::Logs), now, false, |at| told.push(at)).is_some());
        assert_eq!(told, [later]);
        assert_eq!(backlog.ready(lane(Kind::Logs), now, false), 1);
        let chore = backlog.next_chore(lane(Kind::Logs), now, |_| ()).unwrap();
        backlog.begin(chore, State::Running, 0);
        assert!(backlog.next_chore(lane(Kind::Logs), now, |_| ()).is_none());
        assert_eq!(sendable(&mut backlog, now), [2]);
        backlog.forgive();
        let first =
            backlog.next_to_send(lane(Kind::Logs), later, false, |_| ()).and_then(|id| backlog.take(id)).unwrap();
        assert_eq!((first.suspicion, first.forbidden), (Suspicion::None, false));
    }

    #[test]
    fn probes_prefer_payloads_that_were_not_refused() {
        let mut backlog = Backlog::default();
        let now = Instant::now();
        let refused = |attempts| Some(Refused { taken: 0, attempts });
        for (items, attempts, rest) in
            [(1, Some(3), Some(2)), (2, Some(1), Some(1)), (3, Some(0), None), (4, None, None)]
        {
            let sequence = backlog.next_sequence();
            let job = Job { refused: attempts.and_then(refused), ..send(items, sequence) };
            backlog.requeue(job, rest.map(|seconds| now + Duration::from_secs(seconds)));
        }
        let later = now + Duration::from_secs(9);
        let mut order = |probe| {
            let id = backlog.next_to_send(lane(Kind::Logs), later, probe, |_| ()).unwrap();
            backlog.take(id).unwrap().payload().unwrap().items
        };
        assert_eq!([order(true), order(true), order(false), order(false)], [4, 3, 2, 1]);
    }
}
