//! `[oauth]`: the client with which customers connect.

use super::check::{is_loopback, listen_address};
use super::problems::Problems;
use super::reader::Section;
use super::source::Tree;
use super::{Oauth, Settings, secrets};
use crate::types::Secret;
use url::{Host, Url};

pub(super) fn read(tree: &mut Tree, problems: &mut Problems) -> Oauth {
    let mut section = Section::take(tree, "oauth", problems);
    let mut oauth = Oauth::default();
    section.text("client_id", &mut oauth.client_id);
    let inline = section.secret("client_secret");
    let from_file = secrets::from_file(&mut section, "client_secret_file");
    if inline.is_some() && from_file.is_some() {
        section.error("client_secret", "given here and as client_secret_file too: keep one");
    }
    oauth.client_secret = inline.or(from_file).map(Secret::new);
    section.text("redirect_uri", &mut oauth.redirect_uri);
    section.text("listen", &mut oauth.listen);
    section.text("success_url", &mut oauth.success_url);
    section.finish();
    oauth
}

/// What must hold of it, and between it and other sections.
pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    let oauth = &settings.oauth;
    let listen_at = listen_address("oauth.listen", &oauth.listen, problems);
    if let Some(at) = listen_at.filter(|at| at.port() != 0) {
        for (key, taken) in [("ingest.listen", &settings.ingest.listen), ("admin.listen", &settings.admin.listen)] {
            if taken.parse() == Ok(at) {
                problems.error("oauth.listen", format!("{at} is the address of {key} too: choose another port"));
            }
        }
        if !is_loopback(at.ip()) {
            let message = format!("{at} is reachable from other machines without TLS: put a proxy with TLS before it");
            problems.warning("oauth.listen", message);
        }
    }
    if !oauth.redirect_uri.is_empty() {
        match web_address(&oauth.redirect_uri) {
            Ok(url) if url.fragment().is_some() => {
                problems.error("oauth.redirect_uri", "has a fragment (#…), which no redirect URI may have: remove it");
            }
            Ok(_) => {}
            Err(why) => problems.error("oauth.redirect_uri", why),
        }
    }
    if !oauth.success_url.is_empty()
        && let Err(why) = web_address(&oauth.success_url)
    {
        problems.error("oauth.success_url", why);
    }
    let has_secret = oauth.client_secret.is_some() || !problems.are_fine(&["oauth.client_secret_file"]);
    let given = [
        ("client_id", oauth.is_configured()),
        ("client_secret_file", has_secret),
        ("redirect_uri", !oauth.redirect_uri.is_empty()),
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

/// An address that a browser may be sent to. What is wrong is said without the address, whose query may hold anything.
fn web_address(text: &str) -> Result<Url, &'static str> {
    let url =
        Url::parse(text).map_err(|_| "is no address: write one such as https://connect.example.com/oauth/callback")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password: remove it");
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => is_loopback(ip.into()),
        Some(Host::Ipv6(ip)) => is_loopback(ip.into()),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        _ => Err("must begin with https:// (http:// is for loopback): what passes there must not be read on the way"),
    }
}
