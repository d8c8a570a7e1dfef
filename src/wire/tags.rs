//! The tag that names an item's tenant: found, checked and cut out.

use super::edits::Edits;
use super::json::{Scanner, Text};
use super::part::{Stop, invalid};
use super::strings;
use crate::types::TenantId;
use std::borrow::Cow;
use std::ops::Range;

/// What is looked for in the tags of one item.
#[derive(Debug)]
pub(super) struct Search<'t, 'a> {
    /// The name of the tag; nothing is looked for when there is none.
    name: Option<&'t str>,
    /// The index of the item, for refusals.
    item: usize,
    /// What was found.
    pub tenant: Option<Cow<'a, str>>,
}

impl<'t, 'a> Search<'t, 'a> {
    /// A search in the item of that index.
    pub fn new(name: Option<&'t str>, item: usize) -> Self {
        Self { name, item, tenant: None }
    }

    /// Whether anything is looked for.
    pub fn is_on(&self) -> bool {
        self.name.is_some()
    }

    /// Whether `tag` names the tenant, which then is noted.
    ///
    /// # Errors
    /// When it names no possible tenant, or another one than a tag before.
    pub fn is_tenant(&mut self, tag: &'a [u8]) -> Result<bool, Stop> {
        match self.id_in(tag)? {
            Some(id) => self.note(Cow::Borrowed(id)).map(|()| true),
            None => Ok(false),
        }
    }

    /// The same for a tag that does not stand in the body as it is meant.
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

/// Where tags stand in an item, for more to be appended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The offset behind the last tag.
    pub end: usize,
    /// Whether tags stand before it, after what is cut out.
    pub filled: bool,
    /// Whether it is an array of strings (else one string, comma-separated).
    pub array: bool,
}

/// Passes a value that holds tags, an array of strings or one comma-separated string, and cuts the tenant's out.
/// Gives nothing for a value that is neither.
pub(super) fn pass<'a>(
    scanner: &mut Scanner<'a>,
    search: &mut Search<'_, 'a>,
    edits: &mut Edits,
) -> Result<Option<Place>, Stop> {
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

fn pass_array<'a>(scanner: &mut Scanner<'a>, search: &mut Search<'_, 'a>, edits: &mut Edits) -> Result<Place, Stop> {
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
    Ok(Place { end: scanner.at() - 1, filled: list.kept_end.is_some(), array: true })
}

fn joined<'a>(text: Text<'a>, search: &mut Search<'_, 'a>, edits: &mut Edits) -> Result<Place, Stop> {
    if !search.is_on() {
        return Ok(Place { end: text.end(), filled: !text.raw.is_empty(), array: false });
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
    Ok(Place { end: text.end(), filled: list.kept_bytes > 0, array: false })
}

/// Tags with escapes in them (a comma may be one) are written anew, when the tenant's is among them.
fn joined_escaped<'a>(text: Text<'a>, search: &mut Search<'_, 'a>, edits: &mut Edits) -> Result<Place, Stop> {
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
    Ok(Place {
        end: text.end(),
        filled: kept.len() > 1 || kept.first().is_some_and(|tag| !tag.is_empty()),
        array: false,
    })
}

/// Takes the tenant's tag out of comma-separated tags, as a query has them.
pub(super) fn take_out(tags: &str, search: &mut Search<'_, '_>) -> Result<String, Stop> {
    let mut kept = Vec::new();
    for tag in tags.split(',') {
        if !search.is_tenant_rewritten(tag.as_bytes())? {
            kept.push(tag);
        }
    }
    Ok(kept.join(","))
}

/// A comma-separated list that elements are cut out of, each with one comma.
#[derive(Debug, Default)]
struct List {
    /// Where the last element that stays ends.
    kept_end: Option<usize>,
    /// How long the elements that stay are, with the commas between them.
    kept_bytes: usize,
    /// The elements passed since, all of which go.
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

    /// What goes at the end goes with the comma before it.
    fn finish(&mut self, edits: &mut Edits) {
        if let Some(going) = self.going.take() {
            edits.cut(self.kept_end.unwrap_or(going.start)..going.end);
        }
    }
}
