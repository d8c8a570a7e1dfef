//! What must hold between sections.

use super::address::{base_address, is_loopback, listen_address};
use super::dogstatsd::is_path;
use super::ingest::MAX_SOCKET_PATH;
use super::problems::{Problems, join, nearest};
use super::secrets::is_hex_key;
use super::{Settings, batch, delivery, journal, oauth, store};
use crate::types::TenantId;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Checks a configuration that was read.
pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    check_listeners(settings, problems);
    check_ingest(settings, problems);
    check_dogstatsd(settings, problems);
    check_admin(settings, problems);
    oauth::check(&settings.oauth, problems);
    store::check(&settings.store, problems);
    check_default_tenant(settings, problems);
    check_tenants(settings, problems);
    batch::check(&settings.batch, problems);
    delivery::check(&settings.delivery, problems);
    journal::check(&settings.journal, settings.ingest.max_body, problems);
    check_datadog(settings, problems);
}

/// Refuses two listeners on one address.
fn check_listeners(settings: &Settings, problems: &mut Problems) {
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let others = [
        ("otlp.http_listen", &settings.otlp.http_listen),
        ("otlp.grpc_listen", &settings.otlp.grpc_listen),
        ("admin.listen", &settings.admin.listen),
        ("metrics.listen", &settings.metrics.listen),
        ("oauth.listen", &settings.oauth.listen),
    ];
    let ingest = settings.ingest.listen.iter().map(|text| ("ingest.listen", text));
    for (key, text) in ingest.chain(others) {
        let Some(at) = listen_address(text).ok().flatten().filter(|at| at.port() != 0) else { continue };
        match taken.iter().find(|(_, other)| *other == at) {
            Some((other, _)) => {
                problems.error(key, format!("{text:?} is the address of {other} too: choose another port"));
            }
            None => taken.push((key, at)),
        }
    }
}

fn check_ingest(settings: &Settings, problems: &mut Problems) {
    let ingest = &settings.ingest;
    if ingest.listen.is_empty() && ingest.socket.is_empty() && problems.are_fine(&["ingest.listen", "ingest.socket"]) {
        problems.error("ingest.listen", "is empty, and ingest.socket too: nothing could be received; set one of them");
    }
    if settings.admin_socket().as_os_str() == ingest.socket.as_str() {
        problems.error("ingest.socket", "is the path of admin.socket too: choose another");
    }
    let fine = problems.are_fine(&["ingest.listen", "ingest.require_token", "ingest.allow_anonymous"]);
    let otlp = [("otlp.http_listen", &settings.otlp.http_listen), ("otlp.grpc_listen", &settings.otlp.grpc_listen)];
    let listeners = ingest.listen.iter().map(|text| ("ingest.listen", text)).chain(otlp);
    let addresses = listeners.filter_map(|(key, text)| Some((key, listen_address(text).ok().flatten()?)));
    for (key, at) in addresses.filter(|(_, at)| !is_loopback(at.ip()) && fine) {
        if ingest.require_token {
            let message = format!(
                "{at} is reachable from other machines, and ingest tokens travel there in clear: put a proxy with TLS before it"
            );
            problems.warning(key, message);
        } else if ingest.allow_anonymous {
            let message =
                format!("{at} is reachable from other machines, and everyone there may send for every tenant");
            problems.warning(key, message);
        } else {
            let message = format!(
                "{at} is reachable from other machines, and they would need no token: set ingest.require_token = true, \
                 listen on 127.0.0.1, or set ingest.allow_anonymous = true if all of that network may send for every tenant"
            );
            problems.error(key, message);
        }
    }
    if ingest.require_token && settings.tenants.values().all(|tenant| tenant.ingest_tokens.is_empty()) {
        problems
            .warning("ingest.require_token", "is set, but no tenant has ingest_tokens: every request will be refused");
    }
}

fn check_admin(settings: &Settings, problems: &mut Problems) {
    let admin = &settings.admin;
    match (&admin.tls_cert_file, &admin.tls_key_file) {
        (Some(_), None) => problems.error("admin.tls_key_file", "is missing, but admin.tls_cert_file is set"),
        (None, Some(_)) => problems.error("admin.tls_cert_file", "is missing, but admin.tls_key_file is set"),
        (None, None) => {
            let open = listen_address(&admin.listen).ok().flatten().filter(|at| !is_loopback(at.ip()));
            if let Some(at) = open {
                let message = format!(
                    "{at} is reachable from other machines, and the token would travel in clear: set admin.tls_cert_file and \
                     admin.tls_key_file, listen on 127.0.0.1, or set metrics.listen if probes are all that is wanted"
                );
                problems.error("admin.listen", message);
            }
        }
        (Some(_), Some(_)) => {}
    }
    let socket = settings.admin_socket();
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        let message = format!(
            "is {}, which is too long for a socket (at most {MAX_SOCKET_PATH} bytes): set a shorter path",
            socket.display()
        );
        problems.error("admin.socket", message);
    }
}

fn check_dogstatsd(settings: &Settings, problems: &mut Problems) {
    let dogstatsd = &settings.dogstatsd;
    let listeners = dogstatsd.listeners.keys().filter(|address| !is_path(address));
    for (key, address) in dogstatsd
        .listen
        .iter()
        .map(|address| ("dogstatsd.listen", address))
        .chain(listeners.map(|one| ("dogstatsd.listeners", one)))
    {
        let open = listen_address(address).ok().flatten().filter(|at| !is_loopback(at.ip()));
        match open {
            Some(at) if settings.ingest.allow_anonymous => {
                problems.warning(key, format!("{at} is reachable from other machines, and everyone there may send"));
            }
            Some(at) => problems.error(
                key,
                format!(
                    "{at} is reachable from other machines, and DogStatsD knows no tokens: listen on 127.0.0.1, or set \
                     ingest.allow_anonymous = true if all of that network may send"
                ),
            ),
            None => {}
        }
    }
    for (address, tenant) in &dogstatsd.listeners {
        let Some(tenant) = tenant else { continue };
        if !settings.tenants.is_empty() && !settings.tenants.contains_key(tenant) {
            let table = join("dogstatsd.listeners", address);
            problems.warning(
                &table,
                format!("its tenant {tenant} is not in this file: its lines wait for nobody until it is added"),
            );
        }
    }
}

fn check_default_tenant(settings: &Settings, problems: &mut Problems) {
    let tenants = &settings.tenants;
    if tenants.is_empty() {
        return;
    }
    if let Some(default) = settings.tenancy.default.as_ref().filter(|id| !tenants.contains_key(*id)) {
        let advice = match nearest(default.as_str(), tenants.keys().map(TenantId::as_str)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("name one of the tenants or add [{}]", join("tenants", default.as_str())),
        };
        problems.error("tenancy.default", format!("{:?} is no tenant; {advice}", default.as_str()));
    }
}

fn check_tenants(settings: &Settings, problems: &mut Problems) {
    if settings.tenants.is_empty() && !problems.has_error("tenants") {
        let message = "none here: nothing is accepted before one is added through the admin API, or as [tenants.<id>]";
        problems.warning("tenants", message);
    }
    // Keys and tokens are compared without regard to the case of their digits, as when a request brings one.
    let mut owners: BTreeMap<String, &TenantId> = BTreeMap::new();
    let mut keys: BTreeMap<String, &TenantId> = BTreeMap::new();
    for (id, tenant) in &settings.tenants {
        let table = join("tenants", id.as_str());
        let [key, tokens] = ["api_key", "ingest_tokens"].map(|key| settings.written_as(join(&table, key)));
        match &tenant.api_key {
            None if problems.has_error(&table) => {}
            None => {
                let message = format!("has no api_key or api_key_file for {}: its telemetry will be held", tenant.site);
                problems.warning(&table, message);
            }
            Some(secret) if !is_hex_key(secret.expose()) => {
                problems.warning(&key, "does not look like an API key of Datadog, which is 32 hexadecimal digits");
            }
            Some(_) => {}
        }
        let digits = tenant.api_key.as_ref().map(|key| key.expose().to_ascii_lowercase());
        if let Some(other) = digits.and_then(|digits| keys.insert(digits, id)) {
            let message =
                format!("is the API key of tenant {other} too: both arrive in one organisation and share its limits");
            problems.warning(&key, message);
        }
        if tenant.api_key.as_ref().is_some_and(|key| tenant.ingest_tokens.contains(key)) {
            let message = "one of them is the API key: make it a token of its own, so that the key stays here";
            problems.warning(&tokens, message);
        }
        for (index, token) in tenant.ingest_tokens.iter().enumerate() {
            let other = owners.insert(token.expose().to_ascii_lowercase(), id).filter(|other| *other != id);
            if let Some(other) = other {
                let message =
                    format!("token {} is one of tenant {other} too: a token stands for one tenant", index + 1);
                problems.error(&tokens, message);
            }
        }
    }
}

fn check_datadog(settings: &Settings, problems: &mut Problems) {
    check_site("datadog.default_site", &settings.datadog.default_site, settings, problems);
    for (id, tenant) in &settings.tenants {
        // A tenant without a site of its own has the default one, which was checked above.
        if tenant.site != settings.datadog.default_site {
            check_site(&join(&join("tenants", id.as_str()), "site"), &tenant.site, settings, problems);
        }
    }
    for (name, hosts) in settings.datadog.sites.changed() {
        for (key, host) in hosts.by_name() {
            if host.starts_with("http://") && base_address(host, false).is_err() {
                let message = format!("{host} is not encrypted: API keys travel there in clear");
                problems.warning(&join(&join("datadog.sites", name), key), message);
            }
        }
    }
    let Some(path) = &settings.datadog.ca_file else { return };
    match std::fs::read(path) {
        Ok(pem) if memchr::memmem::find(&pem, b"-----BEGIN CERTIFICATE-----").is_some() => {}
        Ok(_) => problems.error("datadog.ca_file", format!("{path:?} holds no certificate in PEM form")),
        Err(error) => problems.error("datadog.ca_file", format!("{path:?} cannot be read: {error}")),
    }
}

fn check_site(key: &str, name: &str, settings: &Settings, problems: &mut Problems) {
    let sites = &settings.datadog.sites;
    // A site whose own table is wrong has said so already.
    if sites.get(name).is_some() || problems.has_error(&join("datadog.sites", name)) {
        return;
    }
    let known: Vec<_> = sites.names().collect();
    let hint = sites.meant_by(name).map(|site| format!("did you mean {site:?}? ")).unwrap_or_default();
    let table = join("datadog.sites", name);
    problems.error(
        key,
        format!(
            "{name:?} is no known site; {hint}the known ones are {}; to add one, write [{table}]",
            known.join(", ")
        ),
    );
}
