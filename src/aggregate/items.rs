//! Events and service checks: not aggregated, but written as Datadog's API takes them.

use super::aggregator::{Aggregator, Knows, Source};
use super::head::tag_list;
use crate::types::{Kind, UnixMillis};
use crate::wire::dogstatsd::{Check, Event, Host, Reason, Tags, text};
use serde::Serialize;
use std::borrow::Cow;

/// An event of version 1 (docs.datadoghq.com/api/latest/events).
#[derive(Serialize)]
struct EventV1<'a> {
    title: String,
    text: String,
    date_happened: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregation_key: Option<Cow<'a, str>>,
    priority: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_type_name: Option<Cow<'a, str>>,
    alert_type: &'a str,
    tags: Vec<&'a str>,
}

/// A service check (docs.datadoghq.com/api/latest/service-checks), which must have a host, if an empty one.
#[derive(Serialize)]
struct CheckRun<'a> {
    check: Cow<'a, str>,
    host_name: &'a str,
    status: u8,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
    tags: Vec<&'a str>,
}

impl Aggregator {
    pub(super) fn take_event(
        &mut self,
        event: &Event<'_>,
        source: &Source,
        now: i64,
        knows: Knows<'_>,
    ) -> Result<(), Reason> {
        let tags = Tags::parse(event.tags, source.tag.as_deref())?;
        let tenant = self.tenant_of(&tags, source, knows)?;
        let time = event.timestamp.unwrap_or(now);
        let host = event.host.map_or(tags.host.clone(), Host::of);
        let body = EventV1 {
            title: unescaped(event.title),
            text: unescaped(event.text),
            date_happened: time,
            host: self.options.host_of(&host),
            aggregation_key: event.aggregation_key.map(text),
            priority: event.priority,
            source_type_name: event.source_type.map(text),
            alert_type: event.alert_type,
            tags: tag_list(&tags, &self.options),
        };
        let body = json(&body);
        self.tenants.add_item(tenant, body.len())?;
        self.tenants.push_event(tenant, UnixMillis::from_secs(time), body);
        Ok(())
    }

    pub(super) fn take_check(
        &mut self,
        check: &Check<'_>,
        source: &Source,
        now: i64,
        knows: Knows<'_>,
    ) -> Result<(), Reason> {
        let tags = Tags::parse(check.tags, source.tag.as_deref())?;
        let tenant = self.tenant_of(&tags, source, knows)?;
        let time = check.timestamp.unwrap_or(now);
        let host = check.host.map_or(tags.host.clone(), Host::of);
        let body = CheckRun {
            check: text(check.name),
            host_name: self.options.host_of(&host),
            status: check.status,
            timestamp: time,
            message: check.message.map(text),
            tags: tag_list(&tags, &self.options),
        };
        let body = json(&body);
        self.tenants.add_item(tenant, body.len())?;
        self.tenants.write(tenant, Kind::CheckRun, UnixMillis::from_secs(time), |out| out.extend_from_slice(&body));
        Ok(())
    }
}

/// Text in which the two characters `\n` stand for a line feed; nothing else is escaped.
fn unescaped(bytes: &[u8]) -> String {
    text(bytes).replace("\\n", "\n")
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Texts and numbers always can be written.
    serde_json::to_vec(value).unwrap_or_default()
}
