//! What a body is split into, and why one is refused.

/// The items of one accepted body.
#[derive(Debug, Default)]
pub(in crate::fakeintake) struct Items {
    /// The number of items.
    pub(in crate::fakeintake) count: u64,
    /// Those over Datadog's limit for a single log, which it accepts and cuts.
    pub(in crate::fakeintake) cut: u64,
    /// Their text, when it was asked for.
    pub(in crate::fakeintake) texts: Option<Texts>,
}

/// JSON texts of items, one after another in one allocation.
#[derive(Debug, Default)]
pub(in crate::fakeintake) struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    pub(in crate::fakeintake) fn push(&mut self, item: &str) {
        self.text.push_str(item);
        self.ends.push(self.text.len());
    }

    pub(in crate::fakeintake) fn iter(&self) -> impl Iterator<Item = &str> {
        self.ends.iter().scan(0, |start, &end| self.text.get(std::mem::replace(start, end)..end))
    }

    pub(in crate::fakeintake) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Their size in memory.
    pub(in crate::fakeintake) fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * size_of::<usize>()
    }
}

impl Items {
    pub(super) fn new(record: bool) -> Self {
        Self { texts: record.then(Texts::default), ..Self::default() }
    }

    pub(super) fn push(&mut self, item: &str) {
        self.count += 1;
        if let Some(texts) = &mut self.texts {
            texts.push(item);
        }
    }

    /// Like [`Items::push`], for a text that is rendered.
    pub(super) fn push_with(&mut self, item: impl FnOnce() -> String) {
        self.count += 1;
        if let Some(texts) = &mut self.texts {
            texts.push(&item());
        }
    }
}

/// Why a body is refused.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::fakeintake) enum Refused {
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
