//! The query with which Datadog sends a customer's browser back, read and checked before anything is done. No I/O.

use super::pkce;
use super::site::{self, SiteError};
use super::words::clean;
use crate::settings::{Site, Sites};
use crate::types::Secret;
use std::collections::BTreeMap;

/// The longest query that is read, in bytes.
pub const LONGEST: usize = 8 * 1024;

/// The longest authorisation code and the longest organisation id, in bytes; Datadog states none.
const LONGEST_VALUE: usize = 2 * 1024;

/// What Datadog's redirect says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Callback {
    /// The authorisation that it answers.
    pub state: Secret,
    /// The customer's decision.
    pub decision: Decision,
    /// The organisation's site, if it was named.
    pub domain: Option<Site>,
    /// The organisation that the browser claims.
    pub hint: Hint,
}

/// The outcome of an authorisation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The customer approved.
    Code(Secret),
    /// They did not, or Datadog did not let them: the error of RFC 6749, 4.1.2.1 and its description.
    Error(String, String),
}

/// What the browser says of the organisation (`dd_oid`, `dd_org_name`): undocumented, and not to be trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hint {
    pub id: Option<String>,
    pub name: Option<String>,
}

/// Why a callback is refused by itself. No request was made, and the state is not spent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// It is longer than any answer of Datadog.
    #[error("the query is longer than any that Datadog sends ({LONGEST} bytes)")]
    TooLong,
    /// RFC 6749, 3.1: parameters must not be repeated.
    #[error("{0} is given more than once")]
    Repeated(&'static str),
    /// It has no state.
    #[error("state is missing: this is not the answer to an authorisation that was begun here")]
    NoState,
    /// Its state was never issued here.
    #[error("state is not of the form issued here")]
    BadState,
    /// It has neither a code nor an error.
    #[error("code is missing: Datadog sends one when the customer approves, and an error when not")]
    NoCode,
    /// Its code cannot be one.
    #[error("code is longer than any that Datadog sends ({LONGEST_VALUE} bytes)")]
    BadCode,
    /// It answers another client.
    #[error(
        "client_id {0:?} is another client than the configured one: test and production credentials of Datadog's Developer \
         Platform differ, and oauth.client_id must be the one of the listing that was clicked"
    )]
    OtherClient(String),
    /// It names a host that is not on the list.
    #[error(transparent)]
    Site(#[from] SiteError),
}

impl Callback {
    /// Parses a query, with or without a leading `?`.
    pub fn parse(query: &str, client_id: &str, sites: &Sites) -> Result<Self, CallbackError> {
        const NAMES: [&str; 9] =
            ["state", "code", "error", "error_description", "domain", "site", "client_id", "dd_oid", "dd_org_name"];
        if query.len() > LONGEST {
            return Err(CallbackError::TooLong);
        }
        let mut values = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.strip_prefix('?').unwrap_or(query).as_bytes()) {
            let Some(name) = NAMES.into_iter().find(|known| *known == name) else { continue };
            if values.insert(name, value.into_owned()).is_some() {
                return Err(CallbackError::Repeated(name));
            }
        }
        let state = values.remove("state").filter(|state| !state.is_empty()).ok_or(CallbackError::NoState)?;
        let state = Secret::new(state);
        if !pkce::is_well_formed(state.expose()) {
            return Err(CallbackError::BadState);
        }
        if let Some(other) = values.remove("client_id").filter(|other| other != client_id) {
            return Err(CallbackError::OtherClient(other.chars().take(80).collect()));
        }
        let error = values.remove("error").filter(|error| !error.is_empty());
        let code = values.remove("code").filter(|code| !code.is_empty()).map(Secret::new);
        let decision = match (error, code) {
            (Some(error), _) => {
                let description = values.remove("error_description").unwrap_or_default();
                Decision::Error(clean(&error), clean(&description))
            }
            (None, None) => return Err(CallbackError::NoCode),
            (None, Some(code)) if code.expose().len() > LONGEST_VALUE => return Err(CallbackError::BadCode),
            (None, Some(code)) => Decision::Code(code),
        };
        let domain = values.remove("domain").map(|domain| site::check_domain(sites, &domain)).transpose()?;
        if let Some(text) = values.remove("site") {
            match &domain {
                Some(domain) => drop(site::check_site(sites, domain, &text)?),
                // No request goes to it: it only has to be one of Datadog's.
                None => drop(site::check_any_site(sites, &text)?),
            }
        }
        let text = |value: Option<String>| value.map(|value| clean(&value)).filter(|value| !value.is_empty());
        let hint = Hint { id: text(values.remove("dd_oid")), name: text(values.remove("dd_org_name")) };
        Ok(Self { state, decision, domain, hint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STATE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn parse(rest: &str) -> Result<Callback, CallbackError> {
        Callback::parse(&format!("state={STATE}{rest}"), "us", &Sites::default())
    }

    #[test]
    fn everything_that_datadog_sends_is_read() {
        let callback = parse(
            "&code=c%2Bd&domain=datadoghq.eu&site=https%3A%2F%2Facme.datadoghq.eu&client_id=us&dd_oid=o&dd_org_name=A%20%26%20B&more=1",
        )
        .unwrap();
        assert_eq!(callback.decision, Decision::Code(Secret::new("c+d")));
        assert_eq!(callback.domain.unwrap().name, "datadoghq.eu");
        assert_eq!(callback.hint, Hint { id: Some("o".into()), name: Some("A & B".into()) });
        let refused = parse("&error=access_denied&error_description=no%0d%0away&code=c").unwrap();
        assert_eq!(refused.decision, Decision::Error("access_denied".into(), "no way".into()));
        assert_eq!(refused.domain, None);
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused_without_a_panic(query in "\\PC{0,80}", rest in "(&?(code|error|site|domain|state)=[^&]{0,9}){0,5}") {
            let _ = Callback::parse(&query, "us", &Sites::default());
            if let Ok(callback) = parse(&format!("&{rest}")) {
                prop_assert_eq!(callback.state.expose(), STATE);
            }
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        use CallbackError::*;
        for (rest, expected) in [
            ("", NoCode),
            ("&code=", NoCode),
            ("&code=a&code=b", Repeated("code")),
            ("&code=a&state=b", Repeated("state")),
            ("&code=a&client_id=them", OtherClient("them".into())),
            (&format!("&code={}", "x".repeat(3_000)), BadCode),
            (&format!("&code={}", "x".repeat(9_000)), TooLong),
        ] {
            assert_eq!(parse(rest), Err(expected), "{rest:.40}");
        }
        let sites = Sites::default();
        assert_eq!(Callback::parse("code=a", "us", &sites), Err(NoState));
        assert_eq!(Callback::parse("?code=a&state=made-up", "us", &sites), Err(BadState));
        assert!(matches!(parse("&code=a&domain=evil.example"), Err(Site(_))));
        assert!(matches!(parse("&code=a&site=https://evil.example"), Err(Site(_))));
    }
}
