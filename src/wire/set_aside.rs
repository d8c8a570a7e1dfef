//! One item must not cost its neighbours: an item that Datadog would refuse is set aside, and the rest of the body is read on.

use super::edits::Edits;
use super::gather::Gatherer;
use super::json::{Passed, Scanner};
use super::part::{Owner, Refusal, Stop};
use super::tags::{self, Search};

/// Sets aside the item of an array that begins at `start` and that reading has failed on.
///
/// # Errors
/// Where its end cannot be found: the body cannot be read on.
#[cold]
pub(super) fn set_aside(
    scanner: &mut Scanner<'_>,
    start: usize,
    stop: Stop,
    tag: Option<&str>,
    gatherer: &mut Gatherer<'_>,
) -> Result<(), Stop> {
    let Some(passed) = scanner.pass_item_at(start) else { return Err(stop) };
    let item = start..scanner.at();
    let owner = match (tag, passed) {
        (None, _) => Owner::Sender,
        (Some(_), Passed::Unreadable) => Owner::Unknown,
        (Some(tag), Passed::Json | Passed::NotFinite) => owner(&scanner.whole()[item.clone()], tag),
    };
    gatherer.set_aside(item, owner, fault(*stop, gatherer.next_item()), passed == Passed::Json);
    Ok(())
}

/// What is wrong with an item, of which it is known which one it is.
pub(super) fn fault(stop: Refusal, item: usize) -> Refusal {
    match stop {
        Refusal::Malformed { at, reason } => Refusal::Invalid { item, reason: format!("{reason} at byte {at}") },
        fault => fault,
    }
}

/// The owner of an item by its tags, wherever its format has them.
fn owner(item: &[u8], tag: &str) -> Owner {
    let mut scanner = Scanner::lenient(item);
    let mut search = Search::new(Some(tag), 0);
    let read = scanner.object(|scanner, key| match key.meaning().as_ref() {
        b"tags" | b"ddtags" => tags::pass(scanner, &mut search, &mut Edits::default()).map(drop),
        _ => scanner.skip(),
    });
    match (read, search.tenant) {
        (Ok(()), Some(tenant)) => Owner::Tenant(tenant.into_owned()),
        (Ok(()), None) => Owner::Sender,
        // A value that is no object has no tags.
        (Err(_), _) if item.first() != Some(&b'{') => Owner::Sender,
        (Err(_), _) => Owner::Unknown,
    }
}
