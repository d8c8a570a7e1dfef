//! The pages that a customer sees at the end. They say what the customer can do, and leave out what only the operator can.

use super::callback::CallbackError;
use super::connect::Connected;
use super::error::FinishError;
use crate::serve::NotHere;
use crate::types::{Secret, escape_html as escape};
use std::fmt::Write;

const STYLE: &str = ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;padding:1rem;display:grid;place-items:center;background:light-dark(#f4f4f6,#17171c);\
color:light-dark(#1b1b22,#ededf2)}\
main{width:min(34rem,100%);padding:clamp(1.25rem,6vw,2.25rem);border-radius:.75rem;border-top:.3rem solid var(--tone);\
background:light-dark(#fff,#23232b);box-shadow:0 1px 3px #0003,0 8px 24px #0001;--tone:light-dark(#5b5b68,#a6a6b4)}\
h1{margin:0 0 .75rem;font-size:1.375rem;line-height:1.3}p{margin:.5rem 0 0;overflow-wrap:anywhere}\
h1::before{color:var(--tone);margin-right:.6rem}\
.done{--tone:light-dark(#1a7f4b,#4cc38a)}.done h1::before{content:'\\2713' / ''}\
.trouble{--tone:light-dark(#b3401f,#f08a65)}.trouble h1::before{content:'!' / ''}\
small{color:light-dark(#5b5b68,#a6a6b4)}";

/// Classes in the style.
const DONE: &str = "done";
const TROUBLE: &str = "trouble";
const PLAIN: &str = "plain";

/// The page of a connected tenant.
pub(super) fn connected(connected: &Connected) -> String {
    let organisation = connected.organisation.as_ref().map(super::status::named);
    let mut body = match (connected.verified, organisation) {
        (true, Some(organisation)) => {
            format!("<p>The Datadog organisation {} is connected.</p>", escape(&organisation))
        }
        (true, None) => "<p>Your Datadog organisation is connected.</p>".to_owned(),
        (false, _) => {
            "<p>Datadog has created the API key and is still activating it. Data is sent as soon as the key is active.</p>"
                .to_owned()
        }
    };
    if connected.held_for.is_some() {
        body.push_str("<p>Data held for the organisation that was connected before is not sent to this one.</p>");
    }
    body.push_str("<p>You can close this page.</p>");
    page("Connected", DONE, &body)
}

/// The page of an approval that the application has to confirm, where no address of the application is configured.
pub(super) fn unconfirmed(ticket: &Secret) -> String {
    let body = format!(
        "<p>Datadog has approved. To finish, enter this code where you began to connect, and nowhere else:</p>\
         <p><code>{}</code></p>",
        escape(ticket.expose())
    );
    page("One more step", PLAIN, &body)
}

/// The page of a failure. The browser may belong to anybody, so it names no tenant.
pub(super) fn failed(error: &FinishError) -> String {
    const AGAIN: &str = "Please go back to where you clicked Connect, and click it again.";
    let (title, text, to_do) = match error {
        FinishError::Callback(CallbackError::Site(site)) => ("This is not Datadog", site.to_string(), AGAIN),
        FinishError::Callback(CallbackError::OtherClient(_)) | FinishError::Partner { .. } => (
            "Not connected",
            "Datadog does not accept this service at the moment. That is not your fault, and the service's log says why."
                .to_owned(),
            "Please try again later, or tell whoever runs this service.",
        ),
        FinishError::Denied { error, description, .. } => {
            let colon = if description.is_empty() { "" } else { ": " };
            ("Not connected", format!("Datadog did not authorise this service: {error}{colon}{description}"), AGAIN)
        }
        FinishError::ExpiredState(_) => ("Too late", "Connecting took longer than ten minutes.".to_owned(), AGAIN),
        FinishError::OtherTenant(_) | FinishError::OtherSession | FinishError::Unbound => {
            ("Not connected", "This connection was begun elsewhere.".to_owned(), AGAIN)
        }
        FinishError::CodeRefused { words, .. } => {
            ("Not connected", format!("Datadog refused the authorisation code ({words})."), AGAIN)
        }
        FinishError::Unreachable { words, .. } => {
            ("Not connected", format!("Datadog could not be reached ({words}). Nothing was changed."), AGAIN)
        }
        FinishError::SiteGone { site, .. } => {
            ("Not connected", format!("The Datadog site {site:?} is no longer known to this service."), AGAIN)
        }
        FinishError::Busy(_) => {
            ("Not connected", "Another connection for you is in progress.".to_owned(), "Please try again in a minute.")
        }
        FinishError::OrganisationHeld { .. } => (
            "Not connected",
            "This Datadog organisation is already connected to another account of this service.".to_owned(),
            "Please choose another organisation, or ask whoever runs this service.",
        ),
        FinishError::UsedState(_) => (
            "Already used",
            "This link from Datadog has been used already; reloading the page has no effect.".to_owned(),
            "If you are not connected, please go back to where you clicked Connect, and click it again.",
        ),
        FinishError::NoKey { trouble, .. } => {
            let body = format!("<p>{}</p><p><strong>{}</strong></p>", escape(&trouble.reason), escape(&trouble.instructions));
            return page("Not connected", TROUBLE, &body);
        }
        FinishError::Ending => (
            "One moment, please",
            "This service is being restarted.".to_owned(),
            "Please reload this page in a few seconds.",
        ),
        FinishError::Store(_) | FinishError::Internal => (
            "Not connected",
            "Something went wrong in this service; its log has the details.".to_owned(),
            "Please try again later, or tell whoever runs this service.",
        ),
        FinishError::Callback(_) | FinishError::UnknownState | FinishError::UnknownTicket => {
            ("Not connected", error.to_string(), AGAIN)
        }
    };
    let look = if matches!(error, FinishError::UsedState(_)) { PLAIN } else { TROUBLE };
    page(title, look, &format!("<p>{}</p><p><strong>{}</strong></p>", escape(&text), escape(to_do)))
}

/// The page of what is not served.
pub(super) fn nothing_here() -> String {
    page("Nothing here", PLAIN, "<p>Datadog sends browsers to /oauth/callback; there is nothing else here.</p>")
}

/// The page of a request that comes by another name, or from a page of another site.
pub(super) fn refused(why: &NotHere) -> String {
    page("Nothing here", PLAIN, &format!("<p>{}.</p>", escape(&why.to_string())))
}

/// The page of a request that is not a browser's.
pub(super) fn use_get() -> String {
    page("Nothing here", PLAIN, "<p>This page is only for browsers that Datadog sends here: use GET.</p>")
}

/// A page; `look` is its class in the style.
fn page(title: &str, look: &str, body: &str) -> String {
    let mut page = String::with_capacity(2_500);
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main class=\"{look}\">\n<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    );
    page
}
