//! The daemon's own log: on standard error, for people on a terminal and as JSON otherwise, and quiet about what it
//! has just said. A tenant whose key is revoked fails with every payload; its first failures tell everything, the rest
//! are counted.

use crate::settings::{Log, LogFormat};
use std::collections::HashMap;
use std::fmt;
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt as form};

/// The target of the reports about what was left out; these are never left out themselves.
const REPORTS: &str = "dogsled::log";

/// How long similar warnings are counted together.
const WINDOW: Duration = Duration::from_secs(10);

/// How many similar warnings are written in that time.
const BURST: u64 = 5;

/// The most kinds of warnings that are counted at once; any beyond are all written.
const MAX_KINDS: usize = 4_096;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The configured level is no list of directives.
    #[error("log.level: {level:?} is no level and no list of directives: {source}")]
    Level {
        /// As configured.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another log was set up before.
    #[error("the log is set up already: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up the log of this process; to be called once.
///
/// # Errors
/// When the level is no list of directives, or a log was set up before.
pub fn init(log: &Log) -> Result<(), LoggingError> {
    let filter: EnvFilter =
        log.level.parse().map_err(|source| LoggingError::Level { level: log.level.clone(), source })?;
    let is_terminal = stderr().is_terminal();
    let human = match log.format {
        LogFormat::Auto => is_terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let quiet = Quiet::new(Instant::now);
    let registry = tracing_subscriber::registry().with(filter);
    if human {
        let ansi = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        registry.with(form::layer().with_writer(stderr).with_ansi(ansi)).with(quiet).try_init()?;
    } else {
        registry.with(form::layer().with_writer(stderr).json().flatten_event(true)).with(quiet).try_init()?;
    }
    Ok(())
}

/// A layer that lets the first warnings and errors of a place in the code and a tenant through, leaves out the rest
/// for a while, and reports how many those were, with the next message of any kind.
struct Quiet<C> {
    counts: Mutex<Counts<Kind>>,
    clock: C,
}

/// What makes messages similar.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    callsite: Identifier,
    tenant: Option<String>,
}

/// The tenant that a span is about.
struct SpanTenant(String);

impl<C: Fn() -> Instant> Quiet<C> {
    fn new(clock: C) -> Self {
        Self { counts: Mutex::default(), clock }
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts<Kind>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S, C> Layer<S> for Quiet<C>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    C: Fn() -> Instant + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut tenant = FindTenant(None);
        attributes.record(&mut tenant);
        if let (Some(tenant), Some(span)) = (tenant.0, context.span(id)) {
            span.extensions_mut().insert(SpanTenant(tenant));
        }
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == REPORTS {
            return true;
        }
        let mut tenant = FindTenant(None);
        event.record(&mut tenant);
        let from_span =
            || context.event_scope(event)?.find_map(|span| Some(span.extensions().get::<SpanTenant>()?.0.clone()));
        let kind = Kind { callsite: metadata.callsite(), tenant: tenant.0.or_else(from_span) };
        self.counts().admit(kind, (self.clock)())
    }

    fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {
        // The lock is released before anything is written, which comes back here.
        let due = self.counts().due((self.clock)());
        for (kind, suppressed) in due {
            let metadata: &Metadata<'_> = kind.callsite.0.metadata();
            let place = format_args!("{}:{}", metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0));
            tracing::warn!(
                target: REPORTS, suppressed, tenant = kind.tenant.as_deref(), place = %place, "similar messages were left out"
            );
        }
    }
}

/// Finds the field `tenant`.
struct FindTenant(Option<String>);

impl Visit for FindTenant {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "tenant" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "tenant" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

/// Counts what is similar, in windows of time that begin with the first of a kind.
#[derive(Debug)]
struct Counts<K> {
    kinds: HashMap<K, Count>,
    next_sweep: Option<Instant>,
}

#[derive(Debug)]
struct Count {
    begun: Instant,
    seen: u64,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self { kinds: HashMap::new(), next_sweep: None }
    }
}

impl<K: Eq + std::hash::Hash> Counts<K> {
    /// Whether one more of this kind is to be written.
    fn admit(&mut self, kind: K, now: Instant) -> bool {
        if self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(&kind) {
            return true;
        }
        self.next_sweep.get_or_insert(now + WINDOW);
        let count = self.kinds.entry(kind).or_insert(Count { begun: now, seen: 0 });
        count.seen += 1;
        // A window that is over was not reported yet: this message, when written, lets the report follow.
        count.seen <= BURST || now.duration_since(count.begun) >= WINDOW
    }

    /// Ends the windows that are over: the kinds of which something was left out, and how many.
    fn due(&mut self, now: Instant) -> Vec<(K, u64)> {
        if self.next_sweep.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let is_over = |count: &Count| now.duration_since(count.begun) >= WINDOW;
        let over: Vec<_> = self.kinds.extract_if(|_, count| is_over(count)).collect();
        self.next_sweep = self.kinds.values().map(|count| count.begun + WINDOW).min();
        over.into_iter().filter_map(|(kind, count)| Some((kind, count.seen.checked_sub(BURST + 1)?))).collect()
    }
}
