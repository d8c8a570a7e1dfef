//! Which path means what: one literal a path. Pure.

use crate::wire::Form;
use crate::wire::otlp::Signal;
use hyper::StatusCode;

/// What takes telemetry on a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Intake {
    /// The form of a body of each type that is taken. A body of no type has the first.
    forms: &'static [(BodyType, Form)],
    /// Datadog's answer when everything was taken (docs.datadoghq.com/api/latest: metrics, logs, service-checks). datadogpy raises
    /// on any answer with the key `errors` from a v1 path.
    pub success: (StatusCode, &'static str),
    /// The form of refusals.
    pub voice: Voice,
    /// Whether that has a list of errors, for the items that were not taken.
    pub tells_errors: bool,
    /// What the answer to an event says instead.
    pub echo: Option<Echo>,
    /// Whether the query may hold attributes for the items.
    pub takes_log_defaults: bool,
}

/// The form of a refusal, which the clients of a path decode (recorded answers; docs.datadoghq.com/api/latest).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Voice {
    /// `{"errors":["text"]}`
    #[default]
    Texts,
    /// `{"errors":[{"status":"400","title":"Bad Request","detail":"text"}]}`
    Objects,
    /// `{"code":400,"message":"text"}`
    Code,
}

/// Which event an answer repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    /// One of version 1.
    EventV1,
    /// One of version 2.
    EventV2,
}

/// What `Content-Type` says of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyType {
    Json,
    Protobuf,
    Text,
}

impl BodyType {
    /// Its names, the usual one first.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["application/json", "text/json"],
            Self::Protobuf => &["application/x-protobuf", "application/protobuf"],
            Self::Text => &["text/plain"],
        }
    }
}

const NOTHING_TOLD: (StatusCode, &str) = (StatusCode::ACCEPTED, "{}");
const STATUS_OK: (StatusCode, &str) = (StatusCode::ACCEPTED, r#"{"status":"ok"}"#);

/// What most paths have in common.
const USUAL: Intake = Intake {
    forms: &[],
    success: STATUS_OK,
    voice: Voice::Texts,
    tells_errors: false,
    echo: None,
    takes_log_defaults: false,
};

const LOGS: Intake = Intake {
    forms: &[(BodyType::Json, Form::LogsJson), (BodyType::Text, Form::LogsText)],
    success: NOTHING_TOLD,
    voice: Voice::Objects,
    takes_log_defaults: true,
    ..USUAL
};

const LOGS_V1: Intake = Intake { success: (StatusCode::OK, "{}"), voice: Voice::Code, ..LOGS };

/// What a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// Telemetry.
    Intake {
        /// What takes it.
        intake: &'static Intake,
        /// The key that the path holds.
        key: Option<&'a str>,
    },
    /// OTLP.
    Otlp(Signal),
    /// OTLP's traces, which are not taken.
    Traces,
    /// Whether the caller's key is good.
    Validate,
    /// What an Agent posts about itself; taken and not forwarded.
    Metadata,
    /// The Agent's columnar series.
    SeriesV3,
    /// Liveness.
    Health,
    /// Readiness.
    Ready,
    /// What became of a request.
    Follow {
        /// The ticket.
        ticket: &'a str,
    },
    /// Nothing.
    Unknown,
}

/// A path taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route<'a> {
    /// The tenant of the prefix `/tenants/<tenant>`.
    pub tenant: Option<&'a str>,
    /// What the rest is for.
    pub target: Target<'a>,
}

impl<'a> Route<'a> {
    /// Takes a path apart. Slashes at either end do not matter: clients join a base address and a path as they like.
    pub(super) fn of(path: &'a str) -> Self {
        let path = path.trim_matches('/');
        let (tenant, rest) = match path.strip_prefix("tenants/") {
            Some(prefixed) => {
                let (tenant, rest) = prefixed.split_once('/').unwrap_or((prefixed, ""));
                (Some(tenant), rest.trim_start_matches('/'))
            }
            None => (None, path),
        };
        Self { tenant, target: Target::of(rest) }
    }
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Self {
        let intake = match path {
            "api/v2/series" => {
                const {
                    &Intake {
                        forms: &[(BodyType::Json, Form::SeriesV2Json), (BodyType::Protobuf, Form::SeriesV2Proto)],
                        success: (StatusCode::ACCEPTED, r#"{"errors":[]}"#),
                        tells_errors: true,
                        ..USUAL
                    }
                }
            }
            "api/v1/series" => const { &Intake { forms: &[(BodyType::Json, Form::SeriesV1)], ..USUAL } },
            "api/v1/distribution_points" => {
                const { &Intake { forms: &[(BodyType::Json, Form::Distributions)], ..USUAL } }
            }
            "api/beta/sketches" => {
                const { &Intake { forms: &[(BodyType::Protobuf, Form::Sketches)], success: NOTHING_TOLD, ..USUAL } }
            }
            "api/v2/logs" => &LOGS,
            "v1/input" => &LOGS_V1,
            "api/v1/events" => {
                const { &Intake { forms: &[(BodyType::Json, Form::EventV1)], echo: Some(Echo::EventV1), ..USUAL } }
            }
            "api/v2/events" => {
                const {
                    &Intake {
                        forms: &[(BodyType::Json, Form::EventV2)],
                        success: NOTHING_TOLD,
                        voice: Voice::Objects,
                        echo: Some(Echo::EventV2),
                        ..USUAL
                    }
                }
            }
            "intake" => const { &Intake { forms: &[(BodyType::Json, Form::AgentIntake)], ..USUAL } },
            "api/v1/check_run" => const { &Intake { forms: &[(BodyType::Json, Form::CheckRun)], ..USUAL } },
            "v1/metrics" => return Self::Otlp(Signal::Metrics),
            "v1/logs" => return Self::Otlp(Signal::Logs),
            "v1/traces" => return Self::Traces,
            "api/v1/validate" => return Self::Validate,
            "api/v1/metadata" | "api/v2/host_metadata" => return Self::Metadata,
            "api/intake/metrics/v3/series" | "api/intake/metrics/v3beta/series" => return Self::SeriesV3,
            "healthz" => return Self::Health,
            "readyz" => return Self::Ready,
            _ => {
                let (parent, last) = path.rsplit_once('/').unwrap_or_default();
                return match parent {
                    "v1/input" => Self::Intake { intake: &LOGS_V1, key: Some(last) },
                    "follow" => Self::Follow { ticket: last },
                    _ => Self::Unknown,
                };
            }
        };
        Self::Intake { intake, key: None }
    }

    /// The form of refusals.
    pub(super) fn voice(self) -> Voice {
        if let Self::Intake { intake, .. } = self { intake.voice } else { Voice::Texts }
    }

    /// The methods that the target takes, as `Allow` lists them; nothing for what does not exist.
    pub(super) fn allow(self) -> Option<&'static str> {
        match self {
            Self::Intake { .. } | Self::Otlp(_) | Self::Traces | Self::Metadata => Some("POST"),
            Self::Validate | Self::Health | Self::Ready | Self::Follow { .. } => Some("GET, HEAD"),
            Self::SeriesV3 | Self::Unknown => None,
        }
    }
}

impl Intake {
    /// The form of a body of that content type; nothing where the type is not taken.
    pub(super) fn form(&self, content_type: Option<&str>) -> Option<Form> {
        let essence =
            content_type.map_or("", |value| value.split_once(';').map_or(value, |(essence, _)| essence).trim());
        if essence.is_empty() {
            return self.forms.first().map(|(_, form)| *form);
        }
        let is = |body_type: BodyType| body_type.names().iter().any(|name| essence.eq_ignore_ascii_case(name));
        self.forms.iter().find(|(body_type, _)| is(*body_type)).map(|(_, form)| *form)
    }

    /// The content types that are taken, in words.
    pub(super) fn content_types(&self) -> String {
        let names: Vec<_> = self.forms.iter().map(|(body_type, _)| body_type.names()[0]).collect();
        names.join(" or ")
    }
}

/// A path as an error may show it: without what could be a key, in whichever form. What stands behind `/v1/input/` is one, and
/// what has a percent sign in it may hide one.
pub(super) fn shown(path: &str) -> String {
    let path: String = path.chars().take(200).collect();
    let (path, key) = match path.find("v1/input/") {
        Some(at) => (&path[..at + "v1/input/".len()], "…"),
        None => (path.as_str(), ""),
    };
    let segments: Vec<&str> = path.split('/').map(|part| if part.contains('%') { "…" } else { part }).collect();
    segments.join("/") + key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_without_what_could_be_a_key() {
        for (path, as_shown) in [
            ("/api/v9/series", "/api/v9/series"),
            ("/v1/input/secret/more", "/v1/input/…"),
            ("/tenants/acme/v1/input/secret/", "/tenants/acme/v1/input/…"),
            ("/api/%30%31/logs", "/api/…/logs"),
        ] {
            assert_eq!(shown(path), as_shown);
        }
        assert_eq!(shown(&"ü".repeat(1_000)).chars().count(), 200);
    }

    fn form(path: &str, content_type: Option<&str>) -> Option<Form> {
        match Route::of(path).target {
            Target::Intake { intake, .. } => intake.form(content_type),
            _ => None,
        }
    }

    #[test]
    fn slashes_at_the_ends_and_the_tenant_prefix_are_taken_off() {
        for path in ["/api/v1/series", "//api/v1/series", "/api/v1/series/"] {
            assert_eq!(Route::of(path).tenant, None, "{path}");
            assert_eq!(form(path, None), Some(Form::SeriesV1), "{path}");
        }
        for path in ["/intake/", "/intake", "/intake//"] {
            assert_eq!(form(path, None), Some(Form::AgentIntake), "{path}");
        }
        for path in ["/tenants/acme/api/v2/logs", "//tenants/acme//api/v2/logs/"] {
            assert_eq!(Route::of(path).tenant, Some("acme"), "{path}");
            assert_eq!(form(path, None), Some(Form::LogsJson), "{path}");
        }
        assert_eq!(Route::of("/tenants/acme"), Route { tenant: Some("acme"), target: Target::Unknown });
        assert_eq!(Route::of("/tenants//api/v2/logs").tenant, Some(""));
    }

    #[test]
    fn a_key_in_the_path_is_one_segment() {
        let key = |path| match Route::of(path).target {
            Target::Intake { key, .. } => key,
            _ => None,
        };
        assert_eq!(key("/v1/input/0123"), Some("0123"));
        assert_eq!(key("/v1/input/"), None);
        assert_eq!(form("/v1/input/", None), Some(Form::LogsJson));
        assert_eq!(Route::of("/v1/input/a/b").target, Target::Unknown);
    }

    #[test]
    fn the_content_type_decides_the_form() {
        for (path, content_type, expected) in [
            ("/api/v2/series", Some("application/json"), Some(Form::SeriesV2Json)),
            ("/api/v2/series", Some("Application/JSON; charset=utf-8"), Some(Form::SeriesV2Json)),
            ("/api/v2/series", Some("application/x-protobuf"), Some(Form::SeriesV2Proto)),
            ("/api/v2/series", None, Some(Form::SeriesV2Json)),
            ("/api/v2/series", Some("text/csv"), None),
            ("/api/v1/series", Some("text/json"), Some(Form::SeriesV1)),
            ("/api/v1/series", Some("application/x-protobuf"), None),
            ("/api/beta/sketches", None, Some(Form::Sketches)),
            ("/api/beta/sketches", Some("application/json"), None),
            ("/api/v2/logs", Some("text/plain;charset=utf-8"), Some(Form::LogsText)),
            ("/api/v2/logs", Some("application/logplex-1"), None),
            ("/api/v1/check_run", Some(""), Some(Form::CheckRun)),
        ] {
            assert_eq!(form(path, content_type), expected, "{path} {content_type:?}");
        }
    }
}
