//! Sending an item as an application does that uses DogStatsD: one datagram, which nobody acknowledges.

use super::{CheckStatus, Failure, Item, MetricType, Options};
use crate::settings::Settings;
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

/// The daemon's default address.
const DEFAULT: &str = "127.0.0.1:8125";

/// Sends the item, and gives where to.
pub(super) fn send(item: &Item, options: &Options, settings: Option<&Settings>) -> Result<String, Failure> {
    let (address, tag) = match settings {
        Some(settings) => {
            let dogstatsd = &settings.dogstatsd;
            let sockets = Some(dogstatsd.socket.clone()).filter(|path| !path.is_empty());
            let address = dogstatsd.listen.first().cloned().or(sockets).ok_or(Failure::NoDogstatsd)?;
            (address, settings.tenancy.tag.as_str())
        }
        None => (DEFAULT.to_owned(), "tenant"),
    };
    let line = line(item, options, tag)?;
    deliver(&address, line.as_bytes()).map_err(|error| Failure::Datagram { address: address.clone(), error })?;
    Ok(address)
}

fn deliver(address: &str, line: &[u8]) -> io::Result<()> {
    if address.starts_with('/') {
        return UnixDatagram::unbound()?.send_to(line, address).map(drop);
    }
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.send(line)?;
    // On loopback, a port at which nobody listens is told by the next call.
    socket.send(b"").map(drop)
}

/// The item as a line (docs.datadoghq.com/extend/dogstatsd/datagram_shell).
fn line(item: &Item, options: &Options, tag: &str) -> Result<String, Failure> {
    let tenant = options.tenant.iter().map(|tenant| format!("{tag}:{tenant}"));
    let host = options.host.iter().map(|host| format!("host:{host}"));
    let tags: Vec<_> = options.tags.iter().cloned().chain(tenant).chain(host).collect();
    let tags = if tags.is_empty() { String::new() } else { format!("|#{}", tags.join(",")) };
    Ok(match item {
        Item::Log { .. } => return Err(Failure::LogByDogstatsd),
        Item::Metric { name, value, form } => {
            let symbol = match form {
                MetricType::Count => "c",
                MetricType::Gauge => "g",
            };
            format!("{name}:{value}|{symbol}{tags}")
        }
        Item::Event { title, text, alert_type } => {
            let [title, text] = [title, text].map(|text| text.replace('\n', "\\n"));
            format!("_e{{{},{}}}:{title}|{text}|t:{alert_type}{tags}", title.len(), text.len())
        }
        Item::Check { name, status, message } => {
            let status = match status {
                CheckStatus::Ok => 0,
                CheckStatus::Warning => 1,
                CheckStatus::Critical => 2,
                CheckStatus::Unknown => 3,
            };
            format!("_sc|{name}|{status}{tags}|m:{message}")
        }
    })
}
