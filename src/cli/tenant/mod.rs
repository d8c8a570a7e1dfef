//! `dogsled tenant`: the tenants of a running daemon, through its admin API.

mod change;
mod connect;
mod operator;
mod overrides;
mod show;
mod token;

use super::admin::{Options, run};
use change::Fields;
use clap::{Args as ClapArgs, Subcommand};
use operator::{Confirmation, Operator, TenantArg};
use std::process::ExitCode;

/// Manage the tenants of a running daemon
///
/// Tenants of the configuration file are shown, too, but are changed there.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all tenants
    List,
    /// Show a tenant: how it stands, what is queued, and what somebody must do
    Show(TenantArg),
    /// Add a tenant
    ///
    /// Its telemetry is taken and held until it is connected, or, with an API key, delivered at once.
    Add {
        #[command(flatten)]
        target: TenantArg,
        #[command(flatten)]
        fields: Fields,
    },
    /// Change a tenant's name, site, API key, limits or quota
    Set {
        #[command(flatten)]
        target: TenantArg,
        #[command(flatten)]
        fields: Fields,
    },
    /// Hold a tenant's telemetry: it is taken, and not delivered
    Pause(TenantArg),
    /// Let a tenant's telemetry go on
    Resume(TenantArg),
    /// Print the address at which a customer connects its Datadog organisation
    Connect(connect::Begin),
    /// Confirm a connection with the ticket that the customer's browser brought back
    Confirm(connect::Confirm),
    /// Revoke a tenant's authorisation at Datadog and forget its key; its telemetry is held from then on
    Disconnect {
        #[command(flatten)]
        target: TenantArg,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Remove a tenant, with its authorisation, key and ingest tokens
    Remove {
        #[command(flatten)]
        target: TenantArg,
        /// Drop what is queued of it on this host, too
        ///
        /// Without this it is kept until it is too old (journal.max_age) or the tenant is added again.
        #[arg(long)]
        purge: bool,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Make, list and revoke the ingest tokens with which an application speaks for a tenant
    #[command(subcommand)]
    Token(token::Action),
    /// Decide about telemetry held since a tenant was connected to another organisation
    #[command(subcommand)]
    Held(connect::Held),
}

/// Does what is asked. Exit codes: 0 fine, 1 failed, 2 bad usage or configuration.
pub fn main(args: &Args) -> ExitCode {
    let json = args.options.json;
    run(&args.options, async |client| {
        let operator = Operator { client, json };
        match &args.action {
            Action::List => show::list(&operator).await,
            Action::Show(target) => show::one(&operator, target).await,
            Action::Add { target, fields } => change::add(&operator, target, fields).await,
            Action::Set { target, fields } => change::set(&operator, target, fields).await,
            Action::Pause(target) => change::pause(&operator, target, true).await,
            Action::Resume(target) => change::pause(&operator, target, false).await,
            Action::Connect(begin) => connect::begin(&operator, begin).await,
            Action::Confirm(confirm) => connect::confirm(&operator, confirm).await,
            Action::Disconnect { target, confirmation } => connect::disconnect(&operator, target, confirmation).await,
            Action::Remove { target, purge, confirmation } => {
                change::remove(&operator, target, *purge, confirmation).await
            }
            Action::Token(action) => token::run(&operator, action).await,
            Action::Held(held) => connect::decide(&operator, held).await,
        }
    })
}
