//! Adding, changing, holding and removing tenants.

use super::operator::{Confirmation, Operator, TenantArg};
use super::{overrides, show};
use crate::api::{RemovedView, TenantView};
use crate::cli::admin::Failure;
use crate::cli::text::{counted, printable};
use crate::types::Secret;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) async fn add(operator: &Operator, target: &TenantArg, fields: &Fields) -> Result<(), Failure> {
    let mut body = fields.body()?;
    body["id"] = target.tenant.as_str().into();
    let answer = operator.client.send(Method::POST, "tenants", &body).await?;
    operator.tell(&answer, || {
        let tenant: TenantView = operator.client.read(&answer)?;
        let next = match tenant.key {
            Some(_) => String::new(),
            None => format!("\nconnect it with: dogsled tenant connect {}", tenant.id),
        };
        Ok(format!("added {}{next}", show::in_short(&tenant)))
    })
}

pub(super) async fn set(operator: &Operator, target: &TenantArg, fields: &Fields) -> Result<(), Failure> {
    let body = fields.body()?;
    if body == json!({}) {
        return Err(Failure::usage(
            "nothing to change: give --name, --site, --api-key-file or one of its limits; see --help",
        ));
    }
    let answer = operator.client.send(Method::PATCH, &target.path(""), &body).await?;
    operator.tell(&answer, || Ok(format!("changed {}", show::in_short(&operator.client.read(&answer)?))))
}

pub(super) async fn pause(operator: &Operator, target: &TenantArg, paused: bool) -> Result<(), Failure> {
    let (path, done) = if paused { ("/pause", "paused") } else { ("/resume", "resumed") };
    let answer = operator.client.post(&target.path(path)).await?;
    operator.tell(&answer, || Ok(format!("{done} {}", show::in_short(&operator.client.read(&answer)?))))
}

pub(super) async fn remove(
    operator: &Operator,
    target: &TenantArg,
    purge: bool,
    confirmation: &Confirmation,
) -> Result<(), Failure> {
    let tenant = &target.tenant;
    let telemetry = if purge { ", with what is queued of it," } else { "" };
    confirmation.ask(&format!("Remove tenant {tenant}{telemetry} for good?"))?;
    let query = if purge { "?telemetry=purge" } else { "" };
    let answer = operator.client.delete(&target.path(query)).await?;
    operator.tell(&answer, || {
        let RemovedView { removed, dropped_items, kept_items, not_revoked, .. } = operator.client.read(&answer)?;
        let mut told = match removed {
            true => format!("removed tenant {tenant}"),
            false => format!("tenant {tenant} was removed before"),
        };
        if dropped_items > 0 {
            told += &format!("; {} of it dropped", counted(dropped_items, "item"));
        }
        if kept_items > 0 {
            let items = counted(kept_items, "item");
            told += &format!("; {items} of it kept until they are too old (journal.max_age) or it is added again");
        }
        if let Some(why) = not_revoked {
            told += &format!("\nits authorisation may still stand at Datadog: {}", printable(&why));
        }
        Ok(told)
    })
}

/// What a tenant is made of.
#[derive(Debug, clap::Args)]
pub(super) struct Fields {
    /// Its name for people
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Its Datadog site, such as datadoghq.eu [default: datadog.default_site of the daemon]
    #[arg(long)]
    site: Option<String>,
    /// A file with an API key of its organisation, for a tenant that is not connected through OAuth
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    #[command(flatten)]
    own: overrides::Args,
}

impl Fields {
    /// The body of a request that says so.
    fn body(&self) -> Result<Value, Failure> {
        let mut body = json!({});
        if let Some(name) = &self.name {
            body["display_name"] = name.as_str().into();
        }
        if let Some(site) = &self.site {
            body["site"] = site.as_str().into();
        }
        if let Some(path) = &self.api_key_file {
            body["api_key"] = api_key(path)?.expose().into();
        }
        self.own.add_to(&mut body);
        Ok(body)
    }
}

/// The key that a file holds.
fn api_key(path: &Path) -> Result<Secret, Failure> {
    // Somebody may have given the key itself, which must not be shown.
    let shown = path.to_string_lossy();
    if shown.len() == 32 && shown.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = "--api-key-file looks like a key itself, but must be the path of a file that holds it; other users may \
                     have seen the key in the list of processes: replace it";
        return Err(Failure::usage(message));
    }
    let text = fs::read_to_string(path)
        .map(Secret::new)
        .map_err(|error| Failure::usage(format!("--api-key-file {shown:?} cannot be read: {error}")))?;
    match text.expose().trim() {
        "" => Err(Failure::usage(format!("--api-key-file {shown:?} is empty"))),
        key => Ok(Secret::new(key)),
    }
}
