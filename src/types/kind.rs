//! What Datadog takes: the one place that knows an endpoint and its limits.

use std::fmt;
use std::time::Duration;

/// A form of telemetry: one intake endpoint in one body format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Metric series, v2, JSON.
    SeriesV2Json,
    /// Metric series, v2, protobuf (`MetricPayload`).
    SeriesV2Proto,
    /// Metric series, v1, JSON.
    SeriesV1,
    /// Distribution points, v1, JSON.
    Distributions,
    /// Distribution sketches, protobuf (`SketchPayload`).
    Sketches,
    /// Logs, v2, JSON.
    Logs,
    /// Events, v1, JSON; one a request.
    EventV1,
    /// Events, v2, JSON; one a request.
    EventV2,
    /// Service checks, JSON.
    CheckRun,
}

/// A Datadog endpoint. A rate limit or an outage is a matter of the endpoint, so kinds that share one wait together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Endpoint {
    /// `/api/v2/series`
    SeriesV2,
    /// `/api/v1/series`
    SeriesV1,
    /// `/api/v1/distribution_points`
    Distributions,
    /// `/api/beta/sketches`
    Sketches,
    /// `/api/v2/logs`
    Logs,
    /// `/api/v1/events`
    EventsV1,
    /// `/api/v2/events`
    EventsV2,
    /// `/api/v1/check_run`
    CheckRun,
}

/// Which of a site's hosts an endpoint lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostRole {
    /// `api.<site>`
    Api,
    /// `http-intake.logs.<site>`
    Logs,
    /// `event-management-intake.<site>`
    Events,
    /// The web application, where a customer authorises.
    App,
}

/// A content encoding of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// No compression.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// deflate, which for Datadog means the zlib format (RFC 1950).
    Deflate,
    /// Zstandard.
    Zstd,
}

/// What one request to an endpoint may hold. A batch stays within all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Items a request.
    pub items: u32,
    /// Bytes of the body before compression.
    pub uncompressed: usize,
    /// Bytes of the body as sent.
    pub compressed: usize,
}

impl Kind {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [Self; 9] = [
        Self::SeriesV2Json,
        Self::SeriesV2Proto,
        Self::SeriesV1,
        Self::Distributions,
        Self::Sketches,
        Self::Logs,
        Self::EventV1,
        Self::EventV2,
        Self::CheckRun,
    ];

    /// The name used in metrics, logs and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::SeriesV2Json => "series_v2",
            Self::SeriesV2Proto => "series_v2_protobuf",
            Self::SeriesV1 => "series_v1",
            Self::Distributions => "distribution_points",
            Self::Sketches => "sketches",
            Self::Logs => "logs",
            Self::EventV1 => "event_v1",
            Self::EventV2 => "event_v2",
            Self::CheckRun => "check_run",
        }
    }

    /// The kind of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The endpoint that takes this kind.
    pub fn endpoint(self) -> Endpoint {
        match self {
            Self::SeriesV2Json | Self::SeriesV2Proto => Endpoint::SeriesV2,
            Self::SeriesV1 => Endpoint::SeriesV1,
            Self::Distributions => Endpoint::Distributions,
            Self::Sketches => Endpoint::Sketches,
            Self::Logs => Endpoint::Logs,
            Self::EventV1 => Endpoint::EventsV1,
            Self::EventV2 => Endpoint::EventsV2,
            Self::CheckRun => Endpoint::CheckRun,
        }
    }

    /// What one request may hold.
    ///
    /// Metrics v2: docs.datadoghq.com/api/latest/metrics (512,000 bytes, less than 5,242,880 decompressed). Metrics v1:
    /// the same page (3,200,000, less than 62,914,560). Distribution points: no limit is published; those of v1 series. Sketches: no limit
    /// is published; the smallest that any of Datadog's own senders uses. Logs: docs.datadoghq.com/api/latest/logs
    /// (5 MB uncompressed, 1,000 entries). Events: one a request. Check runs: no limit is published; the Agent's.
    pub fn limits(self) -> Limits {
        let (items, uncompressed, compressed) = match self {
            Self::SeriesV2Json | Self::SeriesV2Proto => (10_000, 5_242_879, 512_000),
            Self::SeriesV1 | Self::Distributions => (10_000, 62_914_559, 3_200_000),
            Self::Sketches => (10_000, 4_194_304, 512_000),
            Self::Logs => (1_000, 5_000_000, 5_000_000),
            Self::EventV1 | Self::EventV2 => (1, 1_048_576, 1_048_576),
            Self::CheckRun => (1_000, 2_097_152, 2_097_152),
        };
        Limits { items, uncompressed, compressed }
    }

    /// What stands before the first item of a request body.
    pub fn prefix(self) -> &'static [u8] {
        match self {
            Self::SeriesV2Json | Self::SeriesV1 | Self::Distributions => b"{\"series\":[",
            Self::Logs | Self::CheckRun => b"[",
            Self::SeriesV2Proto | Self::Sketches | Self::EventV1 | Self::EventV2 => b"",
        }
    }

    /// What stands between two items.
    pub fn separator(self) -> &'static [u8] {
        if self.is_protobuf() { b"" } else { b"," }
    }

    /// What stands after the last item of a request body.
    pub fn suffix(self) -> &'static [u8] {
        match self {
            Self::SeriesV2Json | Self::SeriesV1 | Self::Distributions => b"]}",
            Self::Logs | Self::CheckRun => b"]",
            Self::SeriesV2Proto | Self::Sketches | Self::EventV1 | Self::EventV2 => b"",
        }
    }

    /// Whether items are protobuf fields (else JSON values).
    pub fn is_protobuf(self) -> bool {
        matches!(self, Self::SeriesV2Proto | Self::Sketches)
    }

    /// The `Content-Type` of a request.
    pub fn content_type(self) -> &'static str {
        if self.is_protobuf() { "application/x-protobuf" } else { "application/json" }
    }

    /// The encodings that the endpoint takes, the preferred one first.
    ///
    /// The published lists, and what Datadog's own senders use where those are silent: zstd on logs and sketches is
    /// what the Agent sends; service checks are sent compressed by the Agent; events are sent plain by every sender.
    pub fn encodings(self) -> &'static [Encoding] {
        use Encoding::{Deflate, Gzip, Identity, Zstd};
        match self {
            Self::SeriesV2Json | Self::SeriesV2Proto | Self::Logs => &[Zstd, Gzip, Deflate, Identity],
            Self::SeriesV1 => &[Deflate, Gzip, Identity],
            Self::Sketches => &[Zstd, Deflate, Identity],
            Self::Distributions | Self::CheckRun => &[Deflate, Identity],
            Self::EventV1 | Self::EventV2 => &[Identity],
        }
    }

    /// The age past which Datadog does not keep an item: metrics one hour, logs and events 18 hours, service checks
    /// ten minutes (docs.datadoghq.com/api/latest/metrics, .../logs, .../events, .../service-checks).
    pub fn max_age(self) -> Duration {
        Duration::from_secs(match self {
            Self::SeriesV2Json | Self::SeriesV2Proto | Self::SeriesV1 | Self::Distributions | Self::Sketches => 3_600,
            Self::Logs | Self::EventV1 | Self::EventV2 => 18 * 3_600,
            Self::CheckRun => 600,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Endpoint {
    /// How many endpoints there are.
    pub const COUNT: usize = 8;

    /// Every endpoint, in the order of their discriminants.
    pub const ALL: [Self; Self::COUNT] = [
        Self::SeriesV2,
        Self::SeriesV1,
        Self::Distributions,
        Self::Sketches,
        Self::Logs,
        Self::EventsV1,
        Self::EventsV2,
        Self::CheckRun,
    ];

    /// The path on its host.
    pub fn path(self) -> &'static str {
        match self {
            Self::SeriesV2 => "/api/v2/series",
            Self::SeriesV1 => "/api/v1/series",
            Self::Distributions => "/api/v1/distribution_points",
            Self::Sketches => "/api/beta/sketches",
            Self::Logs => "/api/v2/logs",
            Self::EventsV1 => "/api/v1/events",
            Self::EventsV2 => "/api/v2/events",
            Self::CheckRun => "/api/v1/check_run",
        }
    }

    /// Which host of the site serves it.
    pub fn host_role(self) -> HostRole {
        match self {
            Self::Logs => HostRole::Logs,
            Self::EventsV2 => HostRole::Events,
            _ => HostRole::Api,
        }
    }
}

impl Encoding {
    /// The value of `Content-Encoding`, nothing for identity. Datadog's enum says `zstd1`, but its own senders and
    /// documentation use `zstd`, and the intakes take it.
    pub fn header(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Deflate => Some("deflate"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// The name used in configuration and metrics.
    pub fn name(self) -> &'static str {
        self.header().unwrap_or("none")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_index() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(kind as usize, index);
            assert_eq!(Endpoint::ALL[kind.endpoint() as usize], kind.endpoint());
        }
    }
}
