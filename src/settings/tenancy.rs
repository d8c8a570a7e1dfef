//! `[tenancy]`

use super::Settings;
use super::form::{Number, Switch, Text, tenant_id};
use super::key::section;
use super::problems::{Problems, join, nearest};
use crate::types::TenantId;

section! {
    /// How the tenant of a request is found.
    pub struct Tenancy in Settings.tenancy {
        /// The header that names the tenant of a request.
        header: String = "X-Tenant".into(), Text(header, String::clone, "X-Customer");
        /// The tag that names the tenant of a single item (tenant:acme). It is removed before the item is forwarded.
        tag: String = "tenant".into(), Text(tag, String::clone, "customer");
        /// Whether tags are looked at.
        from_tags: bool = true, Switch;
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

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    let tenants = &settings.tenants;
    if tenants.is_empty() {
        return;
    }
    if let Some(default) = settings.tenancy.default.as_ref().filter(|id| !tenants.contains_key(*id)) {
        let advice = match nearest(default.as_str(), tenants.keys().map(TenantId::as_str)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("name one of the tenants or add [{}]", join("tenants", default.as_str())),
        };
        problems.error("tenancy.default", format!("{:?} is no tenant; {advice}", default.as_str()));
    }
}
