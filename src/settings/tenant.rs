//! `[tenants.<id>]`

use super::Overrides;
use super::form::text;
use super::key::{printed, section};
use super::reader::Reader;
use super::secrets::{SecretText, Tokens, api_key};
use crate::types::Secret;
use serde_json::Value;

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

impl StaticTenant {
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) {
        reader.read(self);
        reader.read(&mut self.own.limits);
        reader.read(&mut self.own.journal);
    }

    pub(super) fn printed(&self) -> Vec<(String, Value)> {
        [printed(self), printed(&self.own.limits), printed(&self.own.journal)].concat()
    }
}
