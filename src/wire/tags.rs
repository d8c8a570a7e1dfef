//! Finding, checking and removing the tag that names an item's tenant.

use super::edits::Edits;
use super::json::{Scanner, Text};
use super::part::{Stop, invalid};
use super::strings;
use crate::types::TenantId;
use std::borrow::Cow;
use std::ops::Range;

/// The search for the tenant in the tags of one item.
#[derive(Debug)]
pub(super) struct Search<'t, 'a> {
    /// The key of the tag; `None` searches nothing.
    name: Option<&'t str>,
    /// The index of the item, for refusals.
    item: usize,
    /// The tenant found.
    pub tenant: Option<Cow<'a, str>>,
}

impl<'t, 'a> Search<'t, 'a> {
    /// A search in the item with that index.
    pub fn new(name: Option<&'t str>, item: usize) -> Self {
        Self { name, item, tenant: None }
    }

    /// Whether there is anything to search for.
    pub fn is_on(&self) -> bool {
        self.name.is_some()
    }

    /// Notes the tenant if `tag` names it, and returns whether it does.
    ///
    /// # Errors
    /// When the name is not a tenant id, or differs from that of an earlier tag.
    pub fn is_tenant(&mut self, tag: &'a [u8]) -> Result<bool, Stop> {
        match self.id_in(tag)? {
            Some(id) => self.note(Cow::Borrowed(id)).map(|()| true),
            None => Ok(false),
        }
    }

    /// The same for a tag that is escaped in the body.
    fn is_tenant_rewritten(&mut self, tag: &[u8]) -> Result<bool, Stop> {
        match self.id_in(tag)? {
            Some(id) => self.note(Cow::Owned(id.to_owned())).map(|()| true),
            None => Ok(false),
        }
    }

    fn id_in<'x>(&self, tag: &'x [u8]) -> Result<Option<&'x str>, Stop> {
        let Some(name) = self.name else { return Ok(None) };
        let tag = tag.trim_ascii();
        let Some(id) = tag.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":")) else {
            return Ok(None);
        };
        match std::str::from_utf8(id) {
            Ok(id) if TenantId::is_valid(id) => Ok(Some(id)),
            _ => {
                let shown: String = String::from_utf8_lossy(id).chars().take(TenantId::MAX_LEN + 1).collect();
                let what = "is not a tenant id: use 1 to 100 characters of A-Z a-z 0-9 . _ -";
                Err(invalid(self.item, format!("{shown:?} in the tag `{name}` {what}")))
            }
        }
    }

    fn note(&mut self, id: Cow<'a, str>) -> Result<(), Stop> {
        match (&self.tenant, self.name) {
            (Some(other), Some(name)) if *other != id => {
                Err(invalid(self.item, format!("has two different tags `{name}`: {other} and {id}")))
            }
            _ => {
                self.tenant = Some(id);
                Ok(())
            }
        }
    }
}

/// The position of an item's tags, for appending more.
#[derive(Debug, Clone, Copy)]
pub(super) struct TagsEnd {
    /// The offset behind the last tag.
    pub end: usize,
    /// Whether tags precede it, after the removal.
    pub filled: bool,
    /// Whether it is an array of strings (else one string, comma-separated).
    pub array: bool,
}

/// Passes a value that holds tags, an array of strings or one comma-separated string, and removes the tenant's. `None`
/// for a value that is neither.
pub(super) fn pass<'a>(
    scanner: &mut Scanner<'a>,
    search: &mut Search<'_, 'a>,
    edits: &mut Edits,
) -> Result<Option<TagsEnd>, Stop> {
    match scanner.peek() {
        Some(b'[') => pass_array(scanner, search, edits).map(Some),
        Some(b'"') => match scanner.text()? {
            Some(text) => joined(text, search, edits).map(Some),
            None => Ok(None),
        },
        _ => {
            scanner.skip()?;
            Ok(None)
        }
    }
}

fn pass_array<'a>(scanner: &mut Scanner<'a>, search: &mut Search<'_, 'a>, edits: &mut Edits) -> Result<TagsEnd, Stop> {
    let mut list = List::default();
    scanner.array(|scanner| {
        let start = scanner.at();
        let is_tenant = match scanner.text()? {
            Some(text) if text.escaped => search.is_tenant_rewritten(&text.meaning())?,
            Some(text) => search.is_tenant(text.raw)?,
            None => false,
        };
        list.pass(start..scanner.at(), is_tenant, edits);
        Ok(())
    })?;
    list.finish(edits);
    Ok(TagsEnd { end: scanner.at() - 1, filled: list.kept_end.is_some(), array: true })
}

fn joined<'a>(text: Text<'a>, search: &mut Search<'_, 'a>, edits: &mut Edits) -> Result<TagsEnd, Stop> {
    if !search.is_on() {
        return Ok(TagsEnd { end: text.end(), filled: !text.raw.is_empty(), array: false });
    }
    if text.escaped {
        return joined_escaped(text, search, edits);
    }
    let mut list = List::default();
    let mut at = text.at;
    for tag in text.raw.split(|&b| b == b',') {
        let is_tenant = search.is_tenant(tag)?;
        list.pass(at..at + tag.len(), is_tenant, edits);
        at += tag.len() + 1;
    }
    list.finish(edits);
    Ok(TagsEnd { end: text.end(), filled: list.kept_bytes > 0, array: false })
}

/// Rewrites tags with escapes (a comma may be one) if the tenant's is among them.
fn joined_escaped<'a>(text: Text<'a>, search: &mut Search<'_, 'a>, edits: &mut Edits) -> Result<TagsEnd, Stop> {
    let meaning = text.meaning();
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut found = false;
    for tag in meaning.split(|&b| b == b',') {
        if search.is_tenant_rewritten(tag)? {
            found = true;
        } else {
            kept.push(tag);
        }
    }
    if found {
        let mut rewritten = Vec::with_capacity(text.raw.len());
        strings::escape(&kept.join(&b','), &mut rewritten);
        edits.replace(text.at..text.end(), &rewritten);
    }
    Ok(TagsEnd {
        end: text.end(),
        filled: kept.len() > 1 || kept.first().is_some_and(|tag| !tag.is_empty()),
        array: false,
    })
}

/// Removes the tenant's tag from the comma-separated tags of a query.
pub(super) fn take_out(tags: &str, search: &mut Search<'_, '_>) -> Result<String, Stop> {
    let mut kept = Vec::new();
    for tag in tags.split(',') {
        if !search.is_tenant_rewritten(tag.as_bytes())? {
            kept.push(tag);
        }
    }
    Ok(kept.join(","))
}

/// A comma-separated list from which elements are removed, each with one comma.
#[derive(Debug, Default)]
struct List {
    /// The end of the last element that stays.
    kept_end: Option<usize>,
    /// The length of the elements that stay, with the commas between them.
    kept_bytes: usize,
    /// The elements passed since, all of which are removed.
    going: Option<Range<usize>>,
}

impl List {
    fn pass(&mut self, element: Range<usize>, goes: bool, edits: &mut Edits) {
        if goes {
            let start = self.going.take().map_or(element.start, |going| going.start);
            self.going = Some(start..element.end);
        } else {
            if let Some(going) = self.going.take() {
                edits.cut(going.start..element.start);
            }
            self.kept_bytes += element.len() + usize::from(self.kept_end.is_some());
            self.kept_end = Some(element.end);
        }
    }

    /// A removal at the end includes the comma before it.
    fn finish(&mut self, edits: &mut Edits) {
        if let Some(going) = self.going.take() {
            edits.cut(self.kept_end.unwrap_or(going.start)..going.end);
        }
    }
}
