//! Lines into contexts.

use super::class::Class;
use super::closing::Closing;
use super::context::{Contexts, Spelling};
use super::head::Identity;
use super::options::Options;
use super::slot::MemberHasher;
use super::tenant::{TenantFigures, Tenants};
use crate::types::TenantId;
use crate::wire::Part;
use crate::wire::dogstatsd::{self, Message, Metric, MetricType, Reason, Tags, Value};

/// Where packets come from, as far as it decides about their tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Tells sources apart whose rules differ; those of equal rules may share one.
    pub id: u16,
    /// The tenant of lines without a tag: the listener's own, or the default.
    pub tenant: Option<TenantId>,
    /// The name of the tag that names a tenant, where tags may.
    pub tag: Option<String>,
    /// Whether a tag may not name another tenant than the listener's.
    pub bound: bool,
}

/// Tells whether a tenant of that name exists.
pub type Knows<'a> = &'a dyn Fn(&str) -> bool;

/// What was counted since [`Aggregator::take_counts`] was called last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines, refused ones included.
    pub lines: u64,
    /// Lines or values that were not taken, in the order of [`Reason::ALL`].
    pub errors: [u64; Reason::ALL.len()],
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.errors.iter_mut().zip(other.errors).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// All that is being aggregated.
#[derive(Debug)]
pub struct Aggregator {
    pub(super) options: Options,
    pub(super) contexts: Contexts,
    pub(super) tenants: Tenants,
    pub(super) members: MemberHasher,
    /// Where the open bucket begins, on the grid of the interval.
    pub(super) start: i64,
    /// The timestamp that its points bear.
    pub(super) stamp: i64,
    /// How far timestamps are off the grid, which is more than nothing after the clock was set back.
    pub(super) phase: i64,
    /// Which of the two slots of each context is the open bucket's.
    pub(super) open: usize,
    pub(super) closing: Option<Closing>,
    pub(super) counts: Counts,
    pub(super) examples: [Option<Box<str>>; Reason::ALL.len()],
}

/// So much of a refused line is kept as an example.
const EXAMPLE: usize = 200;

impl Aggregator {
    /// Begins at that second of Unix time. The first bucket bears it as timestamp, so that it is never the same as that
    /// of a bucket which another run of the daemon has sent.
    pub fn new(options: Options, now: i64) -> Self {
        let start = options.bucket(now);
        Self {
            contexts: Contexts::default(),
            tenants: Tenants::new(options.limits),
            members: MemberHasher::default(),
            start,
            stamp: if now == start { now + 1 } else { now },
            phase: 0,
            open: 0,
            closing: None,
            counts: Counts::default(),
            examples: Default::default(),
            options,
        }
    }

    /// Takes the lines of a packet that arrived in that second.
    pub fn take(&mut self, packet: &[u8], source: &Source, now: i64, knows: Knows<'_>) {
        self.roll(now);
        for line in dogstatsd::lines(packet) {
            self.counts.lines += 1;
            let taken = match dogstatsd::parse(line) {
                Ok(Message::Metric(metric)) => self.take_metric(&metric, source, now, knows),
                Ok(Message::Event(event)) => self.take_event(&event, source, now, knows),
                Ok(Message::Check(check)) => self.take_check(&check, source, now, knows),
                Err(reason) => Err(reason),
            };
            if let Err(reason) = taken {
                self.refuse(reason, line);
            }
        }
    }

    /// Counts a line, or something else that was not taken, and keeps its beginning as an example.
    #[cold]
    pub fn refuse(&mut self, reason: Reason, line: &[u8]) {
        self.counts.errors[reason as usize] += 1;
        let example = &mut self.examples[reason as usize];
        if example.is_none() {
            *example = Some(String::from_utf8_lossy(&line[..line.len().min(EXAMPLE)]).into());
        }
    }

    fn take_metric(&mut self, metric: &Metric<'_>, source: &Source, now: i64, knows: Knows<'_>) -> Result<(), Reason> {
        let class = Class::of(metric.metric_type);
        if metric.timestamp.is_some() && matches!(class, Class::Histogram | Class::Set) {
            return Err(Reason::TimestampUnsupportedType);
        }
        let spelling =
            Spelling { source: source.id, metric_type: metric.metric_type, name: metric.name, tags: metric.tags };
        let hash = self.contexts.hash(&spelling);
        let index = match self.contexts.find(hash, &spelling) {
            Some(index) => index,
            None => self.resolve(hash, &spelling, source, knows)?,
        };
        self.add(index, metric, now)
    }

    /// The context of a line that is written as none before it, which is remembered.
    #[cold]
    fn resolve(
        &mut self,
        hash: u64,
        spelling: &Spelling<'_>,
        source: &Source,
        knows: Knows<'_>,
    ) -> Result<u32, Reason> {
        let tags = Tags::parse(spelling.tags, source.tag.as_deref())?;
        let tenant = self.tenant_of(&tags, source, knows)?;
        let class = Class::of(spelling.metric_type);
        let identity = Identity::new(spelling.name, class, &tags, &self.options)?;
        let Self { contexts, tenants, options, .. } = self;
        let copy = match &options.copy_to_distribution {
            Some(prefix) if class == Class::Histogram => {
                let copy = Identity::prefixed(prefix, &identity.name, &tags, options)?;
                Some(contexts.of(tenant, Class::Distribution, &copy, tenants)?)
            }
            _ => None,
        };
        let index = contexts.of(tenant, class, &identity, tenants)?;
        contexts.begin(index, spelling.metric_type == MetricType::Timer, copy);
        contexts.remember(hash, spelling, index, tenants);
        Ok(index)
    }

    /// Whose a line is: its tag's, else its source's.
    pub(super) fn tenant_of(&mut self, tags: &Tags<'_>, source: &Source, knows: Knows<'_>) -> Result<u32, Reason> {
        let own = source.tenant.as_ref().map(TenantId::as_str);
        let tenant = match (tags.tenant, own) {
            (Some(tag), Some(own)) if source.bound && tag != own => return Err(Reason::ForeignTenant),
            (Some(tag), _) => tag,
            (None, Some(own)) => own,
            (None, None) => return Err(Reason::NoTenant),
        };
        if !knows(tenant) {
            return Err(Reason::UnknownTenant);
        }
        self.tenants.index(tenant).ok_or(Reason::UnknownTenant)
    }

    /// Adds the samples of a line to their context.
    #[inline]
    fn add(&mut self, index: u32, metric: &Metric<'_>, now: i64) -> Result<(), Reason> {
        let Some(context) = self.contexts.get_mut(index) else { return Ok(()) };
        context.seen = now;
        if let Some(timestamp) = metric.timestamp {
            let mut budget = self.tenants.budget(context.tenant, self.open);
            if !budget.claim(1) {
                return Err(Reason::SampleLimit);
            }
            // The Agent does not scale what has a time of its own.
            let class = context.class;
            return context.at(self.open, timestamp).add(class, metric.value, 1.0, &mut budget);
        }
        let slot = &mut context.slots[self.open];
        match (context.class, metric.value) {
            // What most lines are, without looking at the tenant.
            (Class::Counter, Value::One(value)) if value.is_finite() => {
                slot.count(value * (1.0 / metric.rate));
                context.count_on(now, self.options.context_expiry);
                Ok(())
            }
            (_, Value::Text(member)) => {
                let mut budget = self.tenants.budget(context.tenant, self.open);
                slot.member(self.members.hash(member), &mut budget)
            }
            (class, value) => {
                let mut budget = self.tenants.budget(context.tenant, self.open);
                let taken = slot.add(class, value, metric.rate, &mut budget);
                if class == Class::Counter {
                    context.count_on(now, self.options.context_expiry);
                }
                match context.copy {
                    Some(copy) => taken.and(self.add(copy, metric, now)),
                    None => taken,
                }
            }
        }
    }

    /// Applies another configuration from the next line on. Where it changes what a line means, what was gathered so far is
    /// still sent as it was meant.
    pub fn configure(&mut self, options: Options) {
        // The length of a bucket is fixed for as long as the daemon runs.
        let options = Options { interval: self.options.interval, ..options };
        self.tenants.set_limits(options.limits);
        let meaning = |options: &Options| {
            let Options { tags, host, namespace, copy_to_distribution, .. } = options.clone();
            (tags, host, namespace, copy_to_distribution)
        };
        if meaning(&options) != meaning(&self.options) {
            self.contexts.forget_spellings(true, &mut self.tenants);
        }
        self.options = options;
    }

    /// Reads every line anew, since sources have changed or tenants have gone.
    pub fn forget_spellings(&mut self) {
        self.contexts.forget_spellings(false, &mut self.tenants);
    }

    /// What is to be sent already, while a bucket is being written; each part names its tenant.
    pub fn take_full_parts(&mut self) -> Vec<Part> {
        self.tenants.take_full_parts()
    }

    /// What is to be sent; each part names its tenant.
    pub fn take_parts(&mut self) -> Vec<Part> {
        self.tenants.take_parts()
    }

    /// What was counted since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// The beginning of a line that was refused for that reason in the open bucket, if one was.
    pub fn example(&self, reason: Reason) -> Option<&str> {
        self.examples[reason as usize].as_deref()
    }

    /// How many contexts there are.
    pub fn contexts(&self) -> u32 {
        self.tenants.contexts()
    }

    /// The figures of every tenant, with so many of its names that have the most contexts.
    pub fn figures(&self, names: usize) -> Vec<TenantFigures> {
        let mut figures: Vec<_> = self.tenants.figures().collect();
        self.contexts.count_names(&mut figures, names);
        figures.into_iter().map(|(_, figures)| figures).collect()
    }
}
