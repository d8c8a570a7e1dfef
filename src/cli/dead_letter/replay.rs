//! `dogsled dead-letter replay`.

use super::{
    Failure as Failed, Place, Unreadable, Which, complain, counted, head, printable, say, warn, warn_unreadable,
};
use crate::cli::local;
use crate::deliver::{Content, Letter, Rewrite};
use crate::settings::Settings;
use crate::types::{Secret, TenantId};
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How long the daemon may take for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How long to wait where the daemon does not say.
const PAUSE: Duration = Duration::from_secs(1);

/// The most refused letters that are reported one by one.
const TOLD: usize = 100;

/// Why the replay ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the configuration sets neither ingest.listen nor ingest.socket: the daemon takes nothing")]
    NoListener,
    #[error("ingest.listen = {0:?} leaves the port to the system: set one, or DOGSLED_INGEST__LISTEN for this command")]
    AnyPort(String),
    #[error("ingest.require_token is set, and tenant {0} of the configuration has no ingest_tokens: give it one")]
    NoToken(TenantId),
    #[error("the HTTP client could not be set up: {0}")]
    Setup(String),
    #[error(
        "no answer from the daemon at {at}: {reason}; is it running? See `systemctl status dogsled`, or start it with \
         `dogsled run`"
    )]
    Unreachable { at: String, reason: String },
    #[error("the daemon at {at} takes nothing of tenant {tenant}: HTTP {status}: {words}")]
    Closed { at: String, tenant: TenantId, status: u16, words: String },
}

impl Failure {
    pub(super) fn is_configuration(&self) -> bool {
        matches!(self, Self::NoListener | Self::AnyPort(_) | Self::NoToken(_))
    }
}

/// The daemon's local port.
struct Port {
    http: reqwest::Client,
    /// For people: an address or the path of a socket.
    at: String,
    url: String,
    token: Option<Secret>,
    tenant: TenantId,
    /// Whether letters go to the present organisation whoever they were accepted for.
    to_present: bool,
    timeout: Duration,
}

/// A letter that the daemon does not take.
#[derive(Debug, Serialize)]
struct Refused {
    line: u64,
    status: Option<u16>,
    reason: String,
}

/// The fate of the letters.
#[derive(Debug, Default)]
struct Report {
    letters: u64,
    items: u64,
    refused: u64,
    told: Vec<Refused>,
    unreadable: Vec<Unreadable>,
    kept: u64,
}

/// Sends letters again; whether all of them were.
pub(super) fn run(place: &Place, which: &Which, to_present: bool, timeout: Duration) -> Result<bool, Failed> {
    let port = Port::of(&place.settings, &which.tenant, to_present, timeout)?;
    let mut report = Report::default();
    let mut ended = Ok(());
    if let Some(rewrite) = Rewrite::begin(&place.letters, &which.tenant)? {
        if place.settings.delivery.drop_late {
            warn("delivery.drop_late is set: items that are too old by now are dropped by the daemon and not sent");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Setup(error.to_string()))?;
        let max_body = place.settings.ingest.max_body;
        ended = runtime.block_on(replay(&rewrite, &port, which, max_body, &mut report));
        // Takes out what is marked, by an earlier replay that was cut short, too.
        ended = ended.and(rewrite.finish(|_| true).map_err(Failed::from));
    }
    tell(place, which, &report, ended.as_ref().err())?;
    Ok(ended.is_ok() && report.refused == 0 && report.unreadable.is_empty())
}

async fn replay(
    rewrite: &Rewrite,
    port: &Port,
    which: &Which,
    max_body: usize,
    report: &mut Report,
) -> Result<(), Failed> {
    let mut lines = rewrite.lines();
    let mut ended: Result<(), Failed> = Ok(());
    while let Some(line) = lines.read().map_err(Failed::Read)? {
        let letter = match line.content {
            Content::Letter(letter) if which.wants(letter.kind) => letter,
            Content::Letter(_) | Content::Replayed => continue,
            Content::Unreadable(why) => {
                report.unreadable.push(Unreadable { line: line.number, why });
                continue;
            }
        };
        if ended.is_err() {
            report.kept += 1;
            continue;
        }
        match port.send(&letter, max_body).await {
            Ok(None) => {
                rewrite.mark_replayed(&line.range)?;
                report.letters += 1;
                report.items += u64::from(letter.items);
            }
            Ok(Some((status, reason))) => {
                report.refused += 1;
                if report.told.len() < TOLD {
                    report.told.push(Refused { line: line.number, status, reason });
                }
            }
            Err(failure) => {
                report.kept += 1;
                ended = Err(failure.into());
            }
        }
    }
    ended
}

impl Port {
    fn of(settings: &Settings, tenant: &TenantId, to_present: bool, timeout: Duration) -> Result<Self, Failure> {
        let ingest = &settings.ingest;
        let token = settings.tenants.get(tenant).and_then(|tenant| tenant.ingest_tokens.first().cloned());
        if ingest.require_token && token.is_none() {
            return Err(Failure::NoToken(tenant.clone()));
        }
        let builder = local::builder(ANSWER);
        let listen = ingest.listen.first().map_or("", String::as_str);
        let (builder, at, url) = match local::url_of(listen) {
            Some(url) if url.ends_with(":0") => return Err(Failure::AnyPort(listen.to_owned())),
            Some(url) => (builder, url.clone(), url),
            None if ingest.socket.is_empty() => return Err(Failure::NoListener),
            None => (builder.unix_socket(Path::new(&ingest.socket)), ingest.socket.clone(), "http://localhost".into()),
        };
        let http = builder.build().map_err(|error| Failure::Setup(local::words(error)))?;
        Ok(Self { http, at, url, token, tenant: tenant.clone(), to_present, timeout })
    }

    /// Sends a letter's items; nothing when the daemon has all of them, else why it does not want this letter.
    async fn send(&self, letter: &Letter<'_>, max_body: usize) -> Result<Option<(Option<u16>, String)>, Failure> {
        let requests = match letter.requests(max_body) {
            Ok(requests) => requests,
            Err(why) => return Ok(Some((None, why))),
        };
        let url = format!("{}/tenants/{}{}", self.url, self.tenant, letter.kind.endpoint().path());
        for body in requests {
            let body = bytes::Bytes::from(body);
            if let Some(refusal) = self.post(&url, letter, body).await? {
                return Ok(Some(refusal));
            }
        }
        Ok(None)
    }

    /// Posts until the daemon takes the body or refuses it for good.
    async fn post(
        &self,
        url: &str,
        letter: &Letter<'_>,
        body: bytes::Bytes,
    ) -> Result<Option<(Option<u16>, String)>, Failure> {
        let unreachable = |error| Failure::Unreachable { at: self.at.clone(), reason: local::words(error) };
        let end = Instant::now() + self.timeout;
        let mut told = false;
        loop {
            let mut request = self.http.post(url).header("content-type", letter.kind.content_type()).body(body.clone());
            if !self.to_present {
                request = request.header("dogsled-generation", letter.generation);
            }
            if let Some(token) = &self.token {
                request = request.header("dd-api-key", token.expose());
            }
            let answer = request.send().await.map_err(unreachable)?;
            let status = answer.status();
            let pause = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            let pause = pause.map_or(PAUSE, Duration::from_secs);
            let words = local::errors_of(&answer.text().await.map_err(unreachable)?);
            let number = status.as_u16();
            match status {
                StatusCode::ACCEPTED => return Ok(None),
                StatusCode::BAD_REQUEST
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNSUPPORTED_MEDIA_TYPE
                | StatusCode::UNPROCESSABLE_ENTITY
                | StatusCode::CONFLICT => return Ok(Some((Some(number), words))),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                    if pause <= end.saturating_duration_since(Instant::now()) =>
                {
                    if !std::mem::replace(&mut told, true) {
                        warn(format_args!("the daemon takes nothing at present, waiting: HTTP {number}: {words}"));
                    }
                    tokio::time::sleep(pause).await;
                }
                _ => {
                    let (at, tenant) = (self.at.clone(), self.tenant.clone());
                    return Err(Failure::Closed { at, tenant, status: number, words });
                }
            }
        }
    }
}

fn tell(place: &Place, which: &Which, report: &Report, ended: Option<&Failed>) -> Result<(), Failed> {
    let Report { letters, items, refused, told, unreadable, kept } = report;
    if place.json {
        let mut row = head(place, &which.tenant);
        row["error"] = ended.map(ToString::to_string).into();
        row["replayed_letters"] = (*letters).into();
        row["replayed_items"] = (*items).into();
        row["refused_letters"] = (*refused).into();
        row["kept_letters"] = (*kept).into();
        row["refused"] = json!(told);
        row["unreadable"] = json!(unreadable);
        return say(row);
    }
    if let Some(failure) = ended {
        complain(failure);
    }
    warn_unreadable(place, &which.tenant, unreadable);
    for Refused { line, status, reason } in told {
        let status = status.map(|status| format!("HTTP {status}: ")).unwrap_or_default();
        warn(format_args!("line {line} is not taken by the daemon, and stays: {status}{}", printable(reason)));
    }
    let what = format!("{} with {}", counted(*letters, "letter"), counted(*items, "item"));
    say(format_args!("replayed {what} of {}", which.words()))?;
    if *refused > 0 {
        say(format_args!("{} not taken by the daemon, and kept", counted(*refused, "letter")))?;
    }
    if *kept > 0 {
        say(format_args!("{} not replayed, and kept", counted(*kept, "letter")))?;
    }
    if *letters > 0 {
        say("items that Datadog refuses again become new dead letters")?;
    }
    Ok(())
}
