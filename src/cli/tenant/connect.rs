//! Connecting customers, the end of that, and telemetry that is left of the organisation before.

use super::operator::{Confirmation, Operator, TenantArg};
use super::show;
use crate::api::{
    BegunView, ConfirmRequest, ConnectRequest, ConnectedView, DisconnectedView, HeldAction, HeldRequest, HeldView,
    TenantView,
};
use crate::cli::admin::{Failure, say};
use crate::cli::text::{counted, printable};
use crate::types::Secret;
use clap::{Args as ClapArgs, Subcommand};
use reqwest::Method;
use std::io::{Write, stderr};

/// Where the customer comes from.
#[derive(Debug, ClapArgs)]
pub(super) struct Begin {
    #[command(flatten)]
    target: TenantArg,
    /// The `domain` that Datadog sent to the application, such as datadoghq.eu [default: Datadog asks the customer]
    #[arg(long)]
    domain: Option<String>,
    /// The `site` that Datadog sent with it: the web address of the customer's organisation
    #[arg(long, value_name = "URL")]
    site: Option<String>,
    /// An opaque value of the session that is signed in at the application; only the same one can confirm
    ///
    /// Required unless oauth.allow_unbound is set.
    #[arg(long)]
    session: Option<String>,
}

/// The confirmation of an authorisation that came back to the connect listener.
#[derive(Debug, ClapArgs)]
pub(super) struct Confirm {
    #[command(flatten)]
    target: TenantArg,
    /// The ticket that the browser brought to oauth.success_url
    #[arg(long)]
    ticket: String,
    /// The session given to `tenant connect`
    #[arg(long)]
    session: String,
}

/// What becomes of telemetry that was meant for another organisation.
#[derive(Debug, Subcommand)]
pub(super) enum Held {
    /// Deliver it to the organisation that the tenant is connected to now
    Release(TenantArg),
    /// Drop it; it is counted as purged
    Drop {
        #[command(flatten)]
        target: TenantArg,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

pub(super) async fn begin(operator: &Operator, begin: &Begin) -> Result<(), Failure> {
    let session = begin.session.clone().map(Secret::new);
    let request = ConnectRequest { domain: begin.domain.clone(), site: begin.site.clone(), session };
    let answer = operator.client.send(Method::POST, &begin.target.path("/connect"), &request).await?;
    if operator.json {
        return say(format_args!("{answer:#}"));
    }
    let BegunView { authorize_url, expires_at } = operator.client.read(&answer)?;
    // Not among the output, which is the address alone, for a program that opens it.
    let _ = writeln!(
        stderr(),
        "Open this in the customer's browser until {expires_at}. It is good once: show it to nobody else."
    );
    say(authorize_url.expose())
}

pub(super) async fn confirm(operator: &Operator, confirm: &Confirm) -> Result<(), Failure> {
    let Confirm { target, ticket, session } = confirm;
    let request = ConfirmRequest { ticket: Secret::new(ticket.clone()), session: Secret::new(session.clone()) };
    let answer = operator.client.send(Method::POST, &target.path("/connect/confirm"), &request).await?;
    operator.tell(&answer, || {
        let ConnectedView { tenant, .. } = operator.client.read(&answer)?;
        Ok(format!("connected; {}", show::in_short(&tenant)))
    })
}

pub(super) async fn disconnect(
    operator: &Operator,
    target: &TenantArg,
    confirmation: &Confirmation,
) -> Result<(), Failure> {
    let tenant = &target.tenant;
    confirmation.ask(&format!("Disconnect tenant {tenant}, and forget its key?"))?;
    let answer = operator.client.post(&target.path("/disconnect")).await?;
    operator.tell(&answer, || {
        let DisconnectedView { not_revoked, instructions, .. } = operator.client.read(&answer)?;
        let mut told = format!("disconnected tenant {tenant}; its telemetry is held until it is connected again");
        if let Some(why) = not_revoked {
            told += &format!("\nits authorisation may still stand at Datadog: {}", printable(&why));
        }
        Ok(format!("{told}\n{}", printable(&instructions)))
    })
}

pub(super) async fn decide(operator: &Operator, held: &Held) -> Result<(), Failure> {
    let (target, action) = match held {
        Held::Release(target) => (target, HeldAction::Release),
        Held::Drop { target, confirmation } => {
            let tenant: TenantView = operator.client.read(&operator.client.get(&target.path("")).await?)?;
            if let Some(organisation) = &tenant.held_for {
                let organisation = show::organisation(organisation);
                confirmation.ask(&format!(
                    "Drop what is queued of tenant {} and was meant for {organisation}?",
                    target.tenant
                ))?;
            }
            (target, HeldAction::Drop)
        }
    };
    let answer = operator.client.send(Method::POST, &target.path("/held"), &HeldRequest { action }).await?;
    operator.tell(&answer, || {
        let HeldView { tenant, dropped_items } = operator.client.read(&answer)?;
        let done = match held {
            Held::Release(_) => "released what was held".to_owned(),
            Held::Drop { .. } => format!("dropped {} on this host", counted(dropped_items, "item")),
        };
        Ok(format!("{done}; {}", show::in_short(&tenant)))
    })
}
