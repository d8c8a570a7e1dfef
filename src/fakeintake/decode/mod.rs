//! Splits request bodies into items and checks them as Datadog's intake does.
//! The checks follow the documentation and others' observations. It is not known where Datadog drops one series
//! silently and where it refuses the payload; the stand-in refuses the payload, for which a sender must be prepared.

mod checks;
mod events;
mod logs;
mod metrics;
mod protobuf;

use super::endpoint::Form;

/// The items of one accepted body.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// The number of items.
    pub(super) count: u64,
    /// Those over Datadog's limit for a single log, which it accepts and cuts.
    pub(super) cut: u64,
    /// Their text, when it was asked for.
    pub(super) texts: Option<Texts>,
}

/// JSON texts of items, one after another in one allocation.
#[derive(Debug, Default)]
pub(super) struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn push(&mut self, item: &str) {
        self.text.push_str(item);
        self.ends.push(self.text.len());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.ends.iter().scan(0, |start, &end| self.text.get(std::mem::replace(start, end)..end))
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Their size in memory.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * size_of::<usize>()
    }
}

impl Items {
    fn new(record: bool) -> Self {
        Self { texts: record.then(Texts::default), ..Self::default() }
    }

    fn push(&mut self, item: &str) {
        self.count += 1;
        if let Some(texts) = &mut self.texts {
            texts.push(item);
        }
    }

    /// Like [`Items::push`], for a text that is rendered.
    fn push_with(&mut self, item: impl FnOnce() -> String) {
        self.count += 1;
        if let Some(texts) = &mut self.texts {
            texts.push(&item());
        }
    }
}

/// Why a body is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Answered 400.
    Bad(String),
    /// Answered 413.
    TooMany(String),
}

impl From<serde_json::Error> for Refused {
    fn from(error: serde_json::Error) -> Self {
        Self::Bad(format!("Payload is not in the expected format: {error}"))
    }
}

/// The items of `body`, their texts too if `record`. `now` is in seconds since the epoch.
pub(super) fn items(form: Form, body: &[u8], now: i64, record: bool) -> Result<Items, Refused> {
    let mut items = Items::new(record);
    match form {
        Form::Series2Proto => protobuf::series(body, now, &mut items)?,
        Form::Sketches => protobuf::sketches(body, now, &mut items)?,
        _ => {
            let text = simdutf8::basic::from_utf8(body).map_err(|_| Refused::Bad("Payload is not UTF-8".into()))?;
            match form {
                Form::LogsText => logs::text(text, &mut items)?,
                // Connectivity checks of Agents and others.
                _ if matches!(text.trim(), "" | "{}") => {}
                Form::LogsJson => logs::json(text, &mut items)?,
                Form::Series1 => metrics::series1(text, now, &mut items)?,
                Form::Distributions => metrics::distributions(text, now, &mut items)?,
                Form::Event1 => events::event1(text, now, &mut items)?,
                Form::Event2 => events::event2(text, &mut items)?,
                Form::AgentIntake => events::agent_intake(text, &mut items)?,
                Form::CheckRun => checks::check_run(text, &mut items)?,
                _ => metrics::series2(text, now, &mut items)?,
            }
        }
    }
    Ok(items)
}
