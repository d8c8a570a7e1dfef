//! What web pages may not do. A browser on this host reaches its loopback, and lets any page send requests there; after DNS
//! rebinding a page even reads the answers. Wherever no token is asked for, a request must therefore name this host as no page
//! of others can (by address, as `localhost`, or by a configured name), and must not come from a page of another site
//! (<https://fetch.spec.whatwg.org/#origin-header>, <https://w3c.github.io/webappsec-fetch-metadata/>).

use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode};
use std::net::IpAddr;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DESTINATION: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotHere {
    /// It is for a host of another name.
    #[error("{host:?} is no name of this host: ask by IP address or as localhost, or add the name to {key}")]
    Host {
        /// The name.
        host: String,
        /// The key of the configuration that lists the names.
        key: &'static str,
    },
    /// A page of another site sent it.
    #[error("a web page sent this request, and pages are not served here")]
    Page,
}

impl NotHere {
    /// The status of an HTTP answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Host { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Page => StatusCode::FORBIDDEN,
        }
    }

    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Host { .. } => "unknown_host",
            Self::Page => "cross_site",
        }
    }
}

/// What a listener is asked for by browsers.
#[derive(Debug, Clone, Copy)]
pub struct Browsers<'a> {
    /// The names of this host, in lower case, besides addresses and `localhost`.
    pub names: &'a [String],
    /// The key of the configuration that lists them.
    pub key: &'static str,
    /// Whether a person may come here from another site, by a link or a redirect.
    pub navigation: bool,
}

impl Browsers<'_> {
    /// Checks a request that shows no token.
    ///
    /// # Errors
    /// When it is for another host, or a page of another site sent it.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), NotHere> {
        let headers = request.headers();
        let of_header = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or("?"));
        let of_target = request.uri().authority().map(Authority::as_str);
        // No browser leaves it out.
        for host in of_header.chain(of_target) {
            if !self.knows(host) {
                return Err(NotHere::Host { host: host.chars().take(100).collect(), key: self.key });
            }
        }
        let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let is_from_elsewhere =
            headers.contains_key(ORIGIN) || !matches!(value(SITE), None | Some("same-origin" | "none"));
        if is_from_elsewhere && !(self.navigation && is_navigation(request.method(), headers)) {
            return Err(NotHere::Page);
        }
        Ok(())
    }

    fn knows(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name == "localhost" || address.parse::<IpAddr>().is_ok() || self.names.iter().any(|known| known == name)
    }
}

/// Whether a person is on the way to a page of their own, in no frame.
fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name, wanted: &str| headers.get(name).is_some_and(|value| value == wanted);
    method == Method::GET && is(MODE, "navigate") && (is(DESTINATION, "document") || !headers.contains_key(DESTINATION))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "admin.allowed_hosts";

    fn check(navigation: bool, target: &str, headers: &[(&str, &str)]) -> Result<(), NotHere> {
        let names = ["dogsled.internal".to_owned()];
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Browsers { names: &names, key: KEY, navigation }.check(&request.body(()).unwrap())
    }

    #[test]
    fn only_names_of_this_host_are_known() {
        for host in
            ["127.0.0.1", "127.0.0.1:8283", "[::1]:8283", "[::1]", "localhost", "LocalHost:1", "localhost.", "10.1.2.3"]
        {
            assert_eq!(check(false, "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["dogsled.internal", "Dogsled.internal:8283"] {
            assert_eq!(check(false, "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "a.localhost", "", "a b", "@"]
        {
            let refused = check(false, "/", &[("host", host)]).unwrap_err();
            assert_eq!(refused.status(), 421, "{host}");
        }
        let several = [("host", "localhost"), ("host", "evil.example")];
        assert!(check(false, "/", &several).is_err());
        assert!(check(false, "http://evil.example/", &several[..1]).is_err());
        assert_eq!(check(false, "/", &[]), Ok(()), "no browser leaves it out");
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://localhost:3000"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(check(true, "/", &[(name, value)]), Err(NotHere::Page), "{name}: {value}");
        }
        for value in ["none", "same-origin"] {
            assert_eq!(check(false, "/", &[("sec-fetch-site", value)]), Ok(()), "{value}");
        }
    }

    #[test]
    fn a_person_may_come_from_another_site_where_that_is_meant() {
        let person = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert_eq!(check(true, "/oauth/callback", &person), Ok(()));
        assert_eq!(check(false, "/metrics", &person), Err(NotHere::Page));
        let frame = [person[0], person[1], ("sec-fetch-dest", "iframe")];
        assert_eq!(check(true, "/oauth/callback", &frame), Err(NotHere::Page));
        let fetch = [person[0], ("sec-fetch-mode", "no-cors")];
        assert_eq!(check(true, "/oauth/callback", &fetch), Err(NotHere::Page));
    }
}
