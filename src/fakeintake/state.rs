//! The state of a stand-in and the handle on it for programs that run one in their own process.

use super::faults::{Fault, Faults, Rule};
use super::keys::{Key, Keys};
use super::oauth::grants::{Client, Oauth, OauthCounts};
use super::record::{Filter, Item, Received, Records};
use std::sync::Arc;
use std::time::Duration;

/// How a stand-in behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Keys that are valid from the start.
    pub keys: Vec<String>,
    /// Whether any key of 32 hexadecimal digits is valid, unless revoked.
    pub any_key: bool,
    /// The memory for recorded items in bytes; none records nothing.
    pub record_bytes: Option<usize>,
    /// OAuth clients registered from the start.
    pub clients: Vec<Client>,
}

impl Default for Options {
    fn default() -> Self {
        Self { keys: Vec::new(), any_key: true, record_bytes: Some(256 * 1024 * 1024), clients: Vec::new() }
    }
}

/// What the parts of a stand-in share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) keys: Keys,
    pub(super) faults: Faults,
    pub(super) records: Records,
    pub(super) oauth: Oauth,
}

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        Self {
            keys: Keys::new(options.any_key, &options.keys),
            faults: Faults::default(),
            records: Records::new(options.record_bytes),
            oauth: Oauth::new(options.clients),
        }
    }
}

/// Scripts a running stand-in and reads what it received.
#[derive(Debug, Clone)]
pub struct Handle(pub(super) Arc<Shared>);

impl Handle {
    /// Adds or changes an API key.
    pub fn set_key(&self, key: Key) {
        self.0.keys.set(key);
    }

    /// The API keys known, those created by OAuth clients among them.
    pub fn keys(&self) -> Vec<Key> {
        self.0.keys.list()
    }

    /// Registers an OAuth client, or changes it.
    pub fn set_client(&self, client: Client) {
        self.0.oauth.set_client(client);
    }

    /// The OAuth clients registered.
    pub fn clients(&self) -> Vec<Client> {
        self.0.oauth.clients()
    }

    /// Counts of requests to the OAuth server.
    pub fn oauth_counts(&self) -> OauthCounts {
        self.0.oauth.counts()
    }

    /// Lets the access tokens of that client and organisation (or all) expire; says how many there were.
    pub fn expire_tokens(&self, client_id: Option<&str>, org: Option<&str>) -> usize {
        self.0.oauth.expire_for(client_id, org)
    }

    /// Revokes all tokens of that client and organisation (or all), as a customer may; says how many there were.
    pub fn revoke_tokens(&self, client_id: Option<&str>, org: Option<&str>) -> usize {
        self.0.oauth.revoke_for(client_id, org)
    }

    /// Adds a fault and returns its id. Numbers out of range are clamped.
    pub fn add_fault(&self, rule: Rule) -> u64 {
        self.0.faults.add(rule)
    }

    /// Removes a fault, or all of them, and returns how many.
    pub fn remove_fault(&self, id: Option<u64>) -> usize {
        self.0.faults.remove(id)
    }

    /// The faults in force, with their counts.
    pub fn faults(&self) -> Vec<Fault> {
        self.0.faults.list()
    }

    /// Counts of what arrived.
    pub fn received(&self, filter: &Filter) -> Received {
        self.0.records.received(filter)
    }

    /// At most `limit` recorded items, those with [`Item::order`] at least `from`.
    pub fn items(&self, filter: &Filter, from: u64, limit: usize) -> Vec<Item> {
        self.0.records.items(filter, from, limit)
    }

    /// How many items were accepted.
    pub fn item_count(&self, filter: &Filter) -> u64 {
        self.0.records.tally(filter).1
    }

    /// Waits until that many items were accepted; false if they were not in time.
    pub async fn wait_items(&self, filter: &Filter, items: u64, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.0.records.reached(filter, 0, items)).await.is_ok()
    }

    /// Waits until there were that many requests of any outcome; false if there were not in time.
    pub async fn wait_attempts(&self, filter: &Filter, attempts: u64, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.0.records.reached(filter, attempts, 0)).await.is_ok()
    }

    /// Clears the record and removes all faults. Keys, clients and their tokens stay.
    pub fn reset(&self) {
        self.0.faults.remove(None);
        self.0.records.reset();
    }
}
