//! `[oauth]`

use super::address::{is_loopback, listen_address, web_address};
use super::form::{Switch, Text, text};
use super::hosts::HostNames;
use super::ingest::listen;
use super::key::section;
use super::problems::Problems;
use super::secrets::{SecretText, secret};
use crate::types::Secret;

section! {
    /// The OAuth client with which customers connect their Datadog organisations; docs/oauth.md tells the whole way.
    pub struct Oauth {
        /// The id of the client, as Datadog's Developer Platform shows it. Without one, nobody can connect.
        client_id: String = String::new(), text("3f0c9a7e-0000-4000-8000-5f7a1b2c3d4e");
        /// The secret of the client, or a file with it.
        client_secret: Option<Secret> = None, SecretText::<true>(secret);
        /// Where Datadog sends the customer's browser back to: one of the client's redirect URIs, to the letter. It leads
        /// to the connect listener below, or to a page of your application that hands the query on through the admin API.
        redirect_uri: String = String::new(), Text(redirect_uri, String::clone, "https://connect.example.com/oauth/callback");
        /// The connect listener, which serves /oauth/callback: an address and a port such as 127.0.0.1:8284, "" for none.
        /// Plain HTTP: beyond loopback, put a proxy with TLS before it.
        listen: String = String::new(), Text(listen, String::clone, "127.0.0.1:8284"), restart;
        /// Names of this host by which browsers come to that listener, besides addresses, localhost and the name in redirect_uri.
        allowed_hosts: Vec<String> = vec![], HostNames;
        /// Where the connect listener sends the browser, with ?ticket=… for the application to confirm (docs/oauth.md); ""
        /// shows the ticket on a page.
        success_url: String = String::new(), Text(success_url, String::clone, "https://app.example.com/connected");
        /// Whether any browser may finish an authorisation, without the session of your application that began it. Whoever
        /// begins one could then have another person approve, and would receive that person's organisation.
        allow_unbound: bool = false, Switch;
    }
}

impl Oauth {
    /// The names by which browsers come to the connect listener, in lower case.
    pub fn hosts(&self) -> Vec<String> {
        let redirect = url::Url::parse(&self.redirect_uri).ok();
        let name = redirect.and_then(|url| url.host_str().map(str::to_ascii_lowercase));
        self.allowed_hosts.iter().cloned().chain(name).collect()
    }

    /// Whether customers can connect.
    pub fn is_configured(&self) -> bool {
        !self.client_id.is_empty()
    }
}

fn success_url(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { web_address(text).map(|_| text.to_owned()) }
}

fn redirect_uri(text: &str) -> Result<String, String> {
    if !text.is_empty() && web_address(text)?.fragment().is_some() {
        return Err("has a fragment (#…), which no redirect URI may have: remove it".into());
    }
    Ok(text.to_owned())
}

pub(super) fn check(oauth: &Oauth, problems: &mut Problems) {
    if let Some(at) = listen_address(&oauth.listen).ok().flatten().filter(|at| !is_loopback(at.ip())) {
        let message = format!("{at} is reachable from other machines without TLS: put a proxy with TLS before it");
        problems.warning("oauth.listen", message);
    }
    if oauth.allow_unbound {
        let message = "whoever begins an authorisation can have it finished by another person's browser, and then receives \
                       that person's organisation: pass session to connect, and set it to false";
        problems.warning("oauth.allow_unbound", message);
    }
    let has_secret = oauth.client_secret.is_some() || !problems.are_fine(&["oauth.client_secret_file"]);
    let given = [
        ("client_id", oauth.is_configured()),
        ("client_secret_file", has_secret),
        ("redirect_uri", !oauth.redirect_uri.is_empty() || !problems.are_fine(&["oauth.redirect_uri"])),
        ("listen", !oauth.listen.is_empty()),
        ("success_url", !oauth.success_url.is_empty()),
    ];
    // Without a client nothing of it means anything; with one, Datadog wants all three.
    if let Some((because, _)) = given.iter().find(|(_, given)| *given) {
        for (key, _) in given.iter().take(3).filter(|(_, given)| !given) {
            let message = format!("is missing, but oauth.{because} is set: Datadog's Developer Platform shows it");
            problems.error(&format!("oauth.{key}"), message);
        }
    }
}
