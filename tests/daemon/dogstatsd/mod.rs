//! DogStatsD: raw packets to the real daemon, and what arrives at Datadog of them.

mod bounds;
mod endings;
mod lines;
mod sockets;

use crate::support::{Daemon, FakeIntake, Setup, client, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};

/// A daemon of these tenants whose buckets are short.
fn setup(fakeintake: &FakeIntake, tenants: &[&str]) -> Setup {
    Setup::new(fakeintake, tenants).set("dogstatsd.interval", "1s").set("dogstatsd.context_expiry", "0s")
}

/// Where its DogStatsD listeners are: addresses and paths.
fn listeners(daemon: &Daemon) -> Vec<String> {
    let lines = daemon.log("listening").into_iter().filter(|line| line["listener"] == "dogstatsd");
    lines.map(|line| line["address"].as_str().unwrap().to_owned()).collect()
}

/// A client of the daemon's first UDP listener.
fn udp(daemon: &Daemon) -> UdpSocket {
    udp_to(listeners(daemon)[0].parse().unwrap())
}

fn udp_to(address: SocketAddr) -> UdpSocket {
    let local = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect(address).unwrap();
    socket
}

/// How many lines the daemon has counted.
async fn lines(daemon: &Daemon) -> u64 {
    daemon.scrape().await.sum("dogsled_dogstatsd_lines_total", &[]) as u64
}

async fn wait_lines(daemon: &Daemon, count: u64) {
    until(&format!("{count} lines to be counted"), async || (lines(daemon).await >= count).then_some(())).await;
}

async fn errors(daemon: &Daemon, reason: &str) -> u64 {
    daemon.scrape().await.sum("dogsled_dogstatsd_errors_total", &[("reason", reason)]) as u64
}

/// What the admin API tells of DogStatsD.
async fn status(daemon: &Daemon) -> Value {
    let token = std::fs::read_to_string(daemon.state_dir().join("admin.token")).unwrap();
    let url = format!("{}/admin/v1/dogstatsd", daemon.url("admin"));
    let answer = client().get(url).bearer_auth(token.trim()).send().await.unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// The series of a tenant: by name, its points as (time, value).
async fn series(fakeintake: &FakeIntake, tenant: &str) -> BTreeMap<String, Vec<(i64, f64)>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for arrived in fakeintake.items(tenant, "series_v2_protobuf").await {
        let points = all.entry(arrived.item["metric"].as_str().unwrap().to_owned()).or_default();
        for point in arrived.item["points"].as_array().unwrap() {
            points.push((point["timestamp"].as_i64().unwrap(), point["value"].as_f64().unwrap()));
        }
    }
    all
}

/// What the counter of that name has come to, by buckets of one second.
async fn sum(fakeintake: &FakeIntake, tenant: &str, name: &str) -> f64 {
    series(fakeintake, tenant).await.get(name).into_iter().flatten().map(|(_, value)| value).sum()
}

async fn wait_sum(fakeintake: &FakeIntake, tenant: &str, name: &str, expected: f64) {
    until(&format!("{name} of {tenant} to be {expected}"), async || {
        (sum(fakeintake, tenant, name).await >= expected).then_some(())
    })
    .await;
    assert_eq!(sum(fakeintake, tenant, name).await, expected, "{name} of {tenant}");
}

/// One item of a tenant and kind that has this field.
async fn item(fakeintake: &FakeIntake, tenant: &str, kind: &str, field: &str, value: Value) -> Value {
    until(&format!("{field} {value} of {tenant}"), async || {
        let mut items = fakeintake.items(tenant, kind).await.into_iter();
        items.find(|arrived| arrived.item[field] == value).map(|arrived| arrived.item)
    })
    .await
}

/// A table of listeners as the configuration has it.
fn listener(address: &str, tenant: &str) -> (String, Value) {
    (format!("dogstatsd.listeners.{}.tenant", json!(address)), json!(tenant))
}
