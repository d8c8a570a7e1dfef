//! `dogsled send`.

mod dogstatsd;

use super::{BAD_CONFIGURATION, complain, local};
use crate::settings::{Settings, parse_duration};
use crate::types::{Secret, TenantId, UnixMillis};
use clap::{Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The daemon's default address.
const DEFAULT_URL: &str = "http://127.0.0.1:8282";

/// The timeout for one answer of the daemon.
const ANSWER: Duration = Duration::from_secs(10);

/// Send one item through the local port and follow it until Datadog has it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    item: Item,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// The tenant [default: tenancy.default of the daemon]
    #[arg(long, global = true, value_parser = TenantId::new)]
    tenant: Option<TenantId>,
    /// The daemon's local port [default: http://127.0.0.1:8282]
    #[arg(long, global = true)]
    url: Option<String>,
    /// Take the local port, and the tenant's ingest token, from this configuration file
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["url", "token_file"])]
    config: Option<PathBuf>,
    /// A file with the tenant's ingest token, where the daemon wants one
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A tag; may be given several times
    #[arg(long = "tag", global = true, value_name = "K:V")]
    tags: Vec<String>,
    /// The host that the item is from [default: this host's name]
    #[arg(long, global = true)]
    host: Option<String>,
    /// How long to follow the item, such as 10s or 2m
    #[arg(long, global = true, default_value = "30s", value_parser = parse_duration, value_name = "TIME")]
    timeout: Duration,
    /// How to send it: over HTTP, followed until Datadog has it; or as a DogStatsD line, which nobody acknowledges
    #[arg(long, global = true, value_enum, default_value = "http")]
    via: Via,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Via {
    Http,
    Dogstatsd,
}

#[derive(Debug, Subcommand)]
enum Item {
    /// A log
    Log {
        /// Its text
        #[arg(default_value = "A log from dogsled send")]
        message: String,
        /// Its service
        #[arg(long, default_value = "dogsled")]
        service: String,
        /// Its status: debug, info, warn, error, ...
        #[arg(long, default_value = "info")]
        status: String,
    },
    /// A point of a metric
    Metric {
        /// Its name
        name: String,
        /// Its value
        #[arg(value_parser = finite, allow_negative_numbers = true)]
        value: f64,
        /// Its type
        #[arg(long = "type", value_enum, default_value = "gauge")]
        form: MetricType,
    },
    /// An event
    Event {
        /// Its title
        title: String,
        /// Its text
        #[arg(default_value = "An event from dogsled send")]
        text: String,
        /// Its alert type
        #[arg(long, default_value = "info", value_parser = ["error", "warning", "info", "success"])]
        alert_type: String,
    },
    /// A service check
    Check {
        /// Its name
        name: String,
        /// Its status
        #[arg(value_enum)]
        status: CheckStatus,
        /// Why it has that status
        #[arg(long, default_value = "")]
        message: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MetricType {
    Gauge,
    Count,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CheckStatus {
    Ok,
    Warning,
    Critical,
    Unknown,
}

fn finite(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value.is_finite() { Ok(value) } else { Err("Datadog takes finite numbers only".into()) }
}

impl Item {
    fn name(&self) -> &'static str {
        match self {
            Self::Log { .. } => "log",
            Self::Metric { .. } => "metric",
            Self::Event { .. } => "event",
            Self::Check { .. } => "check",
        }
    }

    /// The path and the body that an official client would send
    /// (docs.datadoghq.com/api/latest: logs, metrics, events, service-checks).
    fn request(&self, tags: &[String], host: &str, now: UnixMillis) -> (&'static str, Value) {
        let seconds = now.0 / 1000;
        match self {
            Self::Log { message, service, status } => (
                "/api/v2/logs",
                json!([{
                    "message": message, "service": service, "status": status, "ddsource": "dogsled", "hostname": host,
                    "ddtags": tags.join(","),
                }]),
            ),
            Self::Metric { name, value, form } => {
                // The numbers of `MetricIntakeType`.
                let form = match form {
                    MetricType::Count => 1,
                    MetricType::Gauge => 3,
                };
                let series = json!({
                    "metric": name, "type": form, "points": [{ "timestamp": seconds, "value": value }], "tags": tags,
                    "resources": [{ "type": "host", "name": host }],
                });
                ("/api/v2/series", json!({ "series": [series] }))
            }
            Self::Event { title, text, alert_type } => (
                "/api/v1/events",
                json!({
                    "title": title, "text": text, "alert_type": alert_type, "tags": tags, "host": host,
                    "date_happened": seconds,
                }),
            ),
            Self::Check { name, status, message } => (
                "/api/v1/check_run",
                json!([{
                    "check": name, "status": *status as u8, "message": message, "tags": tags, "host_name": host,
                    "timestamp": seconds,
                }]),
            ),
        }
    }
}

/// Why an item was not sent.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{path}: {reason}")]
    Token { path: String, reason: String },
    #[error("{0} sets no ingest.listen, and this command sends over TCP only: give --url")]
    NoListener(String),
    #[error("the HTTP client could not be set up: {0}")]
    Setup(reqwest::Error),
    #[error(
        "no answer from {url}: {reason}; is the daemon running? See `systemctl status dogsled`, start it with \
         `dogsled run`, or name its address with --url or --config"
    )]
    Unreachable { url: String, reason: String },
    #[error("{url} refused the {item} with {status}: {words}")]
    Refused { url: String, item: &'static str, status: u16, words: String },
    #[error("{url} accepted the {item} but returned no ticket to follow it: {hint}")]
    NoTicket { url: String, item: &'static str, hint: &'static str },
    #[error("cannot parse the daemon's answer about the item ({0}): is it of another version?")]
    Answer(String),
    #[error("DogStatsD carries metrics, events and service checks, and no logs: leave out --via")]
    LogByDogstatsd,
    #[error("the configuration sets neither dogstatsd.listen nor dogstatsd.socket: the daemon takes no DogStatsD")]
    NoDogstatsd,
    #[error(
        "{address} cannot be reached: {error}; is the daemon running, and does dogstatsd.listen name that address?"
    )]
    Datagram { address: String, error: std::io::Error },
}

/// The fate of the item.
#[derive(Debug, Deserialize)]
struct Fate {
    settled: bool,
    delivered: u64,
    dead_lettered: u64,
    attempts: u64,
    words: String,
    /// The tenant's name and state.
    tenants: BTreeMap<String, String>,
}

/// Sends the item. Exit codes: 0 delivered, 1 not (yet), 2 bad usage or configuration.
pub fn main(args: &Args) -> ExitCode {
    let Args { item, options } = args;
    if options.via == Via::Dogstatsd {
        return send_line(item, options);
    }
    let from_config = match options.config.as_deref().map(|path| from_config(path, options)).transpose() {
        Ok(found) => found,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("the runtime could not be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(send(item, options, from_config)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            if options.json {
                say(json!({ "outcome": "failed", "error": failure.to_string() }));
            } else {
                complain(failure);
            }
            ExitCode::FAILURE
        }
    }
}

/// Sends the item as a line of DogStatsD.
fn send_line(item: &Item, options: &Options) -> ExitCode {
    let settings = match options.config.as_deref().map(|path| Settings::load(Some(path))).transpose() {
        Ok(settings) => settings,
        Err(error) => {
            error.problems().iter().for_each(complain);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    match dogstatsd::send(item, options, settings.as_ref()) {
        Ok(address) if options.json => say(json!({ "item": item.name(), "outcome": "sent", "address": address })),
        Ok(address) => say(format_args!(
            "sent: {} to {address}; Datadog gets it with its bucket, after about 11 s. Nothing acknowledges a line: if it does \
             not arrive, see dogsled_dogstatsd_errors_total at /metrics",
            item.name()
        )),
        Err(failure) if options.json => {
            say(json!({ "outcome": "failed", "error": failure.to_string() }));
            return ExitCode::FAILURE;
        }
        Err(failure) => {
            complain(failure);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The address of the local port and the tenant's token, of a configuration.
fn from_config(path: &Path, options: &Options) -> Result<(String, Option<Secret>), ExitCode> {
    let settings = Settings::load(Some(path)).map_err(|error| {
        error.problems().iter().for_each(complain);
        ExitCode::from(BAD_CONFIGURATION)
    })?;
    let url = local::url_of(settings.ingest.listen.first().map_or("", String::as_str)).ok_or_else(|| {
        complain(Failure::NoListener(path.display().to_string()));
        ExitCode::from(BAD_CONFIGURATION)
    })?;
    let tenant = options.tenant.as_ref().or(settings.tenancy.default.as_ref());
    let token = tenant.and_then(|id| settings.tenants.get(id)?.ingest_tokens.first().cloned());
    Ok((url, token))
}

/// Sends the item and follows it; true when it was delivered.
#[expect(clippy::disallowed_methods, reason = "a command, run once, with no clock to pause")]
async fn send(item: &Item, options: &Options, from_config: Option<(String, Option<Secret>)>) -> Result<bool, Failure> {
    let (url, token) = match from_config {
        Some(found) => found,
        None => (options.url.as_deref().unwrap_or(DEFAULT_URL).trim_end_matches('/').to_owned(), read_token(options)?),
    };
    let http = local::client(ANSWER).map_err(Failure::Setup)?;
    let started = Instant::now();
    let host = options.host.clone().unwrap_or_else(host_name);
    let (path, body) = item.request(&options.tags, &host, UnixMillis::now());
    let prefix = options.tenant.as_ref().map(|tenant| format!("/tenants/{tenant}")).unwrap_or_default();
    let mut request = http
        .post(format!("{url}{prefix}{path}"))
        .header("content-type", "application/json")
        .header("dogsled-follow", "1")
        .body(body.to_string());
    if let Some(token) = &token {
        request = request.header("dd-api-key", token.expose());
    }
    let unreachable = |error| Failure::Unreachable { url: url.clone(), reason: local::words(error) };
    let answer = request.send().await.map_err(unreachable)?;
    let (status, ticket) = (answer.status(), answer.headers().get("dogsled-ticket").cloned());
    let text = answer.text().await.map_err(unreachable)?;
    let item = item.name();
    if !status.is_success() {
        return Err(Failure::Refused { url, item, status: status.as_u16(), words: local::errors_of(&text) });
    }
    let Some(ticket) = ticket.as_ref().and_then(|ticket| ticket.to_str().ok()) else {
        let hint = if text.is_empty() {
            "is it dogsled that listens there?"
        } else {
            "too many requests are being followed, or it is not dogsled that listens there"
        };
        return Err(Failure::NoTicket { url, item, hint });
    };
    if !options.json {
        say(format_args!("accepted: {item}, HTTP {}", status.as_u16()));
    }
    let fate = loop {
        let fate = ask(&http, &url, ticket).await?;
        if fate.settled || started.elapsed() >= options.timeout {
            break fate;
        }
    };
    let report = Report { item, fate: &fate, took: started.elapsed() };
    if options.json {
        say(report.json());
    } else {
        say(&report);
    }
    Ok(fate.delivered > 0)
}

/// The fate of the item so far; the daemon waits up to a second for news.
async fn ask(http: &reqwest::Client, url: &str, ticket: &str) -> Result<Fate, Failure> {
    let unreachable = |error| Failure::Unreachable { url: url.to_owned(), reason: local::words(error) };
    let answer = http.get(format!("{url}/follow/{ticket}")).send().await.map_err(unreachable)?;
    let status = answer.status();
    let text = answer.text().await.map_err(unreachable)?;
    if !status.is_success() {
        return Err(Failure::Answer(format!("{} {}", status.as_u16(), local::errors_of(&text))));
    }
    serde_json::from_str(&text).map_err(|error| Failure::Answer(error.to_string()))
}

/// An item's fate, described for a person.
struct Report<'a> {
    item: &'static str,
    fate: &'a Fate,
    took: Duration,
}

impl Report<'_> {
    fn outcome(&self) -> &'static str {
        match self.fate {
            Fate { delivered: 1.., .. } => "delivered",
            Fate { dead_lettered: 1.., .. } => "dead-lettered",
            Fate { settled: true, .. } => "dropped",
            Fate { .. } => "queued",
        }
    }

    fn tenant(&self) -> (&str, &str) {
        self.fate.tenants.first_key_value().map_or(("", ""), |(tenant, state)| (tenant, state))
    }

    fn json(&self) -> Value {
        let (tenant, state) = self.tenant();
        let Fate { attempts, words, .. } = self.fate;
        json!({
            "item": self.item, "tenant": tenant, "tenant_state": state, "outcome": self.outcome(),
            "seconds": (self.took.as_secs_f64() * 1000.0).round() / 1000.0, "attempts": attempts, "words": words,
        })
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tenant, state) = self.tenant();
        let Fate { attempts, words, .. } = self.fate;
        let attempts = match attempts {
            0 => "not sent yet".to_owned(),
            1 => "1 attempt".to_owned(),
            more => format!("{more} attempts"),
        };
        let took = self.took.as_secs_f64();
        match self.outcome() {
            "delivered" => {
                write!(f, "delivered: Datadog accepted it for tenant {tenant} after {took:.2} s, {attempts}")
            }
            "dead-lettered" => {
                write!(f, "dead-lettered after {took:.2} s, {attempts}: Datadog refuses it for good")?;
                if !words.is_empty() {
                    write!(f, ": {words}")?;
                }
                write!(
                    f,
                    "\nit is kept in dead-letters/{tenant}.ndjson of the daemon's state directory: see `dogsled dead-letter`"
                )
            }
            "dropped" => write!(f, "dropped after {took:.2} s: older than Datadog keeps (delivery.drop_late)"),
            _ => {
                write!(f, "still queued after {took:.2} s, {attempts}: tenant {tenant} is {state}{}", why(state))?;
                if !words.is_empty() {
                    write!(f, "; the last answer was: {words}")?;
                }
                write!(f, "\nthe daemon keeps trying")
            }
        }
    }
}

/// What a tenant's state means for a queued item.
fn why(state: &str) -> &'static str {
    match state {
        "pending" => ": it has no API key yet",
        "throttled" => ": Datadog's rate limit makes it wait",
        "retrying" => ": Datadog cannot be reached or fails",
        "unauthorized" => ": Datadog refuses its API key",
        "paused" => ": an operator has paused it",
        "active" => ": its batch is not complete yet (batch.max_age)",
        _ => "",
    }
}

fn read_token(options: &Options) -> Result<Option<Secret>, Failure> {
    let Some(path) = &options.token_file else { return Ok(None) };
    let failed = |reason: String| Failure::Token { path: path.display().to_string(), reason };
    let text = fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    // Of several, any will do.
    let token = text.split_whitespace().next().ok_or_else(|| failed("contains no token".into()))?;
    Ok(Some(Secret::new(token)))
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".into() } else { name.to_owned() }
}

/// Writes a line to standard output; a closed reader does not change the item's fate.
fn say(line: impl fmt::Display) {
    let _ = writeln!(stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_values_are_refused() {
        assert_eq!(finite("-1.5"), Ok(-1.5));
        assert!(finite("NaN").is_err() && finite("inf").is_err() && finite("one").is_err());
    }
}
