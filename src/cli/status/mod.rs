//! `dogsled status`: how a running daemon and its tenants are, in a line each.

mod frame;
mod rates;

use super::admin::{Client, Failure, Options, run, say};
use crate::api::StatusView;
use crate::settings::parse_duration;
use frame::{Frame, Style};
use rates::{Rates, Sample};
use serde_json::Value;
use std::io::{self, IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

/// Over how long rates are measured for one look.
const LOOK: Duration = Duration::from_secs(1);

/// How a running daemon and its tenants are, those in trouble first
///
/// One line a tenant: state, queued items and the age of the oldest, items delivered in a second, age of the key and of
/// the OAuth tokens, last error. Below them, what somebody must do.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: Options,
    /// Look again and again, until it is interrupted
    ///
    /// In place on a terminal, one look after another elsewhere; with --json one line for each.
    #[arg(long)]
    watch: bool,
    /// How long to wait between two looks
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "TIME", requires = "watch")]
    interval: Duration,
}

/// Shows it. Exit codes: 0 fine, 1 failed, 2 bad usage or configuration.
pub fn main(args: &Args) -> ExitCode {
    run(&args.options, async |client| if args.watch { watch(&client, args).await } else { once(&client, args).await })
}

async fn once(client: &Client, args: &Args) -> Result<(), Failure> {
    let before = Sample::take(client).await?;
    tokio::time::sleep(LOOK).await;
    let rates = Sample::take(client).await?.since(&before);
    let answer = client.get("status").await?;
    if args.options.json {
        return say(format_args!("{:#}", rates.added_to(answer)));
    }
    let (status, style) = (client.read(&answer)?, Style::of_output());
    say(Frame { status: &status, rates: &rates, at: client.at() }.lines(style).join("\n"))
}

async fn watch(client: &Client, args: &Args) -> Result<(), Failure> {
    let in_place = stdout().is_terminal() && !args.options.json;
    let mut before = Sample::take(client).await?;
    let mut wait = LOOK.min(args.interval);
    let mut last = None;
    if in_place {
        put("\x1b[2J")?;
    }
    loop {
        tokio::time::sleep(wait).await;
        wait = args.interval;
        let (rates, trouble) = match look(client).await {
            Ok((answer, now)) => {
                let rates = now.since(&before);
                before = now;
                last = Some(answer);
                (rates, None)
            }
            // A daemon that is being restarted comes back.
            Err(failure @ Failure::Unreachable { .. }) if in_place => (Rates::default(), Some(failure.to_string())),
            Err(failure) => return Err(failure),
        };
        let Some(answer) = &last else { continue };
        if args.options.json {
            say(rates.added_to(answer.clone()))?;
            continue;
        }
        let (status, style): (StatusView, _) = (client.read(answer)?, Style::of_output());
        let mut lines = Frame { status: &status, rates: &rates, at: client.at() }.lines(style);
        lines.extend(trouble.map(|trouble| style.cut(&trouble)));
        if in_place { redraw(&style.fitted(lines))? } else { say(format_args!("{}\n", lines.join("\n")))? }
    }
}

async fn look(client: &Client) -> Result<(Value, Sample), Failure> {
    let answer = client.get("status").await?;
    Ok((answer, Sample::take(client).await?))
}

/// Writes lines over those of before, without a moment at which there are none.
fn redraw(lines: &[String]) -> io::Result<()> {
    let mut text = String::from("\x1b[H\x1b[?7l");
    for line in lines {
        // Erasing after a line that fills its row would take its last character.
        text += "\x1b[K";
        text += line;
        text += "\r\n";
    }
    text += "\x1b[J\x1b[?7h";
    put(&text)
}

fn put(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
