//! How a metric is declared: once, in the `metrics.rs` of the component that it is part of, by name, type and help.
//!
//! The rules of the [field](https://prometheus.io/docs/practices/naming/) hold because a name that breaks them does not
//! compile: the prefix, `_total` for counters alone, and the unit as the last word (base units only; without one, a count).
//! A component that counts makes its handles once, with [`handle`](Metric::handle) or [`with`](Metric::with), so that
//! series begin at zero; one whose figures are read at the scrape has them written with [`expose`](Metric::expose).

#![expect(clippy::disallowed_macros, reason = "the one place that the macros are called from")]

mod recorder;

pub use recorder::Recorder;

use metrics::{Counter, Gauge, Histogram, Label, SharedString, Unit};
use std::fmt::{Display, Write};
use std::marker::PhantomData;

const PANICS: Metric<Counter> =
    Metric::new("dogsled_panics_total", "Bugs in Dogsled that it survived, by the part that they were in");

/// Panics survived in a part of the program: common to all components.
pub(crate) fn panics(part: &'static str) -> Counter {
    PANICS.with(&[("part", part)])
}

/// A family of series: what is behind a name in `/metrics`.
#[derive(Debug)]
pub struct Metric<T> {
    name: &'static str,
    help: &'static str,
    instrument: PhantomData<fn() -> T>,
}

/// The types of metrics.
pub trait Instrument: Sized {
    /// As the text format calls it.
    const TYPE: &'static str;
    /// Tells the recorder what a name means.
    fn describe(name: &'static str, unit: Unit, help: &'static str);
    /// A handle to one series.
    fn register(name: &'static str, labels: Vec<Label>) -> Self;
}

impl<T: Instrument> Metric<T> {
    /// Declares a metric; for constants only, where a name that breaks the rules does not compile.
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        assert!(begins(name, "dogsled_"), "every metric has the prefix dogsled_");
        assert!(ends(name, "_total") == is(T::TYPE, "counter"), "counters, and only they, end in _total");
        assert!(!ends(name, "_count") && !ends(name, "_sum") && !ends(name, "_bucket"), "parts of a histogram");
        assert!(!help.is_empty() && !ends(help, "."), "help is a phrase without a full stop");
        Self { name, help, instrument: PhantomData }
    }

    /// The name of the family.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// A handle to the only series. Before the process's recorder is installed it counts nothing.
    pub fn handle(&self) -> T {
        self.with::<&str>(&[])
    }

    /// A handle to the series with these labels.
    pub fn with<V: Into<SharedString> + Clone>(&self, labels: &[(&'static str, V)]) -> T {
        T::describe(self.name, self.unit(), self.help);
        T::register(self.name, labels.iter().map(|(name, value)| Label::new(*name, value.clone())).collect())
    }

    /// Appends the family to an exposition, with the values of `labels` and the value of each series. The values of
    /// labels must need no escaping.
    pub fn expose<const N: usize, L: Display, V: Display>(
        &self,
        text: &mut String,
        labels: [&str; N],
        series: impl IntoIterator<Item = ([L; N], V)>,
    ) {
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP {0} {1}\n# TYPE {0} {2}\n", self.name, self.help, T::TYPE);
        for (values, value) in series {
            text.push_str(self.name);
            for (index, (label, of)) in labels.iter().zip(values).enumerate() {
                let _ = write!(text, "{}{label}=\"{of}\"", if index == 0 { '{' } else { ',' });
            }
            let _ = writeln!(text, "{} {value}", if N == 0 { "" } else { "}" });
        }
    }

    fn unit(&self) -> Unit {
        match self.name.strip_suffix("_total").unwrap_or(self.name).rsplit('_').next() {
            Some("seconds") => Unit::Seconds,
            Some("bytes") => Unit::Bytes,
            _ => Unit::Count,
        }
    }
}

impl Instrument for Counter {
    const TYPE: &'static str = "counter";

    fn describe(name: &'static str, unit: Unit, help: &'static str) {
        metrics::describe_counter!(name, unit, help);
    }

    fn register(name: &'static str, labels: Vec<Label>) -> Self {
        metrics::counter!(name, labels)
    }
}

impl Instrument for Gauge {
    const TYPE: &'static str = "gauge";

    fn describe(name: &'static str, unit: Unit, help: &'static str) {
        metrics::describe_gauge!(name, unit, help);
    }

    fn register(name: &'static str, labels: Vec<Label>) -> Self {
        metrics::gauge!(name, labels)
    }
}

impl Instrument for Histogram {
    const TYPE: &'static str = "histogram";

    fn describe(name: &'static str, unit: Unit, help: &'static str) {
        metrics::describe_histogram!(name, unit, help);
    }

    fn register(name: &'static str, labels: Vec<Label>) -> Self {
        metrics::histogram!(name, labels)
    }
}

const fn begins(text: &str, with: &str) -> bool {
    text.len() >= with.len() && is(text.split_at(with.len()).0, with)
}

const fn ends(text: &str, with: &str) -> bool {
    text.len() >= with.len() && is(text.split_at(text.len() - with.len()).1, with)
}

const fn is(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: Metric<Counter> = Metric::new("dogsled_items_total", "Items that were taken");
    const AGE: Metric<Gauge> = Metric::new("dogsled_age_seconds", "Age of the oldest item");

    #[test]
    fn exposed_series_follow_their_help_and_type() {
        let mut text = String::new();
        ITEMS.expose(&mut text, ["tenant", "kind"], [(["a", "logs"], 3), (["b", "logs"], 0)]);
        AGE.expose(&mut text, [], [([""; 0], "1.5")]);
        assert_eq!(
            text,
            "# HELP dogsled_items_total Items that were taken\n\
             # TYPE dogsled_items_total counter\n\
             dogsled_items_total{tenant=\"a\",kind=\"logs\"} 3\n\
             dogsled_items_total{tenant=\"b\",kind=\"logs\"} 0\n\
             # HELP dogsled_age_seconds Age of the oldest item\n\
             # TYPE dogsled_age_seconds gauge\n\
             dogsled_age_seconds 1.5\n"
        );
    }

    #[test]
    fn the_unit_is_the_last_word() {
        const BYTES: Metric<Counter> = Metric::new("dogsled_bytes_total", "Bytes sent");
        assert_eq!((ITEMS.unit(), AGE.unit(), BYTES.unit()), (Unit::Count, Unit::Seconds, Unit::Bytes));
    }
}
