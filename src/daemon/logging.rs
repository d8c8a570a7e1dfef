//! The daemon's own log: on standard error, for people on a terminal and as JSON otherwise, and quiet about what it
//! has just said. A tenant whose key is revoked fails with every payload; its first failures tell everything, the rest
//! are counted.

use super::log_writer::{LogWriter, REPORTS};
use crate::settings::{self, LogFormat};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, IsTerminal, stderr};
use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt as form;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

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
    /// There is no thread to write it.
    #[error("the log cannot be written: {0}")]
    Writer(#[from] io::Error),
    /// Another log was set up before.
    #[error("the log is set up already: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// The log of this process. The end of the value waits a moment for the last lines to be written.
#[derive(Debug)]
pub struct Log {
    /// What is logged.
    pub levels: Levels,
    writer: LogWriter,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.writer.flush_within_a_moment();
    }
}

/// What is logged, to be changed while the process runs.
#[derive(Debug, Clone)]
pub struct Levels(reload::Handle<Targets, Registry>);

impl Levels {
    /// Logs by another level, or list of directives, from now on.
    ///
    /// # Errors
    /// When it is none; nothing has changed then.
    pub fn set(&self, level: &str) -> Result<(), LoggingError> {
        let filter = filter(level)?;
        // It fails only when the log is gone, and there is nobody to tell then.
        let _ = self.0.reload(filter);
        Ok(())
    }
}

fn filter(level: &str) -> Result<Targets, LoggingError> {
    level.parse().map_err(|source| LoggingError::Level { level: level.to_owned(), source })
}

/// Sets up the log of this process, to which panics are told from then on too; to be called once, after the recorder of
/// metrics is installed.
///
/// # Errors
/// When the level is no list of directives, the system gives no thread, or a log was set up before.
#[expect(clippy::disallowed_methods, reason = "what is left out of a log is a matter of real time")]
pub fn init(log: &settings::Log) -> Result<Log, LoggingError> {
    let (filter, levels) = reload::Layer::new(filter(&log.level)?);
    let is_terminal = stderr().is_terminal();
    let human = match log.format {
        LogFormat::Auto => is_terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let quiet = Quiet::new(Instant::now);
    let writer = LogWriter::stderr()?;
    let lines = writer.clone();
    let output = move || lines.clone();
    let registry = tracing_subscriber::registry().with(filter);
    if human {
        let ansi = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        registry.with(form::layer().with_writer(output).with_ansi(ansi)).with(quiet).try_init()?;
    } else {
        registry.with(form::layer().with_writer(output).json().flatten_event(true)).with(quiet).try_init()?;
    }
    panic::set_hook(Box::new(log_panic));
    Ok(Log { levels: Levels(levels), writer })
}

/// Written by the standard hook, a panic would wait for whoever reads standard error.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(tracing::field::display);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&backtrace));
    tracing::error!(place, backtrace, "panicked: {}", panic.payload_as_str().unwrap_or("with no message"));
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
    open: HashMap<K, Count>,
    /// When the first of the open windows ends.
    next_end: Option<Instant>,
    /// Windows that ended with something left out, and how much.
    ended: Vec<(K, u64)>,
}

#[derive(Debug)]
struct Count {
    begun: Instant,
    written: u64,
    suppressed: u64,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self { open: HashMap::new(), next_end: None, ended: Vec::new() }
    }
}

impl<K: Eq + std::hash::Hash> Counts<K> {
    /// Whether one more of this kind is to be written.
    fn admit(&mut self, kind: K, now: Instant) -> bool {
        self.end_windows(now);
        if self.open.len() >= MAX_KINDS && !self.open.contains_key(&kind) {
            return true;
        }
        self.next_end.get_or_insert(now + WINDOW);
        let count = self.open.entry(kind).or_insert(Count { begun: now, written: 0, suppressed: 0 });
        if count.written < BURST {
            count.written += 1;
            return true;
        }
        count.suppressed += 1;
        false
    }

    /// What was left out in the windows that ended since this was asked last.
    fn due(&mut self, now: Instant) -> Vec<(K, u64)> {
        self.end_windows(now);
        std::mem::take(&mut self.ended)
    }

    fn end_windows(&mut self, now: Instant) {
        if self.next_end.is_none_or(|at| now < at) {
            return;
        }
        let over = self.open.extract_if(|_, count| now.duration_since(count.begun) >= WINDOW);
        self.ended.extend(over.filter(|(_, count)| count.suppressed > 0).map(|(kind, count)| (kind, count.suppressed)));
        self.next_end = self.open.values().map(|count| count.begun + WINDOW).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tracing_subscriber::filter::LevelFilter;

    #[test]
    fn a_burst_is_written_and_the_rest_of_the_window_counted() {
        let (start, mut counts) = (Instant::now(), Counts::default());
        let admitted = (0..20).filter(|_| counts.admit("a", start)).count();
        assert_eq!(admitted, 5);
        assert!(counts.admit("b", start), "another kind has a burst of its own");
        assert_eq!(counts.due(start + WINDOW / 2), []);
        assert_eq!(counts.due(start + WINDOW), [("a", 15)]);
        assert_eq!(counts.due(start + WINDOW * 2), [], "reported once");
        assert!(counts.admit("a", start + WINDOW * 2));
    }

    #[test]
    fn a_window_begins_with_the_first_of_its_kind() {
        let (start, mut counts) = (Instant::now(), Counts::default());
        let second = Duration::from_secs(1);
        assert!(counts.admit("a", start));
        for _ in 0..6 {
            counts.admit("b", start + second);
        }
        assert_eq!(counts.due(start + WINDOW), []);
        assert_eq!(counts.due(start + WINDOW + second), [("b", 1)]);
    }

    #[test]
    fn the_memory_for_counting_is_bounded_and_beyond_it_all_is_written() {
        let (start, mut counts) = (Instant::now(), Counts::default());
        for kind in 0..MAX_KINDS * 2 {
            for _ in 0..=BURST {
                counts.admit(kind, start);
            }
        }
        assert_eq!(counts.open.len(), MAX_KINDS);
        assert!(counts.admit(MAX_KINDS + 1, start));
        assert_eq!(counts.due(start + WINDOW).len(), MAX_KINDS);
        assert!(counts.open.is_empty());
    }

    #[test]
    fn a_bad_directive_is_an_error_that_names_it() {
        let error = init(&settings::Log { level: "info,dogsled=loud".into(), format: LogFormat::Json }).unwrap_err();
        assert!(error.to_string().starts_with("log.level: \"info,dogsled=loud\""), "{error}");
    }

    /// A log is a matter of the whole process, hence one for this test alone.
    #[test]
    fn a_flood_of_one_tenant_is_cut_and_reported_and_others_are_heard() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "daemon::logging::tests::writes_a_flood"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        let with = |needle: &str| text.lines().filter(|line| line.contains(needle)).count();
        assert_eq!(with("refused"), 5 + 1, "{text}");
        assert_eq!(with("\"tenant\":\"loud\",\"place\":"), 1, "{text}");
        assert_eq!(with("\"suppressed\":45"), 1, "{text}");
        assert_eq!(with("in a span"), 5 + 1, "{text}");
        assert_eq!(with("tick"), 50, "{text}");
    }

    #[test]
    #[ignore = "run by the test above, in a process of its own"]
    fn writes_a_flood() {
        let seconds = Arc::new(AtomicU64::new(0));
        let (start, clock) = (Instant::now(), Arc::clone(&seconds));
        let quiet = Quiet::new(move || start + Duration::from_secs(clock.load(Ordering::Relaxed)));
        let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
        registry.with(form::layer().with_writer(stderr).json().flatten_event(true)).with(quiet).init();
        let refuse = |tenant: &str| tracing::error!(tenant, "refused");
        for round in 0..50 {
            refuse("loud");
            let _span = tracing::info_span!("deliver", tenant = if round == 7 { "c" } else { "d" }).entered();
            tracing::warn!("in a span");
            tracing::info!("tick");
        }
        refuse("quiet");
        seconds.store(11, Ordering::Relaxed);
        tracing::info!("later");
    }

    #[test]
    fn a_panic_is_a_line_of_the_log_and_the_last_lines_get_out() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "daemon::logging::tests::panics_and_ends"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["panicked: of fright", "the end"], "{text}");
        assert!(lines[0]["place"].as_str().unwrap().contains("logging.rs:"), "{text}");
    }

    #[test]
    #[ignore = "run by the test above, in a process of its own"]
    fn panics_and_ends() {
        let _log = init(&settings::Log { level: "info".into(), format: LogFormat::Json }).unwrap();
        assert!(std::thread::spawn(|| panic!("of {}", "fright")).join().is_err());
        tracing::info!("the end");
    }
}
