//! What Datadog takes: the one place that knows an endpoint and its limits.
//!
//! A kind is one literal, and so is an endpoint: nothing else in the program is parallel to them.

use std::fmt;
use std::time::Duration;

/// Declares an enum with what is true of each variant, found by an index into a table.
macro_rules! table {
    (
        $(#[$of_enum:meta])*
        pub enum $Enum:ident: $Facts:ident {
            $($(#[$of_variant:meta])* $Variant:ident = { $($facts:tt)* },)*
        }
    ) => {
        $(#[$of_enum])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $Enum {
            $($(#[$of_variant])* $Variant,)*
        }

        impl $Enum {
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// All of them, in the order of their discriminants.
            pub const ALL: [Self; [$(stringify!($Variant)),*].len()] = [$(Self::$Variant),*];

            #[inline]
            fn facts(self) -> &'static $Facts {
                static FACTS: [$Facts; $Enum::COUNT] = [$($Facts { $($facts)* }),*];
                &FACTS[self as usize]
            }
        }
    };
}

/// What is true of a kind.
#[derive(Debug)]
struct KindFacts {
    /// The name used in metrics, logs, file names and the journal.
    name: &'static str,
    endpoint: Endpoint,
    framing: Framing,
    limits: Limits,
    /// The preferred one first.
    encodings: &'static [Encoding],
    max_age: Duration,
}

/// docs.datadoghq.com/api/latest/metrics: less than 5,242,880 bytes decompressed, 512,000 as sent.
const SERIES_V2: Limits = Limits { items: 10_000, uncompressed: 5_242_879, compressed: 512_000 };

/// docs.datadoghq.com/api/latest/metrics: less than 62,914,560 bytes decompressed, 3,200,000 as sent.
const SERIES_V1: Limits = Limits { items: 10_000, uncompressed: 62_914_559, compressed: 3_200_000 };

/// One event a request (docs.datadoghq.com/api/latest/events).
const EVENT: Limits = Limits { items: 1, uncompressed: 1_048_576, compressed: 1_048_576 };

/// docs.datadoghq.com/api/latest/metrics: points may be an hour old.
const METRICS_AGE: Duration = Duration::from_hours(1);

/// docs.datadoghq.com/api/latest/logs, .../events: entries may be 18 hours old.
const LOGS_AGE: Duration = Duration::from_hours(18);

/// The published list for series v2 and what the Agent sends logs with.
const ALL_ENCODINGS: &[Encoding] = &[Encoding::Zstd, Encoding::Gzip, Encoding::Deflate, Encoding::Identity];

table! {
    /// A form of telemetry: one intake endpoint in one body format.
    pub enum Kind: KindFacts {
        /// Metric series, v2, JSON.
        SeriesV2Json = {
            name: "series_v2",
            endpoint: Endpoint::SeriesV2,
            framing: Framing::SeriesObject,
            limits: SERIES_V2,
            encodings: ALL_ENCODINGS,
            max_age: METRICS_AGE,
        },
        /// Metric series, v2, protobuf (`MetricPayload`).
        SeriesV2Proto = {
            name: "series_v2_protobuf",
            endpoint: Endpoint::SeriesV2,
            framing: Framing::Protobuf,
            limits: SERIES_V2,
            encodings: ALL_ENCODINGS,
            max_age: METRICS_AGE,
        },
        /// Metric series, v1, JSON.
        SeriesV1 = {
            name: "series_v1",
            endpoint: Endpoint::SeriesV1,
            framing: Framing::SeriesObject,
            limits: SERIES_V1,
            encodings: &[Encoding::Deflate, Encoding::Gzip, Encoding::Identity],
            max_age: METRICS_AGE,
        },
        /// Distribution points, v1, JSON. No limit is published: those of v1 series.
        Distributions = {
            name: "distribution_points",
            endpoint: Endpoint::Distributions,
            framing: Framing::SeriesObject,
            limits: SERIES_V1,
            encodings: &[Encoding::Deflate, Encoding::Identity],
            max_age: METRICS_AGE,
        },
        /// Distribution sketches, protobuf (`SketchPayload`). No limit is published: the smallest that any of Datadog's own
        /// senders uses. zstd is what the Agent sends.
        Sketches = {
            name: "sketches",
            endpoint: Endpoint::Sketches,
            framing: Framing::Protobuf,
            limits: Limits { items: 10_000, uncompressed: 4_194_304, compressed: 512_000 },
            encodings: &[Encoding::Zstd, Encoding::Deflate, Encoding::Identity],
            max_age: METRICS_AGE,
        },
        /// Logs, v2, JSON: 5 MB uncompressed and 1,000 entries (docs.datadoghq.com/api/latest/logs).
        Logs = {
            name: "logs",
            endpoint: Endpoint::Logs,
            framing: Framing::Array,
            limits: Limits { items: 1_000, uncompressed: 5_000_000, compressed: 5_000_000 },
            encodings: ALL_ENCODINGS,
            max_age: LOGS_AGE,
        },
        /// Events, v1, JSON; one a request. Every sender sends them plain.
        EventV1 = {
            name: "event_v1",
            endpoint: Endpoint::EventsV1,
            framing: Framing::Single,
            limits: EVENT,
            encodings: &[Encoding::Identity],
            max_age: LOGS_AGE,
        },
        /// Events, v2, JSON; one a request. Every sender sends them plain.
        EventV2 = {
            name: "event_v2",
            endpoint: Endpoint::EventsV2,
            framing: Framing::Single,
            limits: EVENT,
            encodings: &[Encoding::Identity],
            max_age: LOGS_AGE,
        },
        /// Service checks, JSON. No limit is published: the Agent's, which also sends them compressed. They may be ten minutes
        /// old (docs.datadoghq.com/api/latest/service-checks).
        CheckRun = {
            name: "check_run",
            endpoint: Endpoint::CheckRun,
            framing: Framing::Array,
            limits: Limits { items: 1_000, uncompressed: 2_097_152, compressed: 2_097_152 },
            encodings: &[Encoding::Deflate, Encoding::Identity],
            max_age: Duration::from_mins(10),
        },
    }
}

/// What is true of an endpoint.
#[derive(Debug)]
struct EndpointFacts {
    host: HostRole,
    path: &'static str,
}

table! {
    /// A Datadog endpoint. A rate limit or an outage is a matter of the endpoint, so kinds that share one wait together.
    pub enum Endpoint: EndpointFacts {
        /// Metric series, v2, in either format.
        SeriesV2 = { host: HostRole::Api, path: "/api/v2/series" },
        /// Metric series, v1.
        SeriesV1 = { host: HostRole::Api, path: "/api/v1/series" },
        /// Distribution points.
        Distributions = { host: HostRole::Api, path: "/api/v1/distribution_points" },
        /// Distribution sketches.
        Sketches = { host: HostRole::Api, path: "/api/beta/sketches" },
        /// Logs.
        Logs = { host: HostRole::Logs, path: "/api/v2/logs" },
        /// Events, v1.
        EventsV1 = { host: HostRole::Api, path: "/api/v1/events" },
        /// Events, v2.
        EventsV2 = { host: HostRole::Events, path: "/api/v2/events" },
        /// Service checks.
        CheckRun = { host: HostRole::Api, path: "/api/v1/check_run" },
    }
}

/// How items stand in a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// JSON values in the array `series` of an object.
    SeriesObject,
    /// JSON values in an array.
    Array,
    /// One JSON value alone.
    Single,
    /// Fields of a protobuf message.
    Protobuf,
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
    /// The name used in metrics, logs and file names.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The kind of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The endpoint that takes this kind.
    pub fn endpoint(self) -> Endpoint {
        self.facts().endpoint
    }

    /// What one request may hold.
    pub fn limits(self) -> Limits {
        self.facts().limits
    }

    /// How items stand in a request body.
    pub fn framing(self) -> Framing {
        self.facts().framing
    }

    /// What stands before the first item of a request body.
    pub fn prefix(self) -> &'static [u8] {
        match self.framing() {
            Framing::SeriesObject => b"{\"series\":[",
            Framing::Array => b"[",
            Framing::Single | Framing::Protobuf => b"",
        }
    }

    /// What stands between two items.
    pub fn separator(self) -> &'static [u8] {
        if self.is_protobuf() { b"" } else { b"," }
    }

    /// What stands after the last item of a request body.
    pub fn suffix(self) -> &'static [u8] {
        match self.framing() {
            Framing::SeriesObject => b"]}",
            Framing::Array => b"]",
            Framing::Single | Framing::Protobuf => b"",
        }
    }

    /// Whether items are protobuf fields (else JSON values).
    pub fn is_protobuf(self) -> bool {
        self.framing() == Framing::Protobuf
    }

    /// The `Content-Type` of a request.
    pub fn content_type(self) -> &'static str {
        if self.is_protobuf() { "application/x-protobuf" } else { "application/json" }
    }

    /// The encodings that the endpoint takes, the preferred one first: the published lists, and what Datadog's own senders
    /// use where those are silent.
    pub fn encodings(self) -> &'static [Encoding] {
        self.facts().encodings
    }

    /// The age past which Datadog does not keep an item.
    pub fn max_age(self) -> Duration {
        self.facts().max_age
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Endpoint {
    /// The path on its host.
    pub fn path(self) -> &'static str {
        self.facts().path
    }

    /// Which host of the site serves it.
    pub fn host_role(self) -> HostRole {
        self.facts().host
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
    fn kinds_are_found_by_name_and_index() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(kind as usize, index);
            assert_eq!(Endpoint::ALL[kind.endpoint() as usize], kind.endpoint());
        }
    }
}
