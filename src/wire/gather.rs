//! Gathers items into parts: one run a tenant, cut at the kind's limits, copied only where it must be.

use super::edits::Edits;
use super::part::{Invalid, Owner, Part, Refusal, Split};
use crate::types::{Kind, UnixMillis};
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Range;

/// What a format's scanner has read of one item.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    /// The tenant that its tag names.
    pub tenant: Option<std::borrow::Cow<'a, str>>,
    /// Its own timestamp.
    pub time: Option<UnixMillis>,
}

/// Collects the items of one body, in order.
pub(super) struct Gatherer<'a> {
    body: &'a Bytes,
    kind: Kind,
    now: UnixMillis,
    parts: Vec<Part>,
    runs: Vec<Run>,
    /// The index of each tenant's run; items without a tenant have their own.
    by_tenant: HashMap<String, usize>,
    untagged: Option<usize>,
    /// The run of the previous item: successive items mostly belong to one tenant.
    last: usize,
    next_item: usize,
    /// The item that is not adjacent to the previous one.
    interrupted_at: usize,
    /// What Datadog would refuse; rare, so that its owners are searched from the start.
    aside: Vec<Aside>,
}

/// The items of one owner that are set aside.
struct Aside {
    owner: Owner,
    is_readable: bool,
    items: u32,
    fault: Refusal,
    more_faults: Vec<Refusal>,
    bytes: Vec<u8>,
}

/// The open part of one tenant.
struct Run {
    tenant: Option<String>,
    items: u32,
    oldest: UnixMillis,
    content: Content,
}

enum Content {
    /// A range of the body, whose last item has this index.
    Shared(Range<usize>, usize),
    Own(Vec<u8>),
}

impl Run {
    fn len(&self) -> usize {
        match &self.content {
            Content::Shared(range, _) => range.len(),
            Content::Own(bytes) => bytes.len(),
        }
    }
}

impl<'a> Gatherer<'a> {
    /// Starts without items.
    pub fn new(kind: Kind, body: &'a Bytes, now: UnixMillis) -> Self {
        Self {
            body,
            kind,
            now,
            parts: Vec::new(),
            runs: Vec::new(),
            by_tenant: HashMap::new(),
            untagged: None,
            last: 0,
            next_item: 0,
            interrupted_at: 0,
            aside: Vec::new(),
        }
    }

    /// The index of the next item.
    pub fn next_item(&self) -> usize {
        self.next_item
    }

    /// Notes that something other than a separator precedes the next item in the body.
    pub fn interrupt(&mut self) {
        self.interrupted_at = self.next_item;
    }

    /// Takes an item of the body, changed by `edits`.
    pub fn take(&mut self, range: Range<usize>, edits: &mut Edits, found: &Found<'_>) {
        if edits.is_empty() {
            return self.share(range, found);
        }
        let body = self.body;
        self.write(range.clone(), found, |out| edits.apply(body, range, out))
    }

    /// Takes an unchanged item of the body.
    fn share(&mut self, range: Range<usize>, found: &Found<'_>) {
        let item = self.next_item;
        let index = self.run_of(found.tenant.as_deref());
        let limits = self.kind.limits();
        let frame = self.frame();
        let interrupted = self.interrupted_at == item;
        let run = &mut self.runs[index];
        if run.items == 0 {
            if range.len() + frame > limits.uncompressed {
                return self.set_aside_too_large(range.clone(), range.len() + frame, found);
            }
            run.content = Content::Shared(range, item);
        } else {
            match &mut run.content {
                Content::Shared(shared, last)
                    if *last + 1 == item
                        && !interrupted
                        && run.items < limits.items
                        && range.end - shared.start + frame <= limits.uncompressed =>
                {
                    shared.end = range.end;
                    *last = item;
                }
                // The next part may be shared again.
                Content::Shared(_, last) if *last + 1 == item && !interrupted => {
                    self.close(index);
                    return self.share(range, found);
                }
                _ => {
                    let body = self.body;
                    return self.write(range.clone(), found, |out| out.extend_from_slice(&body[range]));
                }
            }
        }
        self.count(index, found.time);
    }

    /// Takes an item that `write` appends; `source` is the range of the body that it is made from.
    pub fn write(&mut self, source: Range<usize>, found: &Found<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        let index = self.run_of(found.tenant.as_deref());
        let limits = self.kind.limits();
        if self.runs[index].items >= limits.items {
            self.close(index);
        }
        let frame = self.frame();
        let alone = self.runs.len() == 1;
        let run = &mut self.runs[index];
        if let Content::Shared(range, _) = &run.content {
            let shared = &self.body[range.clone()];
            // The rest of the body mostly goes into the only run; of many runs each grows as needed.
            let left = if alone { self.body.len() - source.start } else { source.len() * 4 };
            let left = left.min(source.len().saturating_mul(2 * limits.items as usize));
            let grown = left + left / 8 + 128;
            let mut own = Vec::with_capacity((shared.len() + grown).min(limits.uncompressed));
            own.extend_from_slice(shared);
            run.content = Content::Own(own);
        }
        let Content::Own(out) = &mut run.content else { return };
        let before = out.len();
        if run.items > 0 {
            out.extend_from_slice(self.kind.separator());
        }
        let start = out.len();
        write(out);
        let length = out.len() - start;
        if length + frame > limits.uncompressed {
            out.truncate(before);
            return self.set_aside_too_large(source, length + frame, found);
        }
        if out.len() + frame > limits.uncompressed {
            let over = out.split_off(start);
            out.truncate(before);
            self.close(index);
            self.runs[index].content = Content::Own(over);
        }
        self.count(index, found.time);
    }

    /// Sets aside an item that Datadog would refuse. `is_readable` unless it is not of its format.
    pub fn set_aside(&mut self, item: Range<usize>, owner: Owner, fault: Refusal, is_readable: bool) {
        self.next_item += 1;
        let bytes = &self.body[item];
        let known = self.aside.iter_mut().find(|aside| aside.owner == owner && aside.is_readable == is_readable);
        let Some(aside) = known else {
            let (more_faults, bytes) = (Vec::new(), bytes.to_vec());
            return self.aside.push(Aside { owner, is_readable, items: 1, fault, more_faults, bytes });
        };
        aside.bytes.extend_from_slice(self.kind.separator());
        aside.bytes.extend_from_slice(bytes);
        aside.items += 1;
        if aside.more_faults.len() < Invalid::TOLD {
            aside.more_faults.push(fault);
        }
    }

    fn set_aside_too_large(&mut self, item: Range<usize>, bytes: usize, found: &Found<'_>) {
        let limit = self.kind.limits().uncompressed;
        let fault = Refusal::TooLarge { item: self.next_item, kind: self.kind, bytes, limit };
        let owner = found.tenant.as_deref().map_or(Owner::Sender, |tenant| Owner::Tenant(tenant.to_owned()));
        self.set_aside(item, owner, fault, true);
    }

    /// All items; those of one tenant in their order.
    pub fn finish(mut self) -> Split {
        for index in 0..self.runs.len() {
            self.close(index);
        }
        let kind = self.kind;
        let invalid = self.aside.into_iter().map(|Aside { owner, items, fault, more_faults, bytes, .. }| Invalid {
            owner,
            kind,
            items,
            fault,
            more_faults,
            bytes: bytes.into(),
        });
        Split { parts: self.parts, invalid: invalid.collect() }
    }

    /// The bytes of a request body besides the items.
    fn frame(&self) -> usize {
        self.kind.prefix().len() + self.kind.suffix().len()
    }

    fn count(&mut self, index: usize, time: Option<UnixMillis>) {
        let run = &mut self.runs[index];
        let time = time.unwrap_or(self.now);
        run.oldest = if run.items == 0 { time } else { run.oldest.min(time) };
        run.items += 1;
        self.last = index;
        self.next_item += 1;
    }

    /// The index of the tenant's run, opened at first use.
    fn run_of(&mut self, tenant: Option<&str>) -> usize {
        if self.runs.get(self.last).is_some_and(|run| run.tenant.as_deref() == tenant) {
            return self.last;
        }
        let known = match tenant {
            Some(tenant) => self.by_tenant.get(tenant).copied(),
            None => self.untagged,
        };
        known.unwrap_or_else(|| {
            let index = self.runs.len();
            match tenant {
                Some(tenant) => drop(self.by_tenant.insert(tenant.to_owned(), index)),
                None => self.untagged = Some(index),
            }
            let content = Content::Shared(0..0, 0);
            self.runs.push(Run { tenant: tenant.map(str::to_owned), items: 0, oldest: self.now, content });
            index
        })
    }

    /// Turns the run into a part, and empties it.
    fn close(&mut self, index: usize) {
        let run = &mut self.runs[index];
        if run.items == 0 {
            return;
        }
        let length = run.len();
        let bytes = match std::mem::replace(&mut run.content, Content::Shared(0..0, 0)) {
            // Few items must not keep the memory of their whole body for as long as they are queued.
            Content::Shared(range, _) if length < self.body.len() / 2 => Bytes::copy_from_slice(&self.body[range]),
            Content::Shared(range, _) => self.body.slice(range),
            Content::Own(mut own) => {
                // The queue holds parts for long: unused capacity is released.
                if own.capacity() - length > length / 8 {
                    own.shrink_to_fit();
                }
                own.into()
            }
        };
        let items = std::mem::take(&mut run.items);
        self.parts.push(Part { tenant: run.tenant.clone(), kind: self.kind, items, oldest: run.oldest, bytes });
    }
}
