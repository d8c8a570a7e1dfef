//! The state of a tenant's connection to Datadog, described for the operator, and what they or their customer must do.
//! Pure.

use crate::store::{Connection, Organisation, Origin, TenantRecord};
use crate::types::UnixMillis;

/// What the API keys that this flow creates are called in Datadog
/// (docs.datadoghq.com/extend/integrations/api_integration, troubleshooting).
const KEY_NAME: &str = "OAuth Client API Key";

/// A problem that somebody must solve, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What happened.
    pub reason: String,
    /// What to do about it.
    pub instructions: String,
}

impl Trouble {
    fn new(reason: impl Into<String>, instructions: impl Into<String>) -> Self {
        Self { reason: reason.into(), instructions: instructions.into() }
    }

    /// Datadog has a key of this client already, and nobody here has it.
    pub(super) fn key_exists(words: &str) -> Self {
        Self::new(
            format!(
                "Datadog already has an API key of this integration, which is not stored here, and creates no second one: {words}"
            ),
            format!(
                "The customer opens Organization Settings, then API Keys, in Datadog, revokes the key with {KEY_NAME:?} in \
                 its name, and connects again."
            ),
        )
    }

    /// The answer to the creation of a key never came.
    pub(super) fn key_lost(words: &str) -> Self {
        Self::new(
            format!(
                "an API key was requested and the answer was lost ({words}): a key may exist that is not stored here"
            ),
            format!(
                "The customer opens Organization Settings, then API Keys, in Datadog, revokes the key with {KEY_NAME:?} in \
                 its name if there is one, and connects again. The request is not repeated automatically."
            ),
        )
    }

    /// Datadog does not let this client create a key.
    pub(super) fn key_refused(words: &str) -> Self {
        Self::new(
            format!("Datadog did not create an API key: {words}"),
            "The OAuth client needs the scope api_keys_write (Datadog's Developer Platform, the listing's Configuration \
             Method), and the customer the permissions that Datadog's consent page names. Then connect again.",
        )
    }

    /// A key that was made is refused.
    pub(super) fn new_key_refused(words: &str) -> Self {
        Self::new(
            format!("Datadog refuses the API key that it created: {words}"),
            format!(
                "The customer revokes the key with {KEY_NAME:?} in its name in Datadog's Organization Settings, API Keys, and connects again."
            ),
        )
    }

    /// The authorisation has ended.
    pub(super) fn revoked(words: &str) -> Self {
        Self::new(
            format!("the authorisation was revoked or is no longer valid: {words}"),
            "The customer connects again. Held telemetry is delivered then.",
        )
    }

    /// The key is refused, and there is no authorisation to get another one with.
    pub(super) fn no_authorisation() -> Self {
        Self::new(
            "Datadog refuses the API key, and there is no authorisation to create another one",
            format!(
                "The customer revokes the key with {KEY_NAME:?} in its name, if it is still there, in Datadog's Organization \
                 Settings, API Keys, and connects again."
            ),
        )
    }

    /// A key that the operator gave is refused.
    pub(super) fn static_key() -> Self {
        Self::new(
            "Datadog refuses the API key configured for this tenant",
            "Give a valid one (Organization Settings, API Keys, in Datadog; the site must be the organisation's), or connect the tenant.",
        )
    }

    /// Another tenant has the organisation.
    pub(super) fn organisation_held(organisation: &str, by: &str) -> Self {
        Self::new(
            format!(
                "the Datadog organisation {organisation} is connected to tenant {by}, and an organisation has a single key"
            ),
            format!(
                "Connect another organisation, or disconnect {by}. Where that leaves {by} without a key, the customer revokes \
                 the one with {KEY_NAME:?} in its name in Organization Settings, API Keys, and connects again."
            ),
        )
    }

    /// The authorisation turned out to be another organisation's than the tenant's.
    pub(super) fn other_organisation(before: &Organisation, now: &str) -> Self {
        Self::new(
            format!(
                "the key of {} is refused, and the authorisation is one of another organisation ({now}): the tenant is not \
                 moved there without the customer",
                named(before)
            ),
            format!(
                "The customer revokes the key with {KEY_NAME:?} in its name in Organization Settings, API Keys, of the \
                 organisation that they want, and connects again."
            ),
        )
    }

    pub(super) fn connection(&self) -> Connection {
        Connection::Unauthorized { reason: self.reason.clone(), instructions: self.instructions.clone() }
    }
}

/// What a listing shows of a tenant's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// In one sentence.
    pub text: String,
    /// What somebody must do, if anything.
    pub to_do: Option<String>,
}

/// Describes a tenant's connection at a time.
pub fn status(tenant: &TenantRecord, now: UnixMillis) -> Status {
    let (text, mut to_do) = match &tenant.connection {
        Connection::Unauthorized { reason, instructions } => (reason.clone(), vec![instructions.clone()]),
        Connection::Pending if tenant.key.is_some() => (
            "the API key is stored; its organisation is being verified with Datadog before anything is sent".into(),
            vec![],
        ),
        Connection::Pending if tenant.key_creation_begun.is_some() => {
            ("the customer has approved, and the API key is being created".into(), vec![])
        }
        Connection::Pending => ("not connected; telemetry is held".into(), vec!["The customer connects.".to_owned()]),
        Connection::Connected => (connected(tenant, now), vec![]),
    };
    if tenant.connection != Connection::Pending && tenant.key_creation_begun.is_some() {
        // An attempt beside a connection that goes on, or after a trouble that is still told.
        let lost = Trouble::key_lost("").instructions;
        if !to_do.contains(&lost) {
            to_do.push(lost);
        }
    }
    if let Some(held) = tenant.held_for.as_ref().filter(|_| tenant.connection == Connection::Connected) {
        to_do.push(format!(
            "Telemetry held for {} is not sent to the organisation connected now: decide whether to release or to drop it.",
            named(held)
        ));
    }
    Status { text, to_do: Some(to_do.join(" ")).filter(|text| !text.is_empty()) }
}

fn connected(tenant: &TenantRecord, now: UnixMillis) -> String {
    let organisation = tenant.organisation.as_ref().map_or_else(|| "an organisation".into(), named);
    let by = match &tenant.key {
        Some(key) if key.origin == Origin::Static => "by a configured API key",
        Some(_) => "through OAuth",
        None => "without a key",
    };
    let tokens = match &tenant.tokens {
        Some(tokens) if tokens.expires.0 <= now.0 => "; the access token has expired and is being refreshed",
        _ => "",
    };
    format!("connected to {organisation} on {} {by}{tokens}", tenant.site)
}

/// An organisation's id and name, for people. Datadog proves the id alone; the name is what the customer's browser said.
pub(super) fn named(organisation: &Organisation) -> String {
    match &organisation.name {
        // It is made here, of others that are named.
        Some(names) if organisation.id == SEVERAL => names.clone(),
        Some(name) => format!("{name} (unverified name, {})", organisation.id),
        None => organisation.id.clone(),
    }
}

/// The id of [`together`].
const SEVERAL: &str = "several";

/// Which organisation held telemetry was meant for, once `tenant` is connected to `now`, or to none.
pub(super) fn held_after(tenant: &TenantRecord, now: Option<&Organisation>) -> Option<Organisation> {
    let is_now = |organisation: &Organisation| now.is_some_and(|now| now.id == organisation.id);
    match (&tenant.organisation, &tenant.held_for) {
        (Some(before), held) if is_now(before) => held.clone(),
        (Some(before), None) => Some(before.clone()),
        (Some(before), Some(held)) => Some(together(before, held)),
        (None, held) => held.clone().filter(|held| !is_now(held)),
    }
}

/// For telemetry of which some was meant for the one and some for the other.
fn together(one: &Organisation, other: &Organisation) -> Organisation {
    if one.id == other.id {
        return one.clone();
    }
    let name = if other.id == SEVERAL && other.name.as_ref().is_some_and(|names| names.contains(&one.id)) {
        other.name.clone()
    } else {
        Some(format!("{}, {}", named(other), named(one)))
    };
    Organisation { id: SEVERAL.into(), name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Generations, Revision};
    use crate::types::{Generation, TenantId};

    fn organisation(id: &str) -> Organisation {
        Organisation { id: id.into(), name: None }
    }

    fn tenant(organisation: Option<Organisation>, held_for: Option<Organisation>) -> TenantRecord {
        TenantRecord {
            id: TenantId::new("acme").unwrap(),
            display_name: String::new(),
            site: "datadoghq.com".into(),
            paused: false,
            connection: Connection::Connected,
            organisation,
            held_for,
            dropped_before: None,
            generations: Generations::new(Generation::UNKNOWN),
            overrides: serde_json::Map::new(),
            key_creation_begun: None,
            key: None,
            tokens: None,
            created: UnixMillis(0),
            updated: UnixMillis(0),
            revision: Revision(1),
        }
    }

    /// Connects to one organisation after the other (`-` disconnects) and gives what held telemetry was meant for.
    fn after(way: &str) -> Option<String> {
        let mut tenant = tenant(None, None);
        for step in way.split(' ') {
            let now = Some(organisation(step)).filter(|_| step != "-");
            tenant.held_for = held_after(&tenant, now.as_ref());
            tenant.organisation = now;
        }
        tenant.held_for.map(|held| held.name.unwrap_or(held.id))
    }

    #[test]
    fn held_telemetry_keeps_its_organisation() {
        for (way, held) in [
            ("a", None),
            ("a a", None),
            ("a - a", None),
            ("a b", Some("a")),
            ("a - b", Some("a")),
            ("a b b", Some("a")),
            ("a b a", Some("a, b")),
            ("a b c", Some("a, b")),
            ("a b c a b", Some("a, b, c")),
            ("a b - a", Some("a, b")),
            ("a b - b", Some("a, b")),
        ] {
            assert_eq!(after(way).as_deref(), held, "{way}");
        }
    }

    #[test]
    fn a_status_tells_state_and_instructions() {
        let now = UnixMillis(1);
        let mut acme = tenant(Some(organisation("o-1")), Some(organisation("o-0")));
        let shown = status(&acme, now);
        assert!(shown.text.contains("connected to o-1 on datadoghq.com"), "{shown:?}");
        assert!(shown.to_do.unwrap().contains("held for o-0"));
        acme.connection = Connection::Pending;
        assert_eq!(status(&acme, now).to_do.unwrap(), "The customer connects.");
        acme.key_creation_begun = Some(now);
        assert!(status(&acme, now).text.contains("being created"));
        acme.connection = Trouble::key_exists("409").connection();
        let shown = status(&acme, now);
        assert!(shown.text.contains("409") && shown.to_do.unwrap().contains("revokes the key"));
    }
}
