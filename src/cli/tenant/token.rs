//! The ingest tokens of a tenant.

use super::operator::{Operator, TenantArg};
use crate::api::{NewToken, NewTokenView, TokenList, TokenView};
use crate::cli::admin::{Failure, say};
use crate::cli::text::{one_line, table};
use clap::Subcommand;
use reqwest::Method;
use serde_json::json;
use std::io::{Write, stderr};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Make a token, which is shown this once
    Create {
        #[command(flatten)]
        target: TenantArg,
        /// What it is for
        #[arg(long, default_value = "", value_name = "TEXT")]
        label: String,
    },
    /// List a tenant's tokens, without the tokens themselves
    List(TenantArg),
    /// Revoke a token
    Revoke {
        #[command(flatten)]
        target: TenantArg,
        /// The token's id, as listed
        #[arg(value_name = "ID", value_parser = token_id)]
        id: String,
    },
}

fn token_id(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("the id of a token is of the digits 0-9 and a-f: see `dogsled tenant token list`");
    }
    Ok(text.to_ascii_lowercase())
}

pub(super) async fn run(operator: &Operator, action: &Action) -> Result<(), Failure> {
    match action {
        Action::Create { target, label } => create(operator, target, label).await,
        Action::List(target) => list(operator, target).await,
        Action::Revoke { target, id } => revoke(operator, target, id).await,
    }
}

async fn create(operator: &Operator, target: &TenantArg, label: &str) -> Result<(), Failure> {
    let answer =
        operator.client.send(Method::POST, &target.path("/tokens"), &NewToken { label: label.to_owned() }).await?;
    if operator.json {
        return say(format_args!("{answer:#}"));
    }
    let made: NewTokenView = operator.client.read(&answer)?;
    // Not among the output, which is the token alone, for a program that keeps it.
    let _ = writeln!(
        stderr(),
        "Ingest token {} of tenant {}. It is not shown again; the application sends it as its API key.",
        made.info.id,
        target.tenant
    );
    say(made.token.expose())
}

async fn list(operator: &Operator, target: &TenantArg) -> Result<(), Failure> {
    let answer = operator.client.get(&target.path("/tokens")).await?;
    operator.tell(&answer, || {
        let TokenList { tokens } = operator.client.read(&answer)?;
        if tokens.is_empty() {
            return Ok(format!("tenant {} has no ingest tokens", target.tenant));
        }
        let row = |token: &TokenView| {
            [token.id.clone(), format!("…{}", token.last4), token.created_at.clone(), one_line(&token.label)]
        };
        let rows: Vec<_> = tokens.iter().map(row).collect();
        Ok(table(&["id", "token", "created", "label"], &rows).join("\n"))
    })
}

async fn revoke(operator: &Operator, target: &TenantArg, id: &str) -> Result<(), Failure> {
    operator.client.delete(&target.path(&format!("/tokens/{id}"))).await?;
    let report = json!({ "tenant": target.tenant.as_str(), "revoked": id });
    operator.tell(&report, || Ok(format!("revoked ingest token {id} of tenant {}", target.tenant)))
}
