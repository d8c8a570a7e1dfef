//! The submission endpoints of the stand-in: what each accepts and how it words refusals.
//!
//! Written from Datadog's documentation, not from [`crate::types::Kind`], so that the two check each other.

/// How an endpoint words its refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// `{"errors":["text"]}`
    Plain,
    /// v1 series: `errors` among a status page, a Twitter handle and an address.
    Series1,
    /// Logs v1: `{"code":403,"message":"text"}`
    Logs1,
    /// Logs v2, events v2: `{"errors":[{"status","title","detail"}]}`
    Detailed,
}

/// The form of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Series2Json,
    Series2Proto,
    Series1,
    Distributions,
    Sketches,
    LogsJson,
    LogsText,
    Event1,
    Event2,
    CheckRun,
    AgentIntake,
}

impl Form {
    /// The kind that requests of this form are counted as.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Series2Json => "series_v2",
            Self::Series2Proto => "series_v2_protobuf",
            Self::Series1 => "series_v1",
            Self::Distributions => "distribution_points",
            Self::Sketches => "sketches",
            Self::LogsJson | Self::LogsText => "logs",
            Self::Event1 => "event_v1",
            Self::Event2 => "event_v2",
            Self::CheckRun => "check_run",
            Self::AgentIntake => "agent_intake",
        }
    }
}

/// One submission endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// The path, without the key that some take behind it.
    pub(super) path: &'static str,
    /// The form for a request without a content type that says otherwise.
    pub(super) form: Form,
    /// The content codings, besides none, that it undoes.
    pub(super) encodings: &'static [&'static str],
    /// The most bytes of the body as sent.
    pub(super) max_sent: usize,
    /// The most bytes of the body once decompressed.
    pub(super) max_decompressed: usize,
    /// The form of its refusals.
    pub(super) voice: Voice,
}

/// Every submission endpoint.
///
/// Sizes: docs.datadoghq.com/api/latest/metrics says for v2 "512,000 bytes", decompressed "less than 5,242,880", for v1
/// 3,200,000 and less than 62,914,560; docs.datadoghq.com/api/latest/logs says 5 MB. For the others nothing is
/// published: distribution points as v1 series, sketches as v2 series (what saluki's stand-in observed), checks and
/// the Agent's form as the Agent limits itself.
///
/// Codings: those of the API specification, and those that Datadog's own senders use where it is silent (zstd on v2
/// series, sketches, logs, checks; deflate on checks and the Agent's form).
pub(super) static ENDPOINTS: [Endpoint; 10] = [
    Endpoint {
        path: "/api/v2/series",
        form: Form::Series2Json,
        encodings: &["deflate", "gzip", "zstd", "zstd1"],
        max_sent: 512_000,
        max_decompressed: 5_242_879,
        voice: Voice::Plain,
    },
    Endpoint {
        path: "/api/v1/series",
        form: Form::Series1,
        encodings: &["deflate", "gzip"],
        max_sent: 3_200_000,
        max_decompressed: 62_914_559,
        voice: Voice::Series1,
    },
    Endpoint {
        path: "/api/v1/distribution_points",
        form: Form::Distributions,
        encodings: &["deflate"],
        max_sent: 3_200_000,
        max_decompressed: 62_914_559,
        voice: Voice::Plain,
    },
    Endpoint {
        path: "/api/beta/sketches",
        form: Form::Sketches,
        encodings: &["deflate", "gzip", "zstd", "zstd1"],
        max_sent: 512_000,
        max_decompressed: 5_242_880,
        voice: Voice::Plain,
    },
    Endpoint {
        path: "/api/v2/logs",
        form: Form::LogsJson,
        encodings: &["gzip", "deflate", "zstd"],
        max_sent: 5_000_000,
        max_decompressed: 5_000_000,
        voice: Voice::Detailed,
    },
    Endpoint {
        path: "/v1/input",
        form: Form::LogsJson,
        encodings: &["gzip", "deflate"],
        max_sent: 5_000_000,
        max_decompressed: 5_000_000,
        voice: Voice::Logs1,
    },
    Endpoint {
        path: "/api/v1/events",
        form: Form::Event1,
        encodings: &[],
        max_sent: 2_621_440,
        max_decompressed: 4_194_304,
        voice: Voice::Plain,
    },
    Endpoint {
        path: "/api/v2/events",
        form: Form::Event2,
        encodings: &[],
        max_sent: 2_621_440,
        max_decompressed: 4_194_304,
        voice: Voice::Detailed,
    },
    Endpoint {
        path: "/api/v1/check_run",
        form: Form::CheckRun,
        encodings: &["deflate", "zstd"],
        max_sent: 2_621_440,
        max_decompressed: 4_194_304,
        voice: Voice::Plain,
    },
    Endpoint {
        path: "/intake",
        form: Form::AgentIntake,
        encodings: &["deflate", "zstd"],
        max_sent: 2_621_440,
        max_decompressed: 4_194_304,
        voice: Voice::Plain,
    },
];

impl Endpoint {
    /// The endpoint that serves `path`, and the key where the path holds one.
    pub(super) fn find(path: &str) -> Option<(&'static Self, Option<&str>)> {
        // `/api/v1/input` is the same endpoint under the path that older shippers use.
        let path = if path.starts_with("/api/v1/input") { &path["/api".len()..] } else { path };
        ENDPOINTS.iter().find_map(|endpoint| {
            let rest = path.strip_prefix(endpoint.path)?;
            match rest.strip_prefix('/') {
                None if rest.is_empty() => Some((endpoint, None)),
                Some("") => Some((endpoint, None)),
                Some(key) if endpoint.voice == Voice::Logs1 && !key.contains('/') => Some((endpoint, Some(key))),
                _ => None,
            }
        })
    }

    /// The form of a body with this content type; `None` when the endpoint does not accept the type.
    pub(super) fn form_of(&self, content_type: Option<&str>) -> Option<Form> {
        let essence = content_type.map(|value| value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase());
        let is_logs = self.form == Form::LogsJson;
        match (self.form, essence.as_deref()) {
            (Form::Series2Json, Some("application/x-protobuf")) => Some(Form::Series2Proto),
            (Form::Sketches, Some("application/x-protobuf")) => Some(Form::Sketches),
            (Form::Sketches, _) => None,
            (form, Some("application/json")) => Some(form),
            // The v1 specification says this, though its clients send application/json.
            (form @ (Form::Series1 | Form::Distributions | Form::Event1 | Form::CheckRun), Some("text/json")) => {
                Some(form)
            }
            (_, Some("text/plain" | "application/logplex-1")) if is_logs => Some(Form::LogsText),
            (form, None) if is_logs => Some(form),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Kind;

    #[test]
    fn the_names_are_those_of_the_daemons_kinds() {
        for kind in Kind::ALL {
            let (endpoint, _) = Endpoint::find(kind.endpoint().path()).unwrap();
            let form = endpoint.form_of(Some(kind.content_type())).unwrap();
            assert_eq!(form.kind(), kind.name());
        }
    }

    #[test]
    fn only_log_paths_carry_a_key() {
        for path in ["/v1/input/abc", "/api/v1/input/abc"] {
            let (endpoint, key) = Endpoint::find(path).unwrap();
            assert_eq!((endpoint.path, key), ("/v1/input", Some("abc")));
        }
        assert!(Endpoint::find("/api/v2/logs/abc").is_none());
        assert!(Endpoint::find("/api/v2/logsabc").is_none());
        assert!(Endpoint::find("/v1/input/a/b").is_none());
        assert_eq!(Endpoint::find("/intake/").unwrap().0.path, "/intake");
    }
}
