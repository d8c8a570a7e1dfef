//! What the actions of `dogsled tenant` have in common: the tenant they name, the question before what cannot be undone,
//! and who asks the daemon.

use crate::cli::admin::{Client, Failure, say};
use crate::cli::text;
use crate::types::TenantId;
use serde_json::Value;

/// Names a tenant of the daemon.
#[derive(Debug, clap::Args)]
pub(super) struct TenantArg {
    /// The tenant's id
    #[arg(value_name = "TENANT", value_parser = TenantId::new)]
    pub(super) tenant: TenantId,
}

impl TenantArg {
    /// Its path below `/admin/v1/`. No character of an id needs to be encoded.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("tenants/{}{rest}", self.tenant)
    }
}

/// A question before what cannot be undone.
#[derive(Debug, clap::Args)]
pub(super) struct Confirmation {
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
}

impl Confirmation {
    /// Asks, unless `--yes` was given; an error if the answer is no.
    pub(super) fn ask(&self, question: &str) -> Result<(), Failure> {
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

/// Whoever runs the command: asks the daemon, and wants answers as text or as JSON.
pub(super) struct Operator {
    pub(super) client: Client,
    pub(super) json: bool,
}

impl Operator {
    /// Prints the answer as it came, or what a person is told of it.
    pub(super) fn tell(&self, answer: &Value, told: impl FnOnce() -> Result<String, Failure>) -> Result<(), Failure> {
        if self.json { say(format_args!("{answer:#}")) } else { say(told()?) }
    }
}
