//! The pages that a customer sees.

use super::grants::Client;
use crate::fakeintake::answer::{Answer, with_type};
use crate::types::escape_html as escape;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The parameters of an authorisation request.
const PARAMETERS: [&str; 6] =
    ["redirect_uri", "client_id", "response_type", "code_challenge", "code_challenge_method", "state"];

/// The parameters of a request.
pub(super) type Parameters = BTreeMap<String, String>;

/// A valid authorisation request.
pub(super) struct Authorization<'a> {
    pub(super) client: &'a Client,
    pub(super) redirect_uri: &'a str,
    pub(super) parameters: &'a Parameters,
}

const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; --brand: light-dark(#632ca6, #b794f0); }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; padding: 1rem; display: grid; place-items: center;
  background: light-dark(#f4f2f8, #17131f); color: light-dark(#1e1828, #f1edf7); }
main { width: min(30rem, 100%); padding: clamp(1.25rem, 6vw, 2.25rem); border-radius: .75rem;
  border-top: .3rem solid var(--brand); background: light-dark(#fff, #241e30);
  box-shadow: 0 1px 3px #0003, 0 8px 24px #0001; }
h1 { margin: 0 0 .75rem; font-size: 1.375rem; line-height: 1.3; text-wrap: balance; }
p { margin: 0; }
small { color: light-dark(#625b70, #b3abc4); }
fieldset { margin: 1.5rem 0; padding: .25rem; border: 1px solid light-dark(#cfc8da, #4d4360); border-radius: .5rem; }
legend { margin-left: .5rem; padding: 0 .4rem; font-weight: 600; font-size: .875rem; }
label { display: flex; gap: .75rem; align-items: baseline; padding: .5rem .75rem; border-radius: .35rem; cursor: pointer; }
label:hover, label:has(:checked) { background: light-dark(#f1ebfa, #322843); }
label small { display: block; }
input { accent-color: var(--brand); }
.actions { display: flex; flex-wrap: wrap; gap: .75rem; justify-content: flex-end; margin-bottom: 1.5rem; }
button { font: inherit; font-weight: 600; padding: .55rem 1.4rem; border-radius: .5rem; cursor: pointer;
  border: 1px solid var(--brand); }
.approve { background: var(--brand); color: light-dark(#fff, #1b1426); }
.deny { background: none; color: inherit; }
button:hover { filter: brightness(1.12); }
:focus-visible { outline: .2rem solid var(--brand); outline-offset: .15rem; }
code { overflow-wrap: anywhere; font-size: .9375em; }
";

/// The page that asks the customer for approval.
pub(super) fn page(authorization: &Authorization<'_>) -> Answer {
    let Client { name, orgs, may_create_keys, .. } = authorization.client;
    let mut hidden = String::new();
    for parameter in PARAMETERS {
        if let Some(value) = authorization.parameters.get(parameter) {
            // Writing to a string does not fail.
            let _ = writeln!(hidden, r#"<input type="hidden" name="{parameter}" value="{}">"#, escape(value));
        }
    }
    let mut choices = String::new();
    for (index, org) in orgs.iter().enumerate() {
        let checked = if index == 0 { " checked" } else { "" };
        let _ = writeln!(
            choices,
            r#"<label><input type="radio" name="org" value="{}"{checked}> <span>{} <small>{}</small></span></label>"#,
            escape(&org.id),
            escape(&org.name),
            escape(&org.domain),
        );
    }
    let wish = if *may_create_keys { "create an API key to send data with" } else { "read what you allow it" };
    let name = escape(name);
    let body = format!(
        r#"<h1>Connect {name} to your organisation?</h1>
<p>{name} asks to {wish}. It will send you back to <code>{}</code>.</p>
<form method="post" action="/oauth2/v1/authorize">
{hidden}<fieldset><legend>Organisation</legend>
{choices}</fieldset>
<div class="actions">
<button class="deny" name="decision" value="deny">Deny</button>
<button class="approve" name="decision" value="approve">Approve</button>
</div>
</form>
<p><small>This is dogsled's stand-in for Datadog. Nothing leaves this machine.</small></p>"#,
        escape(authorization.redirect_uri),
    );
    html(StatusCode::OK, "Authorise", &body)
}

/// The page of an authorisation that cannot continue.
pub(super) fn error(text: &str) -> Answer {
    let text = escape(text);
    html(StatusCode::BAD_REQUEST, "Error", &format!("<h1>This authorisation cannot continue</h1>\n<p>{text}</p>"))
}

fn html(status: StatusCode, title: &str, body: &str) -> Answer {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    );
    let mut answer = with_type(status, "text/html; charset=utf-8", page);
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
