//! The tags of a line: those with a meaning taken out, the rest as text.
//!
//! This allocates, and is done once for each spelling of a context.

use super::reason::Reason;
use crate::types::TenantId;
use std::borrow::Cow;

/// What the tags of one line say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags<'a> {
    /// The tags without those that mean something, in the order given; empty ones are left out.
    pub tags: Vec<Cow<'a, str>>,
    /// The tenant that they name.
    pub tenant: Option<&'a str>,
    /// The host that they name.
    pub host: Host<'a>,
}

/// The host of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Host<'a> {
    /// Nothing is said.
    #[default]
    Unsaid,
    /// `host:` alone: explicitly none.
    None,
    /// `host:<name>`
    Named(Cow<'a, str>),
}

impl<'a> Host<'a> {
    /// The host of a field or tag with that value.
    pub fn of(name: &'a [u8]) -> Self {
        if name.is_empty() { Self::None } else { Self::Named(text(name)) }
    }
}

/// Tags that only the Agent's container tagger has a use for.
const INTERNAL: [&[u8]; 3] = [b"dd.internal.entity_id:", b"dd.internal.card:", b"dd.internal.jmx_check_name:"];

impl<'a> Tags<'a> {
    /// Reads the tags of a line; `tenant_tag` is the name of the tag that names the tenant, where tags may.
    ///
    /// # Errors
    /// When two tags name different tenants, or one a tenant that cannot be.
    pub fn parse(raw: &'a [u8], tenant_tag: Option<&str>) -> Result<Self, Reason> {
        let mut read = Self::default();
        for tag in raw.split(|byte| *byte == b',').filter(|tag| !tag.is_empty()) {
            if let Some(host) = tag.strip_prefix(b"host:") {
                read.host = Host::of(host);
            } else if let Some(tenant) = tenant_tag.and_then(|name| tenant_in(tag, name)) {
                read.note_tenant(tenant)?;
            } else if !INTERNAL.iter().any(|internal| tag.starts_with(internal)) {
                read.tags.push(text(tag));
            }
        }
        Ok(read)
    }

    fn note_tenant(&mut self, tenant: &'a [u8]) -> Result<(), Reason> {
        let tenant = std::str::from_utf8(tenant).ok().filter(|tenant| TenantId::is_valid(tenant));
        let tenant = tenant.ok_or(Reason::UnknownTenant)?;
        match self.tenant.replace(tenant) {
            Some(other) if other != tenant => Err(Reason::TenantConflict),
            _ => Ok(()),
        }
    }
}

fn tenant_in<'a>(tag: &'a [u8], name: &str) -> Option<&'a [u8]> {
    tag.strip_prefix(name.as_bytes())?.strip_prefix(b":")
}

/// Bytes as text: each run of bytes that are no UTF-8 becomes one U+FFFD, as in Datadog's data plane (DataDog/saluki,
/// `lib/saluki-io/src/deser/codec/dogstatsd/helpers.rs`).
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut mended = String::with_capacity(bytes.len() + 2);
    let mut in_bad_run = false;
    for chunk in bytes.utf8_chunks() {
        in_bad_run &= chunk.valid().is_empty();
        mended.push_str(chunk.valid());
        if !chunk.invalid().is_empty() && !std::mem::replace(&mut in_bad_run, true) {
            mended.push('\u{fffd}');
        }
    }
    Cow::Owned(mended)
}
