//! `dogsled tenant`: the tenants of a running daemon, through its admin API.

mod change;
mod connect;
mod overrides;
mod show;
mod token;

use super::admin::{Client, Failure, Options, run, say};
use super::text;
use crate::types::TenantId;
use clap::{Args as ClapArgs, Subcommand};
use serde_json::Value;
use std::path::PathBuf;
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
    /// Show a tenant: how it stands, what waits, and what somebody must do
    Show(Which),
    /// Add a tenant
    ///
    /// Its telemetry is taken and held until it is connected, or, with an API key, delivered at once.
    Add {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        fields: Fields,
    },
    /// Change a tenant's name, site, API key, limits or quota
    Set {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        fields: Fields,
    },
    /// Hold a tenant's telemetry: it is taken, and not delivered
    Pause(Which),
    /// Let a tenant's telemetry go on
    Resume(Which),
    /// Print the address at which a customer connects its Datadog organisation
    Connect(connect::Begin),
    /// Revoke a tenant's authorisation at Datadog and forget its key; its telemetry is held from then on
    Disconnect {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        sure: Sure,
    },
    /// Remove a tenant, with its authorisation, key and ingest tokens
    Remove {
        #[command(flatten)]
        which: Which,
        /// Drop what waits of it on this host, too
        ///
        /// Without this it is kept until it is too old (journal.max_age) or the tenant is added again.
        #[arg(long)]
        purge: bool,
        #[command(flatten)]
        sure: Sure,
    },
    /// Make, list and revoke the ingest tokens with which an application speaks for a tenant
    #[command(subcommand)]
    Token(token::Action),
    /// Decide about telemetry that waits since a tenant was connected to another organisation
    #[command(subcommand)]
    Held(connect::Held),
}

/// Which tenant.
#[derive(Debug, ClapArgs)]
struct Which {
    /// The tenant's id
    #[arg(value_name = "TENANT", value_parser = TenantId::new)]
    tenant: TenantId,
}

impl Which {
    /// Its path below `/admin/v1/`. No character of an id needs to be encoded.
    fn path(&self, rest: &str) -> String {
        format!("tenants/{}{rest}", self.tenant)
    }
}

/// What a tenant is made of.
#[derive(Debug, ClapArgs)]
struct Fields {
    /// Its name for people
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Its Datadog site, such as datadoghq.eu [default: datadog.default_site of the daemon]
    #[arg(long)]
    site: Option<String>,
    /// A file with an API key of its organisation, for a tenant that is not connected through OAuth
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    #[command(flatten)]
    own: overrides::Args,
}

/// Whether to ask.
#[derive(Debug, ClapArgs)]
struct Sure {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Sure {
    /// Whether to go on.
    fn ask(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        match text::confirmed(question)? {
            Some(true) => Ok(()),
            Some(false) => Err(Failure::Undone),
            None => Err(Failure::usage(format!("there is no terminal to ask at: {question} Give --yes to answer yes"))),
        }
    }
}

/// What the actions work with.
struct Place {
    client: Client,
    json: bool,
}

impl Place {
    /// Prints the answer as it came, or what a person is told of it.
    fn tell(&self, answer: &Value, told: impl FnOnce() -> Result<String, Failure>) -> Result<(), Failure> {
        if self.json { say(format_args!("{answer:#}")) } else { say(told()?) }
    }
}

/// Does what is asked. Exit codes: 0 fine, 1 failed, 2 bad usage or configuration.
pub fn main(args: &Args) -> ExitCode {
    let json = args.options.json;
    run(&args.options, async |client| {
        let place = Place { client, json };
        match &args.action {
            Action::List => show::list(&place).await,
            Action::Show(which) => show::one(&place, which).await,
            Action::Add { which, fields } => change::add(&place, which, fields).await,
            Action::Set { which, fields } => change::set(&place, which, fields).await,
            Action::Pause(which) => change::pause(&place, which, true).await,
            Action::Resume(which) => change::pause(&place, which, false).await,
            Action::Connect(begin) => connect::begin(&place, begin).await,
            Action::Disconnect { which, sure } => connect::disconnect(&place, which, sure).await,
            Action::Remove { which, purge, sure } => change::remove(&place, which, *purge, sure).await,
            Action::Token(action) => token::run(&place, action).await,
            Action::Held(held) => connect::decide(&place, held).await,
        }
    })
}
