//! Keeps what is counted in this process, and writes it in Prometheus' text format.

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, SetRecorderError, SharedString, Unit};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const BYTES: &[f64] = &[1e3, 4e3, 16e3, 64e3, 256e3, 512e3, 1e6, 2e6, 5e6];

/// A recorder of the `metrics` facade; clones share what they record.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<BTreeMap<String, Family>>>);

#[derive(Debug, Default)]
struct Family {
    help: SharedString,
    /// By their labels, as the text format writes them.
    series: BTreeMap<String, Series>,
}

#[derive(Debug, Clone)]
enum Series {
    Counter(Arc<AtomicU64>),
    /// The bits of a floating point number.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Buckets>),
}

#[derive(Debug)]
struct Buckets {
    bounds: &'static [f64],
    /// One more than bounds: the last is for what is above them all.
    counts: Vec<AtomicU64>,
    /// The bits of a floating point number.
    sum: AtomicU64,
}

impl Recorder {
    /// Makes one and installs it for the whole process.
    ///
    /// # Errors
    /// When there is one already.
    pub fn install() -> Result<Self, SetRecorderError<Self>> {
        let this = Self::default();
        metrics::set_global_recorder(this.clone())?;
        Ok(this)
    }

    /// All families that have series, by name.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, family) in self.families().iter() {
            let Some(first) = family.series.values().next() else { continue };
            // Writing to a String cannot fail.
            let _ = write!(text, "# HELP {name} {}\n# TYPE {name} {}\n", family.help, first.type_name());
            family.series.iter().for_each(|(labels, series)| series.render(&mut text, name, labels));
        }
        text
    }

    fn families(&self) -> MutexGuard<'_, BTreeMap<String, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, name: &KeyName, help: SharedString) {
        self.families().entry(name.as_str().to_owned()).or_default().help = help;
    }

    fn register(&self, key: &Key, new: impl FnOnce() -> Series) -> Series {
        let mut labels = String::new();
        for label in key.labels() {
            let comma = if labels.is_empty() { "" } else { "," };
            let value = label.value().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(labels, "{comma}{}=\"{value}\"", label.key());
        }
        let mut families = self.families();
        let family = families.entry(key.name().to_owned()).or_default();
        family.series.entry(labels).or_insert_with(new).clone()
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.register(key, || Series::Counter(Arc::default())) {
            Series::Counter(counter) => Counter::from_arc(counter),
            _ => Counter::noop(), // the name is another type's
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.register(key, || Series::Gauge(Arc::default())) {
            Series::Gauge(gauge) => Gauge::from_arc(gauge),
            _ => Gauge::noop(), // the name is another type's
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let bounds = if key.name().ends_with("_bytes") { BYTES } else { SECONDS };
        match self.register(key, || Series::Histogram(Arc::new(Buckets::new(bounds)))) {
            Series::Histogram(buckets) => Histogram::from_arc(buckets),
            _ => Histogram::noop(), // the name is another type's
        }
    }
}

impl Series {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }

    fn render(&self, text: &mut String, name: &str, labels: &str) {
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = match self {
            Self::Counter(count) => writeln!(text, "{name}{braced} {}", count.load(Ordering::Relaxed)),
            Self::Gauge(bits) => writeln!(text, "{name}{braced} {}", f64::from_bits(bits.load(Ordering::Relaxed))),
            Self::Histogram(buckets) => buckets.render(text, name, labels, &braced),
        };
    }
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, counts, sum: AtomicU64::default() }
    }

    fn render(&self, text: &mut String, name: &str, labels: &str, braced: &str) -> std::fmt::Result {
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        let mut total = 0;
        for (bound, count) in bounds.zip(&self.counts) {
            total += count.load(Ordering::Relaxed);
            writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}")?;
        }
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed));
        writeln!(text, "{name}_sum{braced} {sum}\n{name}_count{braced} {total}")
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // It never gives up: `add` always gives something.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_written_with_help_type_and_escaped_labels() {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            metrics::describe_counter!("b_total", "Counted");
            metrics::counter!("b_total", "x" => "a\"\\\n", "y" => "").increment(2);
            metrics::counter!("b_total", "x" => "a\"\\\n", "y" => "").increment(1);
            metrics::gauge!("a").set(1.5);
            metrics::describe_gauge!("never", "No series");
        });
        let text = "# HELP a \n# TYPE a gauge\na 1.5\n\
                    # HELP b_total Counted\n# TYPE b_total counter\nb_total{x=\"a\\\"\\\\\\n\",y=\"\"} 3\n";
        assert_eq!(recorder.render(), text);
    }

    #[test]
    fn buckets_are_cumulative_and_their_bounds_inclusive() {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            [0.005, 0.0051, 29.0, 31.0]
                .iter()
                .for_each(|value| metrics::histogram!("t_seconds", "k" => "v").record(*value));
            metrics::histogram!("s_bytes").record(1000.0);
        });
        let text = recorder.render();
        for line in [
            "t_seconds_bucket{k=\"v\",le=\"0.005\"} 1",
            "t_seconds_bucket{k=\"v\",le=\"0.01\"} 2",
            "t_seconds_bucket{k=\"v\",le=\"30\"} 3",
            "t_seconds_bucket{k=\"v\",le=\"+Inf\"} 4",
            "t_seconds_sum{k=\"v\"} 60.0101",
            "t_seconds_count{k=\"v\"} 4",
            "s_bytes_bucket{le=\"1000\"} 1",
            "s_bytes_sum 1000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn a_name_used_as_another_type_counts_nothing() {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("a").increment(1);
            metrics::gauge!("a").set(5.0);
        });
        assert!(recorder.render().ends_with("\na 1\n"));
    }
}
