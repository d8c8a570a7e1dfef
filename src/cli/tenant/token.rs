//! The ingest tokens of a tenant.

use super::{Place, Which};
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
        which: Which,
        /// What it is for
        #[arg(long, default_value = "", value_name = "TEXT")]
        label: String,
    },
    /// List a tenant's tokens, without the tokens themselves
    List(Which),
    /// Revoke a token
    Revoke {
        #[command(flatten)]
        which: Which,
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

pub(super) async fn run(place: &Place, action: &Action) -> Result<(), Failure> {
    match action {
        Action::Create { which, label } => create(place, which, label).await,
        Action::List(which) => list(place, which).await,
        Action::Revoke { which, id } => revoke(place, which, id).await,
    }
}

async fn create(place: &Place, which: &Which, label: &str) -> Result<(), Failure> {
    let answer = place.client.send(Method::POST, &which.path("/tokens"), &NewToken { label: label.to_owned() }).await?;
    if place.json {
        return say(format_args!("{answer:#}"));
    }
    let made: NewTokenView = place.client.read(&answer)?;
    // Not among the output, which is the token alone, for a program that keeps it.
    let _ = writeln!(
        stderr(),
        "Ingest token {} of tenant {}. It is not shown again; the application sends it as its API key.",
        made.info.id,
        which.tenant
    );
    say(made.token.expose())
}

async fn list(place: &Place, which: &Which) -> Result<(), Failure> {
    let answer = place.client.get(&which.path("/tokens")).await?;
    place.tell(&answer, || {
        let TokenList { tokens } = place.client.read(&answer)?;
        if tokens.is_empty() {
            return Ok(format!("tenant {} has no ingest tokens", which.tenant));
        }
        let row = |token: &TokenView| {
            [token.id.clone(), format!("…{}", token.last4), token.created_at.clone(), one_line(&token.label)]
        };
        let rows: Vec<_> = tokens.iter().map(row).collect();
        Ok(table(&["id", "token", "created", "label"], &rows).join("\n"))
    })
}

async fn revoke(place: &Place, which: &Which, id: &str) -> Result<(), Failure> {
    place.client.delete(&which.path(&format!("/tokens/{id}"))).await?;
    let report = json!({ "tenant": which.tenant.as_str(), "revoked": id });
    place.tell(&report, || Ok(format!("revoked ingest token {id} of tenant {}", which.tenant)))
}
