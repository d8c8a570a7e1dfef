//! What identifies a context, written as it will be sent.

use super::class::Class;
use super::options::Options;
use crate::wire::dogstatsd::{Host, Reason, Tags, text};
use crate::wire::encode;
use std::borrow::Cow;

/// A name, and host, resources and tags as protobuf fields: equal for equal contexts, however their tags were ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub name: String,
    /// The fields that stand before the name, and those that stand after it.
    pub head: Vec<u8>,
    /// Where the latter begin.
    pub split: usize,
}

/// The longest name that the intake takes (DataDog/saluki, `test/antithesis/intake/README.md`).
const MOST_NAME: usize = 350;

/// Prefixes of names that a namespace is not put before (DataDog/datadog-agent, `pkg/config/setup/standard_names.go`).
const STANDARD: [&str; 21] = [
    "datadog.agent",
    "datadog.dogstatsd",
    "datadog.process",
    "datadog.trace_agent",
    "datadog.tracer",
    "activemq",
    "activemq_58",
    "airflow",
    "cassandra",
    "confluent",
    "hazelcast",
    "hive",
    "ignite",
    "jboss",
    "jvm",
    "kafka",
    "presto",
    "sidekiq",
    "solr",
    "tomcat",
    "runtime",
];

impl Identity {
    /// The identity of a metric of that name and tags.
    ///
    /// # Errors
    /// When Datadog takes no metric of that name.
    pub fn new(name: &[u8], class: Class, tags: &Tags<'_>, options: &Options) -> Result<Self, Reason> {
        let name = metric_name(name, &options.namespace)?;
        let host = options.host_of(&tags.host);
        let all = tag_list(tags, options);
        let mut head = Vec::new();
        let split = if class == Class::Distribution {
            // `Sketch`: the host is a field, and every tag is one.
            if !host.is_empty() {
                encode::text(2, host, &mut head);
            }
            write_tags(4, &all, &mut head);
            0
        } else {
            write_resources(host, &all, &mut head);
            let split = head.len();
            let rest: Vec<_> = all.into_iter().filter(|tag| resource(tag).is_none()).collect();
            write_tags(3, &rest, &mut head);
            split
        };
        Ok(Self { name, head, split })
    }

    /// The same with something before the name, as a distribution.
    pub fn prefixed(prefix: &str, name: &str, tags: &Tags<'_>, options: &Options) -> Result<Self, Reason> {
        let options = Options { namespace: String::new(), ..options.clone() };
        Self::new(format!("{prefix}{name}").as_bytes(), Class::Distribution, tags, &options)
    }
}

/// The name as Datadog keeps it: what a name may not hold becomes `_`, so that two spellings which are one name there
/// are one context here (docs.datadoghq.com/metrics/custom_metrics).
fn metric_name(name: &[u8], namespace: &str) -> Result<String, Reason> {
    let text = text(name);
    let mut clean = String::with_capacity(namespace.len() + 1 + text.len());
    if !namespace.is_empty() && !STANDARD.iter().any(|standard| text.starts_with(standard)) {
        clean.push_str(namespace);
        if !namespace.ends_with('.') {
            clean.push('.');
        }
    }
    let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '.');
    clean.extend(text.chars().map(|char| if allowed(char) { char } else { '_' }));
    let is_name = clean.len() <= MOST_NAME && clean.bytes().any(|byte| byte.is_ascii_alphabetic());
    if is_name { Ok(clean) } else { Err(Reason::BadName) }
}

/// The resource that a tag stands for, if it does: type and name, empty when it is malformed
/// (DataDog/datadog-agent, `pkg/metrics/series.go`, `PopulateDeviceField` and `PopulateResources`).
fn resource(tag: &str) -> Option<(&str, &str)> {
    if let Some(device) = tag.strip_prefix("device:") {
        return Some(("device", device));
    }
    let rest = tag.strip_prefix("dd.internal.resource:")?;
    Some(rest.split_once(':').unwrap_or_default())
}

/// `MetricSeries.resources`
fn write_resources(host: &str, tags: &[&str], out: &mut Vec<u8>) {
    let host = (!host.is_empty()).then_some(("host", host));
    let named = |device: bool| {
        let all = tags.iter().filter_map(|tag| resource(tag));
        all.filter(move |(kind, name)| (*kind == "device") == device && !kind.is_empty() && !name.is_empty())
    };
    for (kind, name) in host.into_iter().chain(named(true)).chain(named(false)) {
        encode::packed(1, out, |out| {
            encode::text(1, kind, out);
            encode::text(2, name, out);
        });
    }
}

fn write_tags(field: u32, tags: &[&str], out: &mut Vec<u8>) {
    for tag in tags {
        encode::text(field, tag, out);
    }
}

/// The tags of a line and those of the configuration, sorted and each once.
pub(super) fn tag_list<'a>(tags: &'a Tags<'_>, options: &'a Options) -> Vec<&'a str> {
    let mut all: Vec<_> = tags.tags.iter().map(Cow::as_ref).chain(options.tags.iter().map(String::as_str)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl Options {
    /// The host of what says that of its own.
    pub(super) fn host_of<'a>(&'a self, host: &'a Host<'_>) -> &'a str {
        match host {
            Host::Unsaid => &self.host,
            Host::None => "",
            Host::Named(host) => host,
        }
    }
}
