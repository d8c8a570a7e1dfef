//! `[tenancy]`

use super::form::{Number, Switch, Text, tenant_id, text};
use super::key::section;
use crate::types::TenantId;

section! {
    /// How the tenant of a request is found.
    pub struct Tenancy {
        /// The header that names the tenant of a request.
        header: String = "X-Tenant".into(), Text(header, String::clone, "X-Customer");
        /// The tag that names the tenant of a single item (tenant:acme). It is removed before the item is forwarded.
        tag: String = "tenant".into(), Text(tag, String::clone, "customer");
        /// Whether a tag of an item may name its tenant. Only where the application alone sets tags: they often carry
        /// customers' words.
        from_tags: bool = false, Switch;
        /// The attribute of a resource that names the tenant of its metrics and logs (OTLP); "" for none. It is removed before
        /// they are forwarded.
        attribute: String = "tenant".into(), text("customer.id");
        /// The tenant of items that name none; "" refuses them.
        default: Option<TenantId> = None, Text(default, id_or_empty, "acme");
        /// How many tenants have metrics of their own at /metrics; the others share the label "other".
        max_labels: usize = 1_000, Number(0..=1_000_000), restart;
    }
}

fn header(name: &str) -> Result<String, String> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.is_empty() && name.bytes().all(is_token) {
        return Ok(name.to_owned());
    }
    Err(format!("{name:?} is no name of an HTTP header: write one such as X-Tenant"))
}

fn tag(key: &str) -> Result<String, String> {
    if !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c)) {
        return Ok(key.to_owned());
    }
    Err(format!("{key:?} is no key of a tag: use letters, digits, _ - . /, such as tenant"))
}

fn default(text: &str) -> Result<Option<TenantId>, String> {
    if text.is_empty() { Ok(None) } else { tenant_id(text).map(Some) }
}

fn id_or_empty(id: &Option<TenantId>) -> String {
    id.as_ref().map(TenantId::to_string).unwrap_or_default()
}
