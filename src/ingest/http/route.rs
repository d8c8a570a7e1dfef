//! Which path means what. Pure.

use crate::wire::Form;

/// What takes telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// `/api/v2/series`
    SeriesV2,
    /// `/api/v1/series`
    SeriesV1,
    /// `/api/v1/distribution_points`
    Distributions,
    /// `/api/beta/sketches`
    Sketches,
    /// `/api/v2/logs`
    LogsV2,
    /// `/v1/input`, `/v1/input/<key>`
    LogsV1,
    /// `/api/v1/events`
    EventsV1,
    /// `/api/v2/events`
    EventsV2,
    /// `/intake/`
    Agent,
    /// `/api/v1/check_run`
    CheckRun,
}

/// What a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// Telemetry.
    Intake {
        /// Of which form.
        intake: Intake,
        /// The key that the path holds.
        key: Option<&'a str>,
    },
    /// `/api/v1/validate`
    Validate,
    /// What an Agent posts about itself; taken and not forwarded.
    Metadata,
    /// The Agent's columnar series.
    SeriesV3,
    /// `/healthz`
    Health,
    /// `/readyz`
    Ready,
    /// `/follow/<ticket>`
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
            "api/v2/series" => Intake::SeriesV2,
            "api/v1/series" => Intake::SeriesV1,
            "api/v1/distribution_points" => Intake::Distributions,
            "api/beta/sketches" => Intake::Sketches,
            "api/v2/logs" => Intake::LogsV2,
            "v1/input" => Intake::LogsV1,
            "api/v1/events" => Intake::EventsV1,
            "api/v2/events" => Intake::EventsV2,
            "intake" => Intake::Agent,
            "api/v1/check_run" => Intake::CheckRun,
            "api/v1/validate" => return Self::Validate,
            "api/v1/metadata" | "api/v2/host_metadata" => return Self::Metadata,
            "api/intake/metrics/v3/series" | "api/intake/metrics/v3beta/series" => return Self::SeriesV3,
            "healthz" => return Self::Health,
            "readyz" => return Self::Ready,
            _ => {
                let (parent, last) = path.rsplit_once('/').unwrap_or_default();
                return match parent {
                    "v1/input" => Self::Intake { intake: Intake::LogsV1, key: Some(last) },
                    "follow" => Self::Follow { ticket: last },
                    _ => Self::Unknown,
                };
            }
        };
        Self::Intake { intake, key: None }
    }

    /// The methods that the target takes, as `Allow` lists them; nothing for what does not exist.
    pub(super) fn allow(self) -> Option<&'static str> {
        match self {
            Self::Intake { .. } | Self::Metadata => Some("POST"),
            Self::Validate | Self::Health | Self::Ready | Self::Follow { .. } => Some("GET, HEAD"),
            Self::SeriesV3 | Self::Unknown => None,
        }
    }
}

impl Intake {
    /// The form of a body of that content type; nothing where the intake does not take the type. What a request does
    /// not say is taken for the intake's usual type.
    pub(super) fn form(self, content_type: Option<&str>) -> Option<Form> {
        let essence = content_type.map(|value| value.split_once(';').map_or(value, |(essence, _)| essence).trim());
        let is = |types: &[&str]| essence.is_some_and(|essence| types.iter().any(|t| essence.eq_ignore_ascii_case(t)));
        let absent = essence.is_none_or(str::is_empty);
        let json = absent || is(&["application/json", "text/json"]);
        let protobuf = is(&["application/x-protobuf", "application/protobuf"]);
        match self {
            Self::SeriesV2 if protobuf => Some(Form::SeriesV2Proto),
            Self::SeriesV2 if json => Some(Form::SeriesV2Json),
            Self::Sketches if protobuf || absent => Some(Form::Sketches),
            Self::LogsV1 | Self::LogsV2 if is(&["text/plain"]) => Some(Form::LogsText),
            Self::LogsV1 | Self::LogsV2 if json => Some(Form::LogsJson),
            Self::SeriesV1 if json => Some(Form::SeriesV1),
            Self::Distributions if json => Some(Form::Distributions),
            Self::EventsV1 if json => Some(Form::EventV1),
            Self::EventsV2 if json => Some(Form::EventV2),
            Self::Agent if json => Some(Form::AgentIntake),
            Self::CheckRun if json => Some(Form::CheckRun),
            _ => None,
        }
    }

    /// The content types that the intake takes, in words.
    pub(super) fn content_types(self) -> &'static str {
        match self {
            Self::SeriesV2 => "application/json or application/x-protobuf",
            Self::Sketches => "application/x-protobuf",
            Self::LogsV1 | Self::LogsV2 => "application/json or text/plain",
            _ => "application/json",
        }
    }

    /// Whether the query may hold attributes for the items.
    pub(super) fn takes_log_defaults(self) -> bool {
        matches!(self, Self::LogsV1 | Self::LogsV2)
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

    fn intake(intake: Intake) -> Target<'static> {
        Target::Intake { intake, key: None }
    }

    #[test]
    fn slashes_at_the_ends_and_the_tenant_prefix_are_taken_off() {
        for path in ["/api/v1/series", "//api/v1/series", "/api/v1/series/"] {
            assert_eq!(Route::of(path), Route { tenant: None, target: intake(Intake::SeriesV1) }, "{path}");
        }
        for path in ["/intake/", "/intake", "/intake//"] {
            assert_eq!(Route::of(path).target, intake(Intake::Agent), "{path}");
        }
        for path in ["/tenants/acme/api/v2/logs", "//tenants/acme//api/v2/logs/"] {
            assert_eq!(Route::of(path), Route { tenant: Some("acme"), target: intake(Intake::LogsV2) }, "{path}");
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
        assert_eq!(Route::of("/v1/input/").target, intake(Intake::LogsV1));
        assert_eq!(Route::of("/v1/input/a/b").target, Target::Unknown);
    }

    #[test]
    fn the_content_type_decides_the_form() {
        use Intake::{CheckRun, LogsV2, SeriesV1, SeriesV2, Sketches};
        for (intake, content_type, form) in [
            (SeriesV2, Some("application/json"), Some(Form::SeriesV2Json)),
            (SeriesV2, Some("Application/JSON; charset=utf-8"), Some(Form::SeriesV2Json)),
            (SeriesV2, Some("application/x-protobuf"), Some(Form::SeriesV2Proto)),
            (SeriesV2, None, Some(Form::SeriesV2Json)),
            (SeriesV2, Some("text/csv"), None),
            (SeriesV1, Some("text/json"), Some(Form::SeriesV1)),
            (SeriesV1, Some("application/x-protobuf"), None),
            (Sketches, None, Some(Form::Sketches)),
            (Sketches, Some("application/json"), None),
            (LogsV2, Some("text/plain;charset=utf-8"), Some(Form::LogsText)),
            (LogsV2, Some("application/logplex-1"), None),
            (CheckRun, Some(""), Some(Form::CheckRun)),
        ] {
            assert_eq!(intake.form(content_type), form, "{intake:?} {content_type:?}");
        }
    }
}
