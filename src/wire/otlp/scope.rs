//! What the metrics of a resource and an instrumentation scope have in common.

use super::delta::SeriesHasher;
use super::options::Context;
use super::output::Common;
use super::reason::Trouble;
use super::resource::{self, Attributes};
use super::tags::Tags;
use super::value::{Attribute, Value};
use crate::wire::protobuf::Message;
use std::collections::HashSet;

/// What all metrics of a resource and scope have in common.
pub(super) struct Scope<'a> {
    pub common: Common,
    /// With the host and the tags in it.
    pub hasher: SeriesHasher,
    /// Attributes of the resource, which a point's of the same name do not replace.
    pub fixed: HashSet<&'a [u8]>,
}

impl<'a> Scope<'a> {
    /// Reads what a `ResourceMetrics` and one of its `ScopeMetrics` say.
    pub fn read(message: Message<'a>, attributes: &Attributes<'a>, context: &Context<'_>) -> Result<Self, Trouble> {
        let mut tags = Tags::default();
        let mut fixed = HashSet::new();
        if context.options.resource_attributes_as_tags {
            for Attribute { key, value } in &attributes.0 {
                if fixed.insert(*key) {
                    tags.push_attribute(key, *value)?;
                }
            }
        }
        resource::push_tags(attributes, &mut tags);
        if context.options.scope_as_tags {
            push_scope(message, &mut tags)?;
        }
        let host = resource::host(attributes)?;
        let mut hasher = SeriesHasher::new(context.hash_key);
        hasher.add(host.as_deref().unwrap_or_default());
        for origin in ["container.id", "k8s.pod.uid"] {
            hasher.add(attributes.get(origin).map_or(b"", Value::as_text));
        }
        add_sorted(&tags, &mut hasher);
        Ok(Self { common: Common { host, tags }, hasher, fixed })
    }
}

/// Adds tags in an order of their own: they are a set.
pub(super) fn add_sorted(tags: &Tags, hasher: &mut SeriesHasher) {
    if tags.iter().is_sorted() {
        tags.iter().for_each(|tag| hasher.add(tag));
    } else {
        let mut sorted: Vec<&[u8]> = tags.iter().collect();
        sorted.sort_unstable();
        sorted.into_iter().for_each(|tag| hasher.add(tag));
    }
    // So that no tag can pass for what follows.
    hasher.add_number(u64::MAX);
}

/// Appends the tags of an instrumentation scope, when there is one (`instrumentationscope/metadata.go`).
fn push_scope(message: Message<'_>, tags: &mut Tags) -> Result<(), Trouble> {
    let Some(scope) = resource::member(message, 1)? else { return Ok(()) };
    let (mut name, mut version): (&[u8], &[u8]) = (b"", b"");
    for field in scope.fields() {
        let field = field?;
        match field.number {
            1 => name = field.message()?.bytes,
            2 => version = field.message()?.bytes,
            _ => {}
        }
    }
    tags.push_attribute(b"instrumentation_scope", Value::Text(name))?;
    tags.push_attribute(b"instrumentation_scope_version", Value::Text(version))?;
    for Attribute { key, value } in Attributes::read(scope, 3, None)?.0 {
        tags.push_attribute(key, value)?;
    }
    Ok(())
}
