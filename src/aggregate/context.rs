//! The contexts, found by the bytes of a line or by what identifies them.

use super::class::Class;
use super::head::Identity;
use super::slot::Slot;
use super::tenant::{NameFigures, TenantFigures, Tenants};
use crate::wire::dogstatsd::{MetricType, Reason};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};

/// A context: tenant, class, name, host and tags.
#[derive(Debug)]
pub(super) struct Context {
    /// What it gathers in the open bucket and has gathered in the closed one.
    pub slots: [Slot; 2],
    /// When the last sample arrived, in Unix seconds.
    pub seen: i64,
    /// From when until when a counter reports zeros; for other contexts both are 0.
    pub since: i64,
    pub zero_until: i64,
    /// The same of samples with timestamps of their own, ascending by time.
    pub timed: [Option<Box<Timed>>; 2],
    pub class: Class,
    /// Whether the first sample was a timer's.
    pub is_timer: bool,
    pub tenant: u32,
    pub name: u32,
    /// The distribution that gets every sample as well.
    pub copy: Option<u32>,
    /// How many contexts have this one as their copy.
    pub copied_by: u32,
    pub head: Box<[u8]>,
    pub split: u32,
    hash: u64,
    /// The last of its spellings that was remembered.
    spelling: Option<u32>,
}

/// What bears times of its own.
type Timed = Vec<(i64, Slot)>;

/// A way to write a context, as a line does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spelling<'a> {
    pub source: u16,
    pub metric_type: MetricType,
    pub name: &'a [u8],
    pub tags: &'a [u8],
}

/// A spelling that is remembered.
#[derive(Debug)]
struct Known {
    /// Name and tags.
    bytes: Box<[u8]>,
    hash: u64,
    name_length: u32,
    context: u32,
    /// The one of the same context that was remembered before.
    before: Option<u32>,
    source: u16,
    metric_type: MetricType,
}

/// A name of a tenant's metric.
#[derive(Debug)]
struct Name {
    text: Box<str>,
    hash: u64,
    tenant: u32,
    contexts: u32,
}

/// All contexts.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    /// Of a random seed: so that nobody can choose lines whose hashes are equal.
    hasher: RandomState,
    all: Slab<Context>,
    known: Slab<Known>,
    names: Slab<Name>,
    by_identity: HashTable<u32>,
    by_spelling: HashTable<u32>,
    by_name: HashTable<u32>,
}

impl Contexts {
    #[inline]
    pub fn hash(&self, spelling: &Spelling<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(u32::from(spelling.source) << 8 | spelling.metric_type as u32);
        hasher.write(spelling.name);
        hasher.write(spelling.tags);
        hasher.finish()
    }

    /// The context of a spelling that is remembered.
    #[inline]
    pub fn find(&self, hash: u64, spelling: &Spelling<'_>) -> Option<u32> {
        let known = |index: &u32| self.known.get(*index);
        let index = self.by_spelling.find(hash, |index| known(index).is_some_and(|known| known.is(hash, spelling)))?;
        known(index).map(|known| known.context)
    }

    /// The context of an identity, made if there is room for it.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(&mut self, tenant: u32, class: Class, identity: &Identity, tenants: &mut Tenants) -> Result<u32, Reason> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(u64::from(tenant) << 32 | class as u64);
        hasher.write(identity.name.as_bytes());
        hasher.write(&identity.head);
        let hash = hasher.finish();
        let same = |index: &u32| {
            self.all.get(*index).is_some_and(|context| {
                context.hash == hash
                    && context.tenant == tenant
                    && context.class == class
                    && context.split as usize == identity.split
                    && *context.head == *identity.head
                    && self.name(context.name) == identity.name
            })
        };
        if let Some(index) = self.by_identity.find(hash, same) {
            return Ok(*index);
        }
        tenants.add_context(tenant, identity.head.len())?;
        let name = self.use_name(tenant, &identity.name);
        let index = self.all.insert(Context {
            slots: Default::default(),
            seen: 0,
            since: 0,
            zero_until: 0,
            timed: Default::default(),
            class,
            is_timer: false,
            tenant,
            name,
            copy: None,
            copied_by: 0,
            head: identity.head.as_slice().into(),
            split: identity.split as u32,
            hash,
            spelling: None,
        });
        self.by_identity.insert_unique(hash, index, |index| self.all.get(*index).map_or(0, |context| context.hash));
        Ok(index)
    }

    /// Says what the first line of a context decides; what is decided stays.
    pub fn begin(&mut self, index: u32, is_timer: bool, copy: Option<u32>) {
        let Some(context) = self.all.get_mut(index).filter(|context| context.seen == 0) else { return };
        (context.is_timer, context.copy) = (is_timer, copy);
        if let Some(copy) = copy.and_then(|copy| self.all.get_mut(copy)) {
            copy.copied_by += 1;
        }
    }

    /// Remembers how a context was written.
    pub fn remember(&mut self, hash: u64, spelling: &Spelling<'_>, context: u32, tenants: &mut Tenants) {
        let Some(owner) = self.all.get_mut(context) else { return };
        let bytes = [spelling.name, spelling.tags].concat();
        if !tenants.add_spelling(owner.tenant, bytes.len()) {
            return;
        }
        let known = Known {
            bytes: bytes.into(),
            hash,
            name_length: spelling.name.len() as u32,
            context,
            before: owner.spelling,
            source: spelling.source,
            metric_type: spelling.metric_type,
        };
        let index = self.known.insert(known);
        owner.spelling = Some(index);
        self.by_spelling.insert_unique(hash, index, |index| self.known.get(*index).map_or(0, |known| known.hash));
    }

    /// Forgets a context and its spellings.
    pub fn remove(&mut self, index: u32, tenants: &mut Tenants) {
        let Some(context) = self.all.remove(index) else { return };
        remove(&mut self.by_identity, context.hash, index);
        let mut spelling = context.spelling;
        while let Some(known) = spelling.and_then(|index| self.forget(index)) {
            tenants.remove_spelling(context.tenant, known.bytes.len());
            spelling = known.before;
        }
        if let Some(copy) = context.copy.and_then(|copy| self.all.get_mut(copy)) {
            copy.copied_by -= 1;
        }
        tenants.remove_context(context.tenant, context.head.len());
        self.release_name(context.name);
    }

    fn forget(&mut self, index: u32) -> Option<Known> {
        let known = self.known.remove(index)?;
        remove(&mut self.by_spelling, known.hash, index);
        Some(known)
    }

    /// Forgets all spellings, which may mean other contexts from now on; `ends_zeros` of counters that are not counted on.
    /// The contexts are still found by what identifies them: a second one of the same identity would overwrite its points.
    pub fn forget_spellings(&mut self, ends_zeros: bool, tenants: &mut Tenants) {
        for index in 0..self.all.end() {
            let Some(context) = self.all.get_mut(index) else { continue };
            if ends_zeros {
                context.zero_until = 0;
            }
            let tenant = context.tenant;
            let mut spelling = context.spelling.take();
            while let Some(known) = spelling.and_then(|index| self.forget(index)) {
                tenants.remove_spelling(tenant, known.bytes.len());
                spelling = known.before;
            }
        }
    }

    pub fn get(&self, index: u32) -> Option<&Context> {
        self.all.get(index)
    }

    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Context> {
        self.all.get_mut(index)
    }

    /// The end of the indexes.
    pub fn end(&self) -> u32 {
        self.all.end()
    }

    /// The text of a name.
    pub fn name(&self, name: u32) -> &str {
        self.names.get(name).map_or("", |name| &name.text)
    }

    /// Puts the names with the most contexts beside each tenant's figures.
    pub fn count_names(&self, figures: &mut [(u32, TenantFigures)], most: usize) {
        for name in self.names.iter() {
            let Ok(at) = figures.binary_search_by_key(&name.tenant, |(index, _)| *index) else { continue };
            let names = &mut figures[at].1.names;
            let place = names.partition_point(|other| other.contexts >= name.contexts);
            if place < most {
                names.truncate(most - 1);
                names.insert(place, NameFigures { name: name.text.to_string(), contexts: name.contexts });
            }
        }
    }

    fn use_name(&mut self, tenant: u32, text: &str) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(tenant);
        hasher.write(text.as_bytes());
        let hash = hasher.finish();
        let same =
            |index: &u32| self.names.get(*index).is_some_and(|name| name.tenant == tenant && *name.text == *text);
        if let Some(index) = self.by_name.find(hash, same).copied() {
            if let Some(name) = self.names.get_mut(index) {
                name.contexts += 1;
            }
            return index;
        }
        let index = self.names.insert(Name { text: text.into(), hash, tenant, contexts: 1 });
        self.by_name.insert_unique(hash, index, |index| self.names.get(*index).map_or(0, |name| name.hash));
        index
    }

    fn release_name(&mut self, index: u32) {
        let Some(name) = self.names.get_mut(index) else { return };
        name.contexts -= 1;
        if name.contexts == 0 {
            let hash = name.hash;
            self.names.remove(index);
            remove(&mut self.by_name, hash, index);
        }
    }
}

impl Known {
    #[inline]
    fn is(&self, hash: u64, spelling: &Spelling<'_>) -> bool {
        self.hash == hash
            && self.source == spelling.source
            && self.metric_type == spelling.metric_type
            && self.name_length as usize == spelling.name.len()
            && self.bytes.len() == spelling.name.len() + spelling.tags.len()
            && self.bytes.starts_with(spelling.name)
            && self.bytes.ends_with(spelling.tags)
    }
}

impl Context {
    /// Notes that a sample of a counter arrived, which is followed by zeros for `expiry` seconds.
    #[inline]
    pub fn count_on(&mut self, now: i64, expiry: i64) {
        if self.zero_until == 0 {
            self.since = now;
        }
        self.zero_until = now + expiry;
    }

    /// What is gathered in a bucket at a time of its own.
    pub fn at(&mut self, slot: usize, timestamp: i64) -> &mut Slot {
        let timed = self.timed[slot].get_or_insert_default();
        let at = timed.partition_point(|(time, _)| *time < timestamp);
        if timed.get(at).is_none_or(|(time, _)| *time != timestamp) {
            timed.insert(at, (timestamp, Slot::Empty));
        }
        &mut timed[at].1
    }
}

/// Removes an entry of an index.
fn remove(table: &mut HashTable<u32>, hash: u64, index: u32) {
    if let Ok(entry) = table.find_entry(hash, |other| *other == index) {
        entry.remove();
    }
}

/// Values by indexes that are used again.
#[derive(Debug)]
struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = Some(value);
            return index;
        }
        let index = self.entries.len() as u32;
        self.entries.push(Some(value));
        index
    }

    fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.entries.get_mut(index as usize)?.take();
        if value.is_some() {
            self.free.push(index);
        }
        value
    }

    #[inline]
    fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.as_ref()
    }

    #[inline]
    fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flatten()
    }

    fn end(&self) -> u32 {
        self.entries.len() as u32
    }
}
