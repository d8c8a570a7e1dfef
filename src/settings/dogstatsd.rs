//! `[dogstatsd]`

use super::address::listen_address;
use super::form::{DAY, Form, Number, Period, SECOND, Size, Switch, shown, tenant_id, text};
use super::key::section;
use crate::types::TenantId;
use config::ValueKind;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

section! {
    /// DogStatsD: what applications send by UDP or Unix sockets, aggregated as the Agent does, each tenant apart.
    pub struct Dogstatsd {
        /// Where UDP clients send: an address and a port, or a list of them; "" for none. localhost:8125 is both loopbacks.
        listen: Vec<String> = vec!["127.0.0.1:8125".into()], Addresses, restart;
        /// A Unix datagram socket: its path, "" for none. Clients know it as unix:///run/dogsled/dogstatsd.sock.
        socket: String = String::new(), text("/run/dogsled/dogstatsd.sock"), restart;
        /// A Unix stream socket: its path, "" for none. Clients know it as unixstream:///run/dogsled/dogstatsd-stream.sock.
        stream_socket: String = String::new(), text("/run/dogsled/dogstatsd-stream.sock"), restart;
        /// More listeners, each with the tenant of lines whose tags name none. { "127.0.0.1:8126" = { tenant = "acme" } } is one;
        /// "/run/dogsled/acme.sock" or "unixstream:///run/dogsled/acme.sock" would be a Unix socket.
        listeners: BTreeMap<String, Option<TenantId>> = BTreeMap::new(), Listeners, restart;
        /// Whether the tag tenancy.tag (tenant:acme) names the tenant of a line. It is removed.
        from_tags: bool = true, Switch;
        /// How long a bucket is. Datadog's own Agent has 10s, which the rates in customers' organisations go by.
        interval: Duration = 10 * SECOND, Period(SECOND..=MINUTE), restart;
        /// What is sent of a histogram or timer: some of max, min, median, avg, sum, count.
        histogram_aggregates: Vec<String> = words(&["max", "median", "avg", "count"]), Words(Some(&AGGREGATES));
        /// Which percentiles are, as fractions.
        histogram_percentiles: Vec<f64> = vec![0.95], Fractions;
        /// Whether every sample of a histogram or timer goes into a distribution, too.
        histogram_copy_to_distribution: bool = false, Switch;
        /// What stands before the names of those distributions.
        histogram_copy_to_distribution_prefix: String = String::new(), text("dist.");
        /// How long a counter without samples reports zeros.
        context_expiry: Duration = 300 * SECOND, Period(Duration::ZERO..=DAY);
        /// Tags that are added to everything.
        tags: Vec<String> = Vec::new(), Words(None);
        /// The host of what names none; "" for no host, so that your machines do not appear in customers' organisations.
        host: String = String::new(), text("gateway-1");
        /// What stands before every name, with a dot between; "" for nothing. Names of the Agent's own integrations stay.
        namespace: String = String::new(), text("acme");
        /// The most contexts (name, tags, host and type) of a tenant at once. New ones beyond them are dropped and counted.
        max_contexts_per_tenant: u32 = 20_000, Number(1..=100_000_000);
        /// The most contexts of all tenants. One tenant gets no more of them than the others leave free.
        max_contexts: u32 = 200_000, Number(1..=100_000_000);
        /// The longest packet, which senders must know: the kernel cuts longer datagrams, and their last line is dropped.
        buffer_size: usize = 8_192, Size(512..=65_536), restart;
        /// The receive buffer of a socket. The kernel gives no more than net.core.rmem_max; 0 leaves it alone.
        so_rcvbuf: usize = 8 << 20, Size(0..=1 << 30), restart;
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// The names of `histogram_aggregates`.
const AGGREGATES: [&str; 6] = ["max", "min", "median", "avg", "sum", "count"];

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The values of a list; a text, such as from the environment, is one with commas.
fn list(value: &ValueKind) -> Result<Vec<ValueKind>, String> {
    match value {
        ValueKind::Array(values) => Ok(values.iter().map(|value| value.kind.clone()).collect()),
        ValueKind::String(text) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(parts.map(|part| ValueKind::String(part.to_owned())).collect())
        }
        other => Err(format!("{} is not a list: write one such as [\"a\", \"b\"]", shown(other))),
    }
}

fn word(value: &ValueKind) -> Result<String, String> {
    match value {
        ValueKind::String(text) => Ok(text.trim().to_owned()),
        other => Err(format!("{} is not text: put it in quotes", shown(other))),
    }
}

/// Addresses to listen on, of which one may be written without a list.
pub(crate) struct Addresses;

impl Form for Addresses {
    type Value = Vec<String>;

    fn read(&self, value: &ValueKind) -> Result<Self::Value, String> {
        let addresses = list(value)?.iter().map(word).collect::<Result<Vec<_>, _>>()?;
        addresses.iter().try_for_each(|address| listen_address(address).map(drop))?;
        Ok(addresses)
    }

    fn print(&self, value: &Self::Value) -> Value {
        match value.as_slice() {
            [] => "".into(),
            [one] => one.as_str().into(),
            many => json!(many),
        }
    }

    fn schema(&self) -> Value {
        json!({ "type": ["string", "array"], "items": { "type": "string" }, "examples": ["127.0.0.1:9125"] })
    }
}

/// Words, of which only some may be allowed.
pub(crate) struct Words(Option<&'static [&'static str]>);

impl Form for Words {
    type Value = Vec<String>;

    fn read(&self, value: &ValueKind) -> Result<Self::Value, String> {
        let words = list(value)?.iter().map(word).collect::<Result<Vec<_>, _>>()?;
        let wrong = words.iter().find(|word| self.0.is_some_and(|allowed| !allowed.contains(&word.as_str())));
        match (wrong, self.0) {
            (Some(wrong), Some(allowed)) => Err(format!("{wrong:?} is none of {}", allowed.join(", "))),
            _ => Ok(words),
        }
    }

    fn print(&self, value: &Self::Value) -> Value {
        json!(value)
    }

    fn schema(&self) -> Value {
        let item = self.0.map_or(json!({ "type": "string" }), |allowed| json!({ "type": "string", "enum": allowed }));
        let examples = [self.0.map_or(["env:prod"], |allowed| [allowed[0]])];
        json!({ "type": ["array", "string"], "items": item, "examples": examples })
    }
}

/// Numbers from 0 to 1.
pub(crate) struct Fractions;

impl Form for Fractions {
    type Value = Vec<f64>;

    fn read(&self, value: &ValueKind) -> Result<Self::Value, String> {
        let fraction = |value: &ValueKind| {
            let number = match value {
                ValueKind::Float(number) => Some(*number),
                ValueKind::I64(number) => Some(*number as f64),
                ValueKind::String(text) => text.parse().ok(),
                _ => None,
            };
            let number = number.filter(|number| (0.0..=1.0).contains(number));
            number.ok_or_else(|| format!("{} is no fraction from 0 to 1, such as 0.95", shown(value)))
        };
        match value {
            ValueKind::Float(_) | ValueKind::I64(_) => Ok(vec![fraction(value)?]),
            value => list(value)?.iter().map(fraction).collect(),
        }
    }

    fn print(&self, value: &Self::Value) -> Value {
        json!(value)
    }

    fn schema(&self) -> Value {
        let item = json!({ "type": "number", "minimum": 0, "maximum": 1 });
        json!({ "type": ["array", "string"], "items": item, "examples": [[0.5, 0.99]] })
    }
}

/// Listeners by address or path, each with its tenant.
pub(crate) struct Listeners;

impl Form for Listeners {
    type Value = BTreeMap<String, Option<TenantId>>;

    fn read(&self, value: &ValueKind) -> Result<Self::Value, String> {
        let ValueKind::Table(tables) = value else { return Err("must be a table of listeners".into()) };
        let mut listeners = BTreeMap::new();
        for (address, table) in tables {
            let ValueKind::Table(table) = &table.kind else {
                return Err(format!("{address:?} must be a table, such as {{ tenant = \"acme\" }}"));
            };
            if !is_path(address) {
                listen_address(address).map_err(|why| format!("{why}; or write a path, for a Unix socket"))?;
            }
            if let Some(unknown) = table.keys().find(|key| *key != "tenant") {
                return Err(format!("{address:?} has an unknown key {unknown:?}; there is tenant"));
            }
            let tenant = match table.get("tenant").map(|tenant| word(&tenant.kind)).transpose()? {
                Some(id) if !id.is_empty() => Some(tenant_id(&id)?),
                _ => None,
            };
            listeners.insert(address.clone(), tenant);
        }
        Ok(listeners)
    }

    fn print(&self, value: &Self::Value) -> Value {
        let tenant =
            |tenant: &Option<TenantId>| tenant.as_ref().map_or(json!({}), |id| json!({ "tenant": id.as_str() }));
        value.iter().map(|(address, of)| (address.clone(), tenant(of))).collect::<Map<_, _>>().into()
    }

    fn schema(&self) -> Value {
        let listener = json!({
            "type": "object",
            "properties": { "tenant": { "type": "string" } },
            "additionalProperties": false,
        });
        let examples = json!([{ "127.0.0.1:8126": { "tenant": "acme" } }]);
        json!({ "type": "object", "additionalProperties": listener, "examples": examples })
    }
}

/// Whether a listener is a Unix socket.
pub(super) fn is_path(address: &str) -> bool {
    ["/", "unixgram://", "unixstream://"].iter().any(|prefix| address.starts_with(prefix))
}
