//! `dogsled store`.

use super::{BAD_CONFIGURATION, complain};
use crate::settings::Settings;
use crate::store::{Rekeyed, Store, StoreError};
use crate::vault::Source;
use serde_json::json;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
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
    OldKeys(OldKeysArgs),
}

/// Rotate the master key: seal all secrets again with another one
///
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

/// List the master keys that were replaced, which are kept beside the key file, or remove them
///
/// A backup of the store opens only with the key of its time.
#[derive(Debug, clap::Args)]
struct OldKeysArgs {
    /// The configuration file [default: /etc/dogsled/dogsled.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Remove them: older backups of the store cannot be used any more
    #[arg(long)]
    remove: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command. Exit codes: 0 fine, 1 failed, 2 bad configuration.
pub fn main(args: &Args) -> ExitCode {
    match &args.command {
        Command::Rekey(args) => rekey(args),
        Command::OldKeys(args) => old_keys(args),
    }
}

fn old_keys(args: &OldKeysArgs) -> ExitCode {
    let done = on_store(args.config.as_deref(), async |store| {
        if args.remove { store.remove_replaced_keys().await } else { store.replaced_keys().await }
    });
    let keys = match done {
        Ok(keys) => keys,
        Err(code) => return code,
    };
    let text = if args.json {
        let keys: Vec<_> = keys.iter().map(|(id, file)| json!({ "key": id.to_string(), "file": file })).collect();
        format!("{:#}\n", json!({ "removed": args.remove, "keys": keys }))
    } else {
        let verb = if args.remove { "removed " } else { "" };
        keys.iter().map(|(id, file)| format!("{verb}{id} {}\n", file.display())).collect()
    };
    if stdout().write_all(text.as_bytes()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does something with the store that is configured. What goes wrong has been said when this returns.
fn on_store<T>(config: Option<&Path>, work: impl AsyncFnOnce(&Store) -> Result<T, StoreError>) -> Result<T, ExitCode> {
    let settings = Settings::load(config).map_err(|error| {
        error.problems().iter().for_each(complain);
        ExitCode::from(BAD_CONFIGURATION)
    })?;
    let source = Source::configured(&settings, std::env::var_os("CREDENTIALS_DIRECTORY").as_deref());
    let failed = |error: &dyn std::fmt::Display| {
        complain(error);
        ExitCode::FAILURE
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&format_args!("the runtime could not be started: {error}")))?;
    let work = async {
        let store = Store::open_existing(&settings.store.url, &settings.state.dir, source).await?;
        work(&store).await
    };
    runtime.block_on(work).map_err(|error| failed(&error))
}

fn rekey(args: &RekeyArgs) -> ExitCode {
    let wanted = match args.new_key_file.as_deref().map(Source::read_file).transpose() {
        Ok(wanted) => wanted,
        Err(error) => {
            complain(error);
            return BAD_CONFIGURATION.into();
        }
    };
    match on_store(args.config.as_deref(), async |store| store.rekey(wanted).await) {
        Ok(done) => report(&done, args.json),
        Err(code) => code,
    }
}

fn report(done: &Rekeyed, json: bool) -> ExitCode {
    let kept = done.kept.as_ref().ok().and_then(Option::as_ref).map(|path| path.display().to_string());
    let text = if json {
        let (from, to) = (done.from.to_string(), done.to.to_string());
        let fields = json!({ "from": from, "to": to, "secrets": done.secrets, "old_key_file": kept });
        format!("{fields:#}\n")
    } else {
        let mut text = format!(
            "{} secrets are sealed with master key {} now; before, it was {}.\n",
            done.secrets, done.to, done.from
        );
        if let Some(kept) = kept {
            text += &format!(
                "The old key is kept as {kept}: remove it (dogsled store old-keys --remove) once no backup of the store needs it.\n"
            );
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
