//! `[tenants.<id>]`

use super::form::{tenant_id, text};
use super::key::section;
use super::problems::{Problems, join};
use super::reader::Reader;
use super::secrets::{SecretText, Tokens, api_key, is_hex_key};
use super::source::Tree;
use super::{Overrides, OwnLimits, OwnQuota, Settings};
use crate::types::{Secret, TenantId};
use std::collections::BTreeMap;

section! {
    /// A tenant is a table [tenants.<id>]; ids are 1 to 100 characters of A-Z a-z 0-9 . _ -
    pub struct StaticTenant {
        /// Its Datadog site; datadog.default_site when absent.
        site: String = String::new(), text("datadoghq.eu");
        /// Its API key, or a file with it. Without one, its telemetry is held.
        api_key: Option<Secret> = None, SecretText::<true>(api_key);
        /// Its ingest tokens, or a file with one a line: 32 hexadecimal digits each, from `openssl rand -hex 16`. Who sends
        /// one as its API key sends for this tenant.
        ingest_tokens: Vec<Secret> = Vec::new(), Tokens;
        also {
            /// What applies to it instead of `[limits]` and `[journal]`.
            own: Overrides,
        }
    }
}

/// Reads all tenants.
pub(super) fn read(settings: &mut Settings, tree: &mut Tree, problems: &mut Problems) {
    for (name, values) in Reader::take(tree, "tenants", problems).into_values() {
        let path = join("tenants", &name);
        let id = match tenant_id(&name) {
            Ok(id) => id,
            Err(error) => {
                problems.error(&path, error);
                continue;
            }
        };
        let mut tenant = StaticTenant::default();
        let mut reader = Reader::of(path, values, problems);
        reader.read(&mut tenant, StaticTenant::KEYS);
        reader.read(&mut tenant.own.limits, OwnLimits::KEYS);
        reader.read(&mut tenant.own.journal, OwnQuota::KEYS);
        settings.secret_files.extend(reader.finish());
        if tenant.site.is_empty() {
            tenant.site.clone_from(&settings.datadog.default_site);
        }
        settings.tenants.insert(id, tenant);
    }
}

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    if settings.tenants.is_empty() && !problems.has_error("tenants") {
        let message = "none here: nothing is accepted before one is added through the admin API, or as [tenants.<id>]";
        problems.warning("tenants", message);
    }
    // Tokens are compared without regard to the case of their digits, as when a request brings one.
    let mut owners: BTreeMap<String, &TenantId> = BTreeMap::new();
    for (id, tenant) in &settings.tenants {
        let table = join("tenants", id.as_str());
        let [key, tokens] = ["api_key", "ingest_tokens"].map(|key| settings.written_as(join(&table, key)));
        match &tenant.api_key {
            None if problems.has_error(&table) => {}
            None => {
                let message = format!("has no api_key or api_key_file for {}: its telemetry will be held", tenant.site);
                problems.warning(&table, message);
            }
            Some(secret) if !is_hex_key(secret.expose()) => {
                problems.warning(&key, "does not look like an API key of Datadog, which is 32 hexadecimal digits");
            }
            Some(_) => {}
        }
        if tenant.api_key.as_ref().is_some_and(|key| tenant.ingest_tokens.contains(key)) {
            let message = "one of them is the API key: make it a token of its own, so that the key stays here";
            problems.warning(&tokens, message);
        }
        for (index, token) in tenant.ingest_tokens.iter().enumerate() {
            let other = owners.insert(token.expose().to_ascii_lowercase(), id).filter(|other| *other != id);
            if let Some(other) = other {
                let message =
                    format!("token {} is one of tenant {other} too: a token stands for one tenant", index + 1);
                problems.error(&tokens, message);
            }
        }
    }
}
