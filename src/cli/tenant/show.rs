//! Tenants as people read them.

use super::operator::{Operator, TenantArg};
use crate::api::{KeyOrigin, OrganisationView, Source, TenantList, TenantView};
use crate::cli::admin::{Failure, say};
use crate::cli::text::{counted, one_line, printable, span, table};
use crate::settings::{format_duration, format_size};

pub(super) async fn list(operator: &Operator) -> Result<(), Failure> {
    let answer = operator.client.get("tenants").await?;
    let TenantList { tenants, incomplete } = operator.client.read(&answer)?;
    if operator.json {
        say(format_args!("{answer:#}"))?;
    } else if tenants.is_empty() {
        say("no tenants; add one with: dogsled tenant add")?;
    } else {
        let rows: Vec<_> = tenants.iter().map(row).collect();
        say(table(&["tenant", "state", "site", "kept in", "organisation"], &rows).join("\n"))?;
    }
    match incomplete {
        // The answer says so in itself.
        Some(_) if operator.json => Err(Failure::Told),
        Some(why) => Err(Failure::Incomplete(printable(&why))),
        None => Ok(()),
    }
}

pub(super) async fn one(operator: &Operator, target: &TenantArg) -> Result<(), Failure> {
    let answer = operator.client.get(&target.path("")).await?;
    operator.tell(&answer, || Ok(in_full(&operator.client.read(&answer)?)))
}

fn row(tenant: &TenantView) -> [String; 5] {
    let kept = if tenant.source == Source::Static { "file" } else { "store" };
    let organisation = tenant.organisation.as_ref().map(self::organisation).unwrap_or_default();
    [tenant.id.clone(), tenant.state.name().to_owned(), tenant.site.clone(), kept.to_owned(), organisation]
}

/// Its name, which Datadog has not verified, else its id.
pub(super) fn organisation(organisation: &OrganisationView) -> String {
    match &organisation.name {
        Some(name) => one_line(&format!("{name} (unverified)")),
        None => one_line(&organisation.id),
    }
}

/// A tenant in a line.
pub(super) fn in_short(tenant: &TenantView) -> String {
    format!("tenant {}: {}, {}", tenant.id, tenant.state.name(), printable(&tenant.status))
}

/// How fast it may send, if that is limited.
fn limits(tenant: &TenantView) -> Option<String> {
    let all = &tenant.in_effect.limits;
    let one = |limit: Option<u64>, text: &dyn Fn(u64) -> String, own: bool| {
        let told = limit.filter(|limit| own || *limit > 0)?;
        let text = if told == 0 { "no limit".to_owned() } else { text(told) };
        Some(if own { format!("{text} (its own)") } else { text })
    };
    let items = |limit| format!("{} a second", counted(limit, "item"));
    let bytes = |limit| format!("{} a second", format_size(limit));
    let told = [
        one(all.items_per_second, &items, tenant.limits.items_per_second.is_some()),
        one(all.bytes_per_second.map(|bytes| bytes as u64), &bytes, tenant.limits.bytes_per_second.is_some()),
    ];
    let told: Vec<String> = told.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// What it may have waiting.
fn quota(tenant: &TenantView) -> Option<String> {
    let (all, own) = (&tenant.in_effect.journal, &tenant.journal);
    let mark = |own: bool| if own { " (its own)" } else { "" };
    let size = format_size(all.max_bytes? as u64);
    let (age, then) = (format_duration(all.max_age?), all.when_full?.name());
    let own = [own.max_bytes.is_some(), own.max_age.is_some(), own.when_full.is_some()].map(mark);
    Some(format!("{size}{}, for {age}{}, {then} when full{}", own[0], own[1], own[2]))
}

/// A tenant in a line for each thing that is known of it.
fn in_full(tenant: &TenantView) -> String {
    let mut lines: Vec<(&str, String)> = vec![("tenant", tenant.id.clone())];
    let mut add = |name, value: Option<String>| lines.extend(value.map(|value| (name, printable(&value))));
    add("name", Some(tenant.display_name.clone()).filter(|name| !name.is_empty()));
    add("state", Some(format!("{}: {}", tenant.state.name(), tenant.status)));
    add("to do", tenant.to_do.clone());
    add("site", Some(tenant.site.clone()));
    add(
        "kept in",
        Some(if tenant.source == Source::Static { "the configuration file" } else { "the store" }.to_owned()),
    );
    let named = |organisation: &OrganisationView| match &organisation.name {
        Some(name) => format!("{name} (unverified name, {})", organisation.id),
        None => organisation.id.clone(),
    };
    add("organisation", tenant.organisation.as_ref().map(named));
    add(
        "held for",
        tenant.held_for.as_ref().map(|organisation| {
            let decide = format!("`dogsled tenant held release {0}` or `dogsled tenant held drop {0}`", tenant.id);
            format!("{}; decide with {decide}", named(organisation))
        }),
    );
    add(
        "key",
        tenant.key.as_ref().map(|key| {
            let origin = match key.origin {
                KeyOrigin::Oauth => "created through OAuth",
                KeyOrigin::Static => "given by the operator",
            };
            let age = key.age_seconds.map(|age| format!(" {} ago", span(age))).unwrap_or_default();
            let id = key.datadog_id.as_ref().map(|id| format!(", {id} at Datadog")).unwrap_or_default();
            format!("{origin}{age}{id}")
        }),
    );
    add(
        "tokens",
        tenant.tokens.as_ref().map(|tokens| {
            format!(
                "granted {} ago, expire at {}, refreshed before; scopes: {}",
                span(tokens.age_seconds),
                tokens.expires_at,
                tokens.scopes
            )
        }),
    );
    add("limits", limits(tenant));
    add("quota", quota(tenant));
    let oldest = tenant.queue.oldest_seconds.map(|age| format!(", the oldest {} old", span(age as u64)));
    let queue = format!("{}, {}", counted(tenant.queue.items, "item"), counted(tenant.queue.bytes, "byte"));
    add("queue", Some(format!("{queue}{}", oldest.unwrap_or_default())));
    for limit in &tenant.rate_limits {
        add("rate limit", Some(format!("{} requests left at {}", limit.remaining, limit.endpoint)));
    }
    add(
        "last error",
        tenant.last_error.as_ref().map(|error| format!("{} {}: {}", error.at, error.endpoint, error.message)),
    );
    add("added", tenant.created_at.clone());
    add("changed", tenant.updated_at.clone());
    let told: Vec<_> = lines.iter().map(|(name, value)| format!("{name:<13} {value}")).collect();
    told.join("\n")
}
