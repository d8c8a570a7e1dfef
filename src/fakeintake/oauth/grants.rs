//! The state of the OAuth server: clients, codes and tokens. No HTTP in here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// RFC 6749, 4.1.2: at most ten minutes are recommended. Datadog does not say.
const CODE_LIFE: Duration = Duration::from_secs(600);

/// An OAuth client of a Technology Partner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The id that requests name.
    pub client_id: String,
    /// Its secret; none makes it a public client.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// The name shown on the consent page.
    #[serde(default = "default_name")]
    pub name: String,
    /// The addresses that the customer's browser may be sent back to.
    pub redirect_uris: Vec<String>,
    /// The organisations whose customers may authorise it.
    #[serde(default = "default_orgs")]
    pub orgs: Vec<Org>,
    /// Whether it has the scope to create API keys.
    #[serde(default = "yes")]
    pub may_create_keys: bool,
    /// The life of access tokens in seconds.
    #[serde(default = "default_life")]
    pub expires_in: u64,
    /// What a refresh does to the refresh token.
    #[serde(default)]
    pub rotation: Rotation,
}

/// An organisation of Datadog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Org {
    /// Its id. `dd_oid` and the validation of keys give the UUID derived from it.
    pub id: String,
    /// Its name, given back as `dd_org_name`.
    #[serde(default = "default_name")]
    pub name: String,
    /// The domain of its API, given back as `domain`.
    #[serde(default = "default_domain")]
    pub domain: String,
    /// Its web host, given back as `site`.
    #[serde(default = "default_site")]
    pub site: String,
}

/// What a refresh does to the refresh token. Which of these Datadog does is not documented.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// The answer has a new one, and the old one is revoked.
    #[default]
    Replaced,
    /// The answer has a new one, and the old one stays valid.
    Added,
    /// The answer has none, and the old one stays valid.
    Kept,
}

fn default_name() -> String {
    "Example".into()
}

fn default_domain() -> String {
    "datadoghq.com".into()
}

fn default_site() -> String {
    "https://app.datadoghq.com".into()
}

fn default_orgs() -> Vec<Org> {
    vec![Org { id: "org".into(), name: default_name(), domain: default_domain(), site: default_site() }]
}

fn yes() -> bool {
    true
}

fn default_life() -> u64 {
    3_600
}

/// Counts of requests to the OAuth server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OauthCounts {
    /// Customers who approved.
    pub approvals: u64,
    /// Codes exchanged for tokens.
    pub exchanges: u64,
    /// Refreshes of tokens.
    pub refreshes: u64,
    /// Requests for tokens that were refused.
    pub refused: u64,
    /// Tokens revoked by the client.
    pub revocations: u64,
    /// API keys created.
    pub keys_created: u64,
    /// API keys not created because one existed.
    pub key_conflicts: u64,
}

/// An approval that was not exchanged yet.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) client_id: String,
    pub(super) org: String,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) issued: Instant,
}

/// A token in force.
#[derive(Debug, Clone)]
struct Token {
    /// Common to all tokens that come from one approval.
    grant: u64,
    client_id: String,
    org: String,
    /// Access tokens expire, refresh tokens do not.
    expires: Option<Instant>,
}

/// A pair of tokens, as the client gets them.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) expires_in: u64,
}

/// An error of RFC 6749, 5.2, with its description.
pub(super) type Wrong = (&'static str, &'static str);

/// Known from the reports of partners; it covers a reused code too.
pub(super) const INVALID_CODE: Wrong = ("invalid_grant", "Invalid code or code verifier");
const INVALID_TOKEN: Wrong = ("invalid_grant", "Invalid refresh token");

/// The state of the OAuth server.
#[derive(Debug, Default)]
pub(super) struct Grants {
    pub(super) clients: BTreeMap<String, Client>,
    pub(super) counts: OauthCounts,
    codes: HashMap<String, Code>,
    tokens: HashMap<String, Token>,
    last_grant: u64,
}

impl Grants {
    /// Records an approval and returns its code.
    pub(super) fn approve(&mut self, code: Code) -> String {
        let name = secret();
        self.counts.approvals += 1;
        self.codes.insert(name.clone(), code);
        name
    }

    /// Exchanges a code, which is spent whatever the outcome.
    pub(super) fn exchange(
        &mut self,
        client: &Client,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<Issued, Wrong> {
        let code = self.codes.remove(code).ok_or(INVALID_CODE)?;
        if code.client_id != client.client_id || code.issued.elapsed() > CODE_LIFE {
            return Err(INVALID_CODE);
        }
        if code.redirect_uri != redirect_uri {
            return Err(("invalid_grant", "Mismatching redirect URI"));
        }
        if !verifier_is_well_formed(verifier) || challenge_of(verifier) != code.challenge {
            return Err(INVALID_CODE);
        }
        self.last_grant += 1;
        self.counts.exchanges += 1;
        let refresh = self.issue(self.last_grant, client, &code.org, None);
        Ok(self.issued(self.last_grant, client, &code.org, Some(refresh)))
    }

    /// Issues new tokens for a refresh token.
    pub(super) fn refresh(&mut self, client: &Client, refresh_token: &str) -> Result<Issued, Wrong> {
        let token = self.tokens.get(refresh_token).ok_or(INVALID_TOKEN)?.clone();
        if token.expires.is_some() || token.client_id != client.client_id {
            return Err(INVALID_TOKEN);
        }
        if client.rotation == Rotation::Replaced {
            self.tokens.remove(refresh_token);
        }
        let rotated = client.rotation != Rotation::Kept;
        let refresh = rotated.then(|| self.issue(token.grant, client, &token.org, None));
        self.counts.refreshes += 1;
        Ok(self.issued(token.grant, client, &token.org, refresh))
    }

    fn issued(&mut self, grant: u64, client: &Client, org: &str, refresh: Option<String>) -> Issued {
        let expires_in = client.expires_in;
        let access = self.issue(grant, client, org, Some(Instant::now() + Duration::from_secs(expires_in)));
        Issued { access, refresh, expires_in }
    }

    fn issue(&mut self, grant: u64, client: &Client, org: &str, expires: Option<Instant>) -> String {
        let name = secret();
        let token = Token { grant, client_id: client.client_id.clone(), org: org.to_owned(), expires };
        self.tokens.insert(name.clone(), token);
        name
    }

    /// The client and the organisation of an access token in force.
    pub(super) fn bearer(&self, access_token: &str) -> Option<(&Client, &str)> {
        let token = self.tokens.get(access_token)?;
        let expires = token.expires?;
        (Instant::now() < expires).then_some(())?;
        Some((self.clients.get(&token.client_id)?, &token.org))
    }

    /// Ends the grant of a token of that client, if there is one: refresh token, access tokens and all.
    pub(super) fn revoke(&mut self, client: &Client, token: &str) {
        self.counts.revocations += 1;
        let grant = self.tokens.get(token).filter(|token| token.client_id == client.client_id).map(|token| token.grant);
        self.tokens.retain(|_, token| Some(token.grant) != grant);
    }

    /// Ends grants from the customer's side; says how many tokens died.
    pub(super) fn revoke_for(&mut self, client_id: Option<&str>, org: Option<&str>) -> usize {
        let before = self.tokens.len();
        self.tokens.retain(|_, token| !token.is_of(client_id, org));
        before - self.tokens.len()
    }

    /// Lets access tokens expire now; says how many.
    pub(super) fn expire_for(&mut self, client_id: Option<&str>, org: Option<&str>) -> usize {
        let now = Instant::now();
        let expiring = self.tokens.values_mut().filter(|token| token.expires.is_some() && token.is_of(client_id, org));
        expiring.map(|token| token.expires = Some(now)).count()
    }
}

impl Token {
    fn is_of(&self, client_id: Option<&str>, org: Option<&str>) -> bool {
        client_id.is_none_or(|client_id| client_id == self.client_id) && org.is_none_or(|org| org == self.org)
    }
}

/// RFC 7636, 4.1.
fn verifier_is_well_formed(verifier: &str) -> bool {
    (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// RFC 7636, 4.2, method `S256`.
pub(super) fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// 32 hexadecimal digits that nobody can guess.
#[expect(clippy::disallowed_methods, reason = "nobody is to guess it, with a seed or without")]
pub(super) fn secret() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The OAuth server.
#[derive(Debug, Default)]
pub(in crate::fakeintake) struct Oauth(Mutex<Grants>);

impl Oauth {
    pub(in crate::fakeintake) fn new(clients: Vec<Client>) -> Self {
        let oauth = Self::default();
        clients.into_iter().for_each(|client| oauth.set_client(client));
        oauth
    }

    pub(super) fn grants(&self) -> MutexGuard<'_, Grants> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a client, or changes it.
    pub(in crate::fakeintake) fn set_client(&self, client: Client) {
        self.grants().clients.insert(client.client_id.clone(), client);
    }

    /// The clients registered.
    pub(in crate::fakeintake) fn clients(&self) -> Vec<Client> {
        self.grants().clients.values().cloned().collect()
    }

    /// The counts of requests.
    pub(in crate::fakeintake) fn counts(&self) -> OauthCounts {
        self.grants().counts
    }

    /// Ends grants from the customer's side; says how many tokens died.
    pub(in crate::fakeintake) fn revoke_for(&self, client_id: Option<&str>, org: Option<&str>) -> usize {
        self.grants().revoke_for(client_id, org)
    }

    /// Lets access tokens expire; says how many.
    pub(in crate::fakeintake) fn expire_for(&self, client_id: Option<&str>, org: Option<&str>) -> usize {
        self.grants().expire_for(client_id, org)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn client(rotation: Rotation) -> Client {
        Client {
            client_id: "c".into(),
            client_secret: None,
            name: default_name(),
            redirect_uris: vec!["http://x/".into()],
            orgs: default_orgs(),
            may_create_keys: true,
            expires_in: 3_600,
            rotation,
        }
    }

    fn approved(grants: &mut Grants, client: &Client) -> String {
        grants.clients.insert(client.client_id.clone(), client.clone());
        grants.approve(Code {
            client_id: client.client_id.clone(),
            org: "org".into(),
            redirect_uri: "http://x/".into(),
            challenge: challenge_of(VERIFIER),
            issued: Instant::now(),
        })
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        assert_eq!(challenge_of(VERIFIER), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[tokio::test(start_paused = true)]
    async fn a_code_works_once_and_not_for_ever() {
        let (mut grants, client) = (Grants::default(), client(Rotation::Replaced));
        let code = approved(&mut grants, &client);
        assert!(grants.exchange(&client, &code, "http://x/", VERIFIER).is_ok());
        assert_eq!(grants.exchange(&client, &code, "http://x/", VERIFIER).unwrap_err(), INVALID_CODE);
        let code = approved(&mut grants, &client);
        tokio::time::advance(CODE_LIFE + Duration::from_secs(1)).await;
        assert_eq!(grants.exchange(&client, &code, "http://x/", VERIFIER).unwrap_err(), INVALID_CODE);
    }

    #[tokio::test(start_paused = true)]
    async fn only_access_tokens_expire() {
        let (mut grants, client) = (Grants::default(), client(Rotation::Kept));
        let code = approved(&mut grants, &client);
        let issued = grants.exchange(&client, &code, "http://x/", VERIFIER).unwrap();
        assert_eq!(grants.bearer(&issued.access).unwrap().1, "org");
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert!(grants.bearer(&issued.access).is_none());
        let refresh = issued.refresh.unwrap();
        assert!(grants.bearer(&refresh).is_none());
        let again = grants.refresh(&client, &refresh).unwrap();
        assert!(grants.bearer(&again.access).is_some() && again.refresh.is_none());
        assert!(grants.refresh(&client, &again.access).is_err());
    }

    #[test]
    fn rotation_decides_the_old_tokens_fate() {
        for (rotation, has_new, old_works) in
            [(Rotation::Replaced, true, false), (Rotation::Added, true, true), (Rotation::Kept, false, true)]
        {
            let (mut grants, client) = (Grants::default(), client(rotation));
            let code = approved(&mut grants, &client);
            let old = grants.exchange(&client, &code, "http://x/", VERIFIER).unwrap().refresh.unwrap();
            let new = grants.refresh(&client, &old).unwrap().refresh;
            assert_eq!(new.is_some(), has_new, "{rotation:?}");
            assert_eq!(grants.refresh(&client, &old).is_ok(), old_works, "{rotation:?}");
        }
    }

    #[test]
    fn revoking_a_token_ends_its_grant() {
        let (mut grants, client) = (Grants::default(), client(Rotation::Added));
        let mut pairs = Vec::new();
        for _ in 0..2 {
            let code = approved(&mut grants, &client);
            pairs.push(grants.exchange(&client, &code, "http://x/", VERIFIER).unwrap());
        }
        grants.revoke(&client, pairs[0].refresh.as_deref().unwrap());
        assert!(grants.bearer(&pairs[0].access).is_none());
        assert!(grants.bearer(&pairs[1].access).is_some());
        grants.revoke(&client, "unknown");
        assert!(grants.bearer(&pairs[1].access).is_some());
    }
}
