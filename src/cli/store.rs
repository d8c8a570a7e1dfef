//! `dogsled store`.

use super::{BAD_CONFIGURATION, complain};
use crate::settings::Settings;
use crate::store::{Rekeyed, Store};
use crate::vault::Source;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

/// Maintain the store of tenants and their secrets
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Rekey(RekeyArgs),
}

/// Rotate the master key: seal all secrets again with another one
/// Safe at any time and safe to repeat: after a crash, run it again. Where several hosts share a store, first put the
/// new key beside the key file of each, with .new appended to its name; running daemons then continue with it.
#[derive(Debug, clap::Args)]
struct RekeyArgs {
    /// The configuration file [default: /etc/dogsled/dogsled.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with the new key, 32 bytes in hexadecimal or base64 [default: a new random key]
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command. Exit codes: 0 fine, 1 failed, 2 bad configuration.
pub fn main(args: &Args) -> ExitCode {
    match &args.command {
        Command::Rekey(args) => rekey(args),
    }
}

fn rekey(args: &RekeyArgs) -> ExitCode {
    let settings = match Settings::load(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => {
            error.problems().iter().for_each(complain);
            return BAD_CONFIGURATION.into();
        }
    };
    let wanted = match args.new_key_file.as_deref().map(Source::read_file).transpose() {
        Ok(wanted) => wanted,
        Err(error) => {
            complain(error);
            return BAD_CONFIGURATION.into();
        }
    };
    let source = Source::configured(&settings, std::env::var_os("CREDENTIALS_DIRECTORY").as_deref());
    let work = async {
        let store = Store::open_existing(&settings.store.url, &settings.state.dir, source).await?;
        store.rekey(wanted).await
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("the runtime could not be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(work) {
        Ok(done) => report(&done, args.json),
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn report(done: &Rekeyed, json: bool) -> ExitCode {
    let kept = done.kept.as_ref().ok().and_then(Option::as_ref).map(|path| path.display().to_string());
    let text = if json {
        let (from, to) = (done.from.to_string(), done.to.to_string());
        let fields = serde_json::json!({ "from": from, "to": to, "secrets": done.secrets, "old_key_file": kept });
        format!("{fields:#}\n")
    } else {
        let mut text = format!(
            "{} secrets are sealed with master key {} now; before, it was {}.\n",
            done.secrets, done.to, done.from
        );
        if let Some(kept) = kept {
            text += &format!("The old key is kept as {kept}: remove it once no backup of the store needs it.\n");
        }
        text
    };
    if let Some(advice) = &done.advice {
        note(format_args!("before dogsled starts again, {advice}; restart running daemons"));
    }
    let written = stdout().write_all(text.as_bytes());
    match &done.kept {
        Err(error) => {
            complain(format_args!("the store uses the new key now, but {error}"));
            ExitCode::FAILURE
        }
        Ok(_) if written.is_err() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
    }
}

/// Writes the remaining steps to standard error.
fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "note: {text}");
}
