//! Service checks: an array of objects, or one object, which is what datadogpy sends.
//!
//! The published schema requires `tags` too, yet Datadog's own senders leave them out or send `null`, so that is accepted.

use super::dates;
use super::edits::Edits;
use super::gather::{Found, Gatherer};
use super::json::{Number, Scanner};
use super::part::{Context, Split, Stop, invalid, malformed};
use super::set_aside::set_aside;
use super::tags::{self, Search};
use crate::types::{Kind, UnixMillis};
use bytes::Bytes;

/// Splits check runs.
pub(super) fn split(body: &Bytes, context: &Context<'_>) -> Result<Split, Stop> {
    let mut scanner = Scanner::trusting(body);
    let mut gatherer = Gatherer::new(Kind::CheckRun, body, context.now);
    let mut edits = Edits::default();
    let mut take = |scanner: &mut Scanner<'_>| {
        let start = scanner.at();
        let mut check = Check::new(gatherer.next_item(), context.tenant_tag);
        edits.clear();
        if let Err(stop) = check.read(scanner, &mut edits) {
            return set_aside(scanner, start, stop, context.tenant_tag, &mut gatherer);
        }
        let found = Found { tenant: check.search.tenant, time: check.time };
        gatherer.take(start..scanner.at(), &mut edits, &found);
        Ok(())
    };
    scanner.white();
    match scanner.peek() {
        Some(b'[') => scanner.array(&mut take)?,
        Some(b'{') => take(&mut scanner)?,
        _ => return Err(malformed(scanner.at(), "expected an object or an array of objects")),
    }
    scanner.end()?;
    Ok(gatherer.finish())
}

/// The time of a check run.
pub(super) fn item_time(item: &[u8]) -> Option<UnixMillis> {
    let mut check = Check::new(0, None);
    check.read(&mut Scanner::trusting(item), &mut Edits::default()).ok()?;
    check.time
}

struct Check<'t, 'a> {
    item: usize,
    search: Search<'t, 'a>,
    time: Option<UnixMillis>,
}

impl<'t, 'a> Check<'t, 'a> {
    fn new(item: usize, tenant_tag: Option<&'t str>) -> Self {
        Self { item, search: Search::new(tenant_tag, item), time: None }
    }

    /// Reads and checks the object at the cursor.
    fn read(&mut self, scanner: &mut Scanner<'a>, edits: &mut Edits) -> Result<(), Stop> {
        let item = self.item;
        if scanner.peek() != Some(b'{') {
            scanner.skip()?;
            return Err(invalid(item, "a check run must be a JSON object"));
        }
        let (mut has_name, mut has_host, mut has_status) = (false, false, false);
        scanner.object(|scanner, key| {
            match key.meaning().as_ref() {
                b"check" => {
                    has_name = scanner.text()?.is_some_and(|name| !name.raw.is_empty());
                    if !has_name {
                        return Err(invalid(item, "`check` must be a non-empty string"));
                    }
                }
                b"host_name" => {
                    has_host = scanner.text()?.is_some();
                    if !has_host {
                        return Err(invalid(item, "`host_name` must be a string"));
                    }
                }
                b"status" => {
                    has_status = matches!(scanner.number()?.and_then(Number::integer), Some(0..=3));
                    if !has_status {
                        return Err(invalid(item, "`status` must be 0 (OK), 1 (warning), 2 (critical) or 3 (unknown)"));
                    }
                }
                b"timestamp" => self.time = scanner.number()?.map(dates::from_seconds),
                b"tags" if self.search.is_on() => drop(tags::pass(scanner, &mut self.search, edits)?),
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        for (has, name) in [(has_name, "check"), (has_host, "host_name"), (has_status, "status")] {
            if !has {
                return Err(invalid(item, format!("the check run has no `{name}`")));
            }
        }
        Ok(())
    }
}
