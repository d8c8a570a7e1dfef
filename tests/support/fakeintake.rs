//! A stand-in for Datadog in a process of its own.

use super::{DEADLINE, client, gather, key_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A running `dogsled fakeintake`; it ends with this value.
pub struct FakeIntake {
    child: Child,
    http: reqwest::Client,
    /// Where it listens, as `http://ADDRESS`.
    pub url: String,
}

/// An item as the stand-in recorded it.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Its place among all items.
    pub order: u64,
    /// The number of its request.
    pub request: u64,
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// The item.
    pub item: Value,
}

impl FakeIntake {
    /// Starts one to which any key is good.
    pub fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dogsled"))
            .args(["fakeintake", "--listen", "127.0.0.1:0", "--quiet"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
        gather(stdout);
        let url = first.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{first:?}")).to_owned();
        Self { child, http: client(), url }
    }

    async fn request(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}/_fakeintake/{path}", self.url));
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let text = request.send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(answer.get("error").is_none(), "{path}: {answer}");
        answer
    }

    /// Puts a fault on a tenant's requests in force: `more` has `effect`, and `path`, `times` and so on as wanted. What
    /// counts requests and names no path concerns the endpoints of version 2: the key is validated at some time, too.
    pub async fn fault(&self, tenant: &str, more: Value) -> u64 {
        let mut rule = more;
        if rule.get("path").is_none() && (rule.get("times").is_some() || rule.get("skip").is_some()) {
            rule["path"] = json!("/api/v2/*");
        }
        rule["key"] = json!(key_of(tenant));
        self.request("POST", "faults", Some(rule)).await["id"].as_u64().unwrap()
    }

    /// Ends a fault.
    pub async fn end_fault(&self, id: u64) {
        self.request("DELETE", &format!("faults/{id}"), None).await;
    }

    /// Ends all faults.
    pub async fn end_all_faults(&self) {
        self.request("DELETE", "faults", None).await;
    }

    /// What came of a fault: requests that it did something to, and requests that came before they were allowed.
    pub async fn fault_figures(&self, id: u64) -> (u64, u64) {
        let faults = self.request("GET", "faults", None).await;
        let fault = faults.as_array().unwrap().iter().find(|fault| fault["id"] == id).unwrap();
        (fault["hits"].as_u64().unwrap(), fault["violations"].as_u64().unwrap())
    }

    /// Says whether a tenant's key is good.
    pub async fn set_key(&self, tenant: &str, valid: bool) {
        let key = json!({ "key": key_of(tenant), "org": tenant, "valid": valid });
        self.request("POST", "keys", Some(key)).await;
    }

    /// The counts of one tenant, of all kinds together (`total`) or of one kind.
    pub async fn counts(&self, tenant: &str, kind: &str) -> Value {
        let key = key_of(tenant);
        let received = self.request("GET", &format!("received?key={key}"), None).await;
        let counts = &received["keys"][&key];
        if kind == "total" { counts["total"].clone() } else { counts["kinds"][kind].clone() }
    }

    /// One count of one tenant.
    pub async fn count(&self, tenant: &str, kind: &str, name: &str) -> u64 {
        self.counts(tenant, kind).await[name].as_u64().unwrap_or(0)
    }

    /// How many items have arrived, by tenant's key and kind.
    pub async fn all_counts(&self) -> BTreeMap<(String, String), u64> {
        let received = self.request("GET", "received", None).await;
        let mut counts = BTreeMap::new();
        for (key, of_key) in received["keys"].as_object().unwrap() {
            for (kind, of_kind) in of_key["kinds"].as_object().unwrap() {
                counts.insert((key.clone(), kind.clone()), of_kind["items"].as_u64().unwrap());
            }
        }
        counts
    }

    /// The items of a tenant and kind, or of all kinds (`total`), in the order in which they arrived.
    pub async fn items(&self, tenant: &str, kind: &str) -> Vec<Arrived> {
        let kind = if kind == "total" { String::new() } else { format!("&kind={kind}") };
        let path = format!("received?items=true&key={}{kind}", key_of(tenant));
        let answer = self.request("GET", &path, None).await;
        assert_eq!(answer["recording"]["truncated_items"], 0, "too much for the stand-in to record");
        let rows = answer["items"].as_array().unwrap().iter();
        rows.map(|row| Arrived {
            order: row["order"].as_u64().unwrap(),
            request: row["request"].as_u64().unwrap(),
            at_ms: row["at_ms"].as_i64().unwrap(),
            item: row["item"].clone(),
        })
        .collect()
    }

    /// Waits until so many items of a tenant have arrived.
    pub async fn wait_items(&self, tenant: &str, kind: &str, items: usize) {
        self.wait(tenant, kind, &format!("items={items}")).await;
    }

    /// Waits until there were so many requests of a tenant, of any outcome.
    pub async fn wait_attempts(&self, tenant: &str, kind: &str, attempts: u64) {
        self.wait(tenant, kind, &format!("items=0&attempts={attempts}")).await;
    }

    async fn wait(&self, tenant: &str, kind: &str, goal: &str) {
        let key = key_of(tenant);
        let kind = if kind == "total" { String::new() } else { format!("&kind={kind}") };
        let path = format!("wait?key={key}{kind}&{goal}&timeout_ms={}", DEADLINE.as_millis());
        let answer = self.request("GET", &path, None).await;
        assert_eq!(answer["reached"], true, "{tenant} {goal}: {answer}; {}", self.counts(tenant, "total").await);
    }
}

impl Drop for FakeIntake {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
