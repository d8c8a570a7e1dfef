//! What an answer of Datadog means for a payload. Pure logic.

use crate::types::Encoding;
use std::time::{Duration, SystemTime};

/// An answer to a submission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The least time to wait that the answer asks for.
    pub wait: Option<Duration>,
    /// The rate limit that the answer tells.
    pub quota: Option<Quota>,
    /// The requests left until that resets.
    pub left: Option<u64>,
    /// The body's beginning, for people.
    pub message: String,
    /// When it was made, by the server's clock.
    pub date: Option<SystemTime>,
    /// The body is a web page, which a proxy or a portal on the way has made, and not Datadog.
    pub is_page: bool,
}

impl Answer {
    /// Status and message, for people.
    pub fn summary(&self) -> String {
        format!("{} {}", self.status, self.message).trim_end().to_owned()
    }
}

/// A rate limit: so many requests in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The number of requests; at least 1.
    pub limit: u32,
    /// The length of the period; at least a second.
    pub period: Duration,
}

/// What to do with the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has arrived.
    Delivered,
    /// Send it again later.
    Retry,
    /// Send it again, not before the time that the answer names.
    Throttled,
    /// Split it.
    TooLarge,
    /// An item in it is refused: find out which.
    Malformed,
    /// Encode it otherwise.
    WrongEncoding,
    /// The key is in doubt.
    Unauthorized,
}

/// Longer waits than this are not believed.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Judges an answer to a payload that was sent in `encoding`.
pub fn judge(answer: &Answer, encoding: Encoding) -> Verdict {
    match answer.status {
        200..=299 if !answer.is_page => Verdict::Delivered,
        400 if answer.is_page => Verdict::Retry,
        400 if encoding != Encoding::Identity && names_the_encoding(&answer.message) => Verdict::WrongEncoding,
        400 => Verdict::Malformed,
        401 | 403 => Verdict::Unauthorized,
        408 => Verdict::Retry,
        413 => Verdict::TooLarge,
        415 if encoding != Encoding::Identity => Verdict::WrongEncoding,
        429 => Verdict::Throttled,
        // Anything else says nothing about the payload: the endpoint fails, or something on the way to it answers, such as a
        // proxy that does not know the path (404) or wants a password (407). A redirect is not followed, since it would
        // carry the key elsewhere.
        _ => Verdict::Retry,
    }
}

fn names_the_encoding(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("content-encoding") || message.contains("content encoding") || message.contains("zstd")
}

/// Whether an answer is a web page. Datadog's own are JSON or plain text, whatever their content type says; none of its
/// recorded answers begins with a tag.
pub fn is_page(content_type: Option<&str>, body: &[u8]) -> bool {
    let is_html =
        |name: &str| ["text/html", "application/xhtml+xml"].iter().any(|html| name.eq_ignore_ascii_case(html));
    let named = content_type.and_then(|value| value.split(';').next()).is_some_and(|name| is_html(name.trim()));
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    named || body.trim_ascii_start().first() == Some(&b'<')
}

/// Reads the headers that tell of rate limits
/// (docs.datadoghq.com/api/latest/rate-limits; `Retry-After` is not documented there, but honoured).
pub fn read_limits<'a>(now: SystemTime, header: impl Fn(&str) -> Option<&'a str>) -> Answer {
    let seconds = |name: &str| header(name)?.trim().parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0);
    let made = header("date").and_then(|date| httpdate::parse_http_date(date.trim()).ok());
    let retry_after = match header("retry-after") {
        None => None,
        Some(_) if seconds("retry-after").is_some() => seconds("retry-after"),
        Some(date) => httpdate::parse_http_date(date.trim()).ok().map(|at| {
            // Against the server's own clock where it tells it.
            at.duration_since(made.unwrap_or(now)).unwrap_or_default().as_secs_f64()
        }),
    };
    let wait = match (retry_after, seconds("x-ratelimit-reset")) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
    let wait = wait.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT));
    let quota = match (seconds("x-ratelimit-limit"), seconds("x-ratelimit-period")) {
        (Some(limit), Some(period)) if limit >= 1.0 && period >= 1.0 => Some(Quota {
            limit: limit.min(f64::from(u32::MAX)) as u32,
            period: Duration::try_from_secs_f64(period).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT),
        }),
        _ => None,
    };
    let left = seconds("x-ratelimit-remaining").map(|left| left as u64);
    Answer { wait, quota, left, date: made, ..Answer::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, message: &str) -> Verdict {
        judge(&Answer { status, message: message.into(), ..Answer::default() }, Encoding::Zstd)
    }

    #[test]
    fn each_status_has_its_verdict() {
        use Verdict::*;
        for (status, expected) in [
            (200, Delivered),
            (202, Delivered),
            (301, Retry),
            (400, Malformed),
            (401, Unauthorized),
            (402, Retry),
            (403, Unauthorized),
            (404, Retry),
            (405, Retry),
            (407, Retry),
            (408, Retry),
            (413, TooLarge),
            (415, WrongEncoding),
            (422, Retry),
            (429, Throttled),
            (500, Retry),
            (503, Retry),
            (599, Retry),
        ] {
            assert_eq!(verdict(status, ""), expected, "{status}");
        }
        assert_eq!(verdict(400, "unsupported Content-Encoding: zstd"), WrongEncoding);
        let plain = judge(&Answer { status: 415, ..Answer::default() }, Encoding::Identity);
        assert_eq!(plain, Retry, "there is no plainer encoding to fall back to");
        for status in [200, 202, 204, 400] {
            let page = Answer { status, is_page: true, ..Answer::default() };
            assert_eq!(judge(&page, Encoding::Zstd), Retry, "a page with {status}");
        }
    }

    #[test]
    fn pages_are_told_from_datadogs_answers() {
        for (content_type, body) in [
            (Some("text/html; charset=utf-8"), ""),
            (Some("TEXT/HTML"), "{}"),
            (Some("application/xhtml+xml"), ""),
            (Some("application/json"), "\u{feff} \r\n<!DOCTYPE html><html>"),
            (None, "<html>"),
        ] {
            assert!(is_page(content_type, body.as_bytes()), "{content_type:?} {body:?}");
        }
        for (content_type, body) in [
            (None, ""),
            (Some("text/json"), r#"{"status":"ok"}"#),
            (Some("text/plain"), "Payload accepted"),
            (Some("application/json"), "{\"errors\":[\"<html>\"]}"),
            (Some("application/octet-stream"), "\u{1}\u{2}"),
        ] {
            assert!(!is_page(content_type, body.as_bytes()), "{content_type:?} {body:?}");
        }
    }

    fn limits(pairs: &[(&str, &'static str)]) -> Answer {
        read_limits(SystemTime::UNIX_EPOCH, |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| *value))
    }

    #[test]
    fn the_longer_of_two_waits_counts() {
        let Answer { wait, quota, left, .. } = limits(&[
            ("retry-after", "3"),
            ("x-ratelimit-reset", "7"),
            ("x-ratelimit-limit", "10"),
            ("x-ratelimit-period", "60"),
            ("x-ratelimit-remaining", "4"),
        ]);
        assert_eq!(left, Some(4));
        assert_eq!(wait, Some(Duration::from_secs(7)));
        assert_eq!(quota, Some(Quota { limit: 10, period: Duration::from_secs(60) }));
    }

    #[test]
    fn dates_are_read_against_the_servers_clock() {
        let answer =
            limits(&[("retry-after", "Sat, 21 Nov 2026 10:00:30 GMT"), ("date", "Sat, 21 Nov 2026 10:00:00 GMT")]);
        assert_eq!(answer.wait, Some(Duration::from_secs(30)));
    }

    #[test]
    fn nonsense_is_not_believed() {
        for value in ["-1", "soon", "NaN", "inf", ""] {
            let names = ["x-ratelimit-reset", "x-ratelimit-limit", "x-ratelimit-remaining"];
            assert_eq!(limits(&names.map(|name| (name, value))), Answer::default(), "{value}");
        }
        assert_eq!(limits(&[("retry-after", "1e300")]).wait, Some(LONGEST_WAIT));
        assert_eq!(limits(&[("x-ratelimit-limit", "0"), ("x-ratelimit-period", "10")]).quota, None);
    }
}
