//! What is kept of each tenant: how much it has, and what is to be sent of it.

use super::options::Limits;
use crate::types::{Kind, TenantId, UnixMillis};
use crate::wire::Part;
use crate::wire::ddsketch::Sketch;
use crate::wire::dogstatsd::Reason;
use bytes::Bytes;
use std::collections::HashMap;

/// A part is closed at this size: some thousand items, few enough that many tenants' flush does not need much memory at once.
const PART_BYTES: usize = 256 << 10;

/// How much heads and spellings of contexts may take, on average, of what a tenant's number of contexts allows.
const BYTES_A_CONTEXT: usize = 1024;

/// How many spellings of contexts are remembered, for each context that is allowed.
const SPELLINGS_A_CONTEXT: u32 = 4;

/// How many bytes of events and service checks of one tenant may wait for the next second.
const ITEM_BYTES: usize = 4 << 20;

/// All tenants that have sent anything.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    all: Vec<Tenant>,
    by_name: HashMap<TenantId, u32>,
    contexts: u32,
    samples: [u32; 2],
    limits: Limits,
    parts: Vec<Part>,
    /// Those with open runs.
    dirty: Vec<u32>,
}

#[derive(Debug)]
struct Tenant {
    id: TenantId,
    contexts: u32,
    spellings: u32,
    /// Bytes of heads and spellings.
    bytes: usize,
    /// Samples in the two buckets.
    samples: [u32; 2],
    /// Contexts that were dropped for the limit.
    refused: u64,
    item_bytes: usize,
    runs: [Run; 3],
    is_dirty: bool,
}

/// Items that become a part.
#[derive(Debug, Default)]
struct Run {
    bytes: Vec<u8>,
    items: u32,
    oldest: UnixMillis,
}

/// The kinds of the runs.
const RUNS: [Kind; 3] = [Kind::SeriesV2Proto, Kind::Sketches, Kind::CheckRun];

/// What a tenant has, and what fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantFigures {
    /// Whose.
    pub tenant: TenantId,
    /// Contexts at present.
    pub contexts: u32,
    /// New contexts that were dropped for the limit, so far.
    pub refused: u64,
    /// The names with the most contexts, the greatest first.
    pub names: Vec<NameFigures>,
}

/// A name and its contexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFigures {
    /// The metric's name.
    pub name: String,
    /// Its contexts at present.
    pub contexts: u32,
}

impl Tenants {
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The index of a tenant.
    pub fn index(&mut self, id: &str) -> Option<u32> {
        if let Some(index) = self.by_name.get(id) {
            return Some(*index);
        }
        let id = TenantId::new(id).ok()?;
        let index = u32::try_from(self.all.len()).ok()?;
        self.all.push(Tenant {
            id: id.clone(),
            contexts: 0,
            spellings: 0,
            bytes: 0,
            samples: [0; 2],
            refused: 0,
            item_bytes: 0,
            runs: Default::default(),
            is_dirty: false,
        });
        self.by_name.insert(id, index);
        Some(index)
    }

    /// Takes room for a context whose head has so many bytes.
    ///
    /// # Errors
    /// When there is none; that is counted.
    pub fn add_context(&mut self, index: u32, bytes: usize) -> Result<(), Reason> {
        let free = self.limits.contexts.saturating_sub(self.contexts);
        let most = self.limits.contexts_per_tenant;
        let tenant = &mut self.all[index as usize];
        if tenant.contexts >= most.min(free) || tenant.bytes + bytes > most as usize * BYTES_A_CONTEXT {
            tenant.refused += 1;
            return Err(Reason::ContextLimit);
        }
        tenant.contexts += 1;
        tenant.bytes += bytes;
        self.contexts += 1;
        Ok(())
    }

    pub fn remove_context(&mut self, index: u32, bytes: usize) {
        let tenant = &mut self.all[index as usize];
        tenant.contexts -= 1;
        tenant.bytes -= bytes;
        self.contexts -= 1;
    }

    /// Takes room for a spelling. Without it the line is taken all the same, at a higher price.
    pub fn add_spelling(&mut self, index: u32, bytes: usize) -> bool {
        let most = self.limits.contexts_per_tenant;
        let tenant = &mut self.all[index as usize];
        let fits = tenant.spellings < most.saturating_mul(SPELLINGS_A_CONTEXT)
            && tenant.bytes + bytes <= most as usize * BYTES_A_CONTEXT;
        if fits {
            tenant.spellings += 1;
            tenant.bytes += bytes;
        }
        fits
    }

    pub fn remove_spelling(&mut self, index: u32, bytes: usize) {
        let tenant = &mut self.all[index as usize];
        tenant.spellings -= 1;
        tenant.bytes -= bytes;
    }

    /// What the tenant may still put into a bucket.
    pub fn budget(&mut self, index: u32, slot: usize) -> Budget<'_> {
        let Limits { samples_per_tenant, samples, .. } = self.limits;
        Budget {
            used: &mut self.all[index as usize].samples[slot],
            total: &mut self.samples[slot],
            most: samples_per_tenant,
            most_total: samples,
        }
    }

    /// A bucket is empty again.
    pub fn end_bucket(&mut self, slot: usize) {
        self.samples[slot] = 0;
        self.all.iter_mut().for_each(|tenant| tenant.samples[slot] = 0);
    }

    /// Appends an item to what is to be sent of a tenant.
    pub fn write(&mut self, index: u32, kind: Kind, time: UnixMillis, write: impl FnOnce(&mut Vec<u8>)) {
        let tenant = &mut self.all[index as usize];
        if !std::mem::replace(&mut tenant.is_dirty, true) {
            self.dirty.push(index);
        }
        let Some(at) = RUNS.iter().position(|other| *other == kind) else { return };
        let run = &mut tenant.runs[at];
        if run.items > 0 {
            run.bytes.extend_from_slice(kind.separator());
        }
        write(&mut run.bytes);
        run.oldest = if run.items == 0 { time } else { run.oldest.min(time) };
        run.items += 1;
        if run.bytes.len() >= PART_BYTES || run.items >= kind.limits().items {
            self.parts.push(run.close(&tenant.id, kind));
        }
    }

    /// Takes room for an event or service check of so many bytes.
    ///
    /// # Errors
    /// When there is none.
    pub fn add_item(&mut self, index: u32, bytes: usize) -> Result<(), Reason> {
        let tenant = &mut self.all[index as usize];
        if tenant.item_bytes + bytes > ITEM_BYTES {
            return Err(Reason::EventLimit);
        }
        tenant.item_bytes += bytes;
        if !std::mem::replace(&mut tenant.is_dirty, true) {
            self.dirty.push(index);
        }
        Ok(())
    }

    /// Appends an event, which is a part of its own.
    pub fn push_event(&mut self, index: u32, time: UnixMillis, event: Vec<u8>) {
        let tenant = Some(self.all[index as usize].id.to_string());
        self.parts.push(Part { tenant, kind: Kind::EventV1, items: 1, oldest: time, bytes: event.into() });
    }

    /// What is to be sent of those whose runs are full.
    pub fn take_full_parts(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }

    /// Everything that is to be sent.
    pub fn take_parts(&mut self) -> Vec<Part> {
        for index in std::mem::take(&mut self.dirty) {
            let tenant = &mut self.all[index as usize];
            tenant.is_dirty = false;
            tenant.item_bytes = 0;
            for (run, kind) in tenant.runs.iter_mut().zip(RUNS) {
                if run.items > 0 {
                    self.parts.push(run.close(&tenant.id, kind));
                }
            }
        }
        std::mem::take(&mut self.parts)
    }

    /// How many contexts there are.
    pub fn contexts(&self) -> u32 {
        self.contexts
    }

    /// The figures of all tenants that have anything, without names; by index.
    pub fn figures(&self) -> impl Iterator<Item = (u32, TenantFigures)> {
        let with_any = self.all.iter().zip(0_u32..).filter(|(tenant, _)| tenant.contexts > 0 || tenant.refused > 0);
        with_any.map(|(tenant, index)| {
            let Tenant { id, contexts, refused, .. } = tenant;
            (index, TenantFigures { tenant: id.clone(), contexts: *contexts, refused: *refused, names: Vec::new() })
        })
    }
}

impl Run {
    fn close(&mut self, tenant: &TenantId, kind: Kind) -> Part {
        let Self { mut bytes, items, oldest } = std::mem::take(self);
        bytes.shrink_to_fit();
        Part { tenant: Some(tenant.to_string()), kind, items, oldest, bytes: Bytes::from(bytes) }
    }
}

/// What a tenant may still put into a bucket.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    used: &'a mut u32,
    total: &'a mut u32,
    most: u32,
    most_total: u32,
}

impl Budget<'_> {
    /// Takes room for so many samples, if there is room.
    pub fn claim(&mut self, samples: usize) -> bool {
        let samples = u32::try_from(samples).unwrap_or(u32::MAX);
        let free = self.most_total.saturating_sub(*self.total);
        let fits = self.used.saturating_add(samples) <= self.most.min(free);
        if fits {
            *self.used += samples;
            *self.total += samples;
        }
        fits
    }

    pub fn give_back(&mut self, samples: usize) {
        let samples = u32::try_from(samples).unwrap_or(u32::MAX);
        *self.used = self.used.saturating_sub(samples);
        *self.total = self.total.saturating_sub(samples);
    }

    /// Inserts into a sketch, which may grow by one.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn grow(&mut self, sketch: &mut Sketch, insert: impl FnOnce(&mut Sketch)) -> Result<(), Reason> {
        if !self.claim(1) {
            return Err(Reason::SampleLimit);
        }
        let before = sketch.len();
        insert(sketch);
        self.give_back((before + 1).saturating_sub(sketch.len()));
        Ok(())
    }
}
