//! The admin API of a running daemon, as its commands use it: where it is, who asks, and what to do when it refuses.

use super::{BAD_CONFIGURATION, complain, local};
use crate::api::{PREFIX, Problem};
use crate::outbound;
use crate::settings::Settings;
use crate::types::Secret;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write, stdout};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long the daemon may take for one answer: it may have to ask Datadog first.
const ANSWER: Duration = Duration::from_secs(90);

/// Which daemon is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The daemon's configuration file [default: /etc/dogsled/dogsled.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The daemon's admin socket, or its admin port, such as http://127.0.0.1:8283 [default: the socket of the configuration]
    #[arg(long, global = true, value_name = "PATH|URL")]
    admin: Option<String>,
    /// The file with the token for the admin port [default: admin.token in state.dir of the configuration]
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A PEM file with a certificate to trust besides the system's, for an admin port with TLS
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// A daemon that can be asked.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    /// Where that is: the address again, or the path of the socket.
    at: String,
    /// The token and the file that it is of; none over the socket.
    token: Option<(Secret, PathBuf)>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Configuration(String),
    #[error("the token of the admin API cannot be read: {path}: {source}{hint}", path = .path.display(), hint = hint(source))]
    Token { path: PathBuf, source: io::Error },
    #[error("{path} holds no token of the admin API", path = .0.display())]
    NoToken(PathBuf),
    #[error("the HTTP client or the runtime could not be set up: {0}")]
    Setup(String),
    #[error(
        "no answer from {at}: {reason}; is the daemon running there? See `systemctl status dogsled`, start it with \
         `dogsled run`, or say where it is with --config or --admin"
    )]
    Unreachable { at: String, reason: String },
    #[error("no daemon at {path}: {source}{hint}", path = .path.display(), hint = socket_hint(source))]
    Socket { path: PathBuf, source: io::Error },
    #[error(
        "{path} belongs to user {uid}, and state.dir to user {daemon}: that is not the daemon's socket; remove it, and \
         restart the daemon", path = .path.display()
    )]
    Owner { path: PathBuf, uid: u32, daemon: u32 },
    #[error("{message}{hint}")]
    Refused { status: u16, message: String, hint: String },
    #[error("what {at} answers is not understood ({reason}): is it the admin port of a dogsled of this version?")]
    Answer { at: String, reason: String },
    #[error("tenants are missing here: {0}")]
    Incomplete(String),
    #[error("nothing was changed")]
    Undone,
    /// The output says what went wrong.
    #[error("the answer is not whole")]
    Told,
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as the user that runs the daemon, or as root",
        io::ErrorKind::NotFound => {
            "; the daemon makes it when it is first started: has it been, with this configuration? Name the right one \
             with --config, or the file with --token-file"
        }
        _ => "",
    }
}

fn socket_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as the user that runs the daemon, or as root",
        _ => {
            "; is it running, with this configuration? See `systemctl status dogsled`, start it with `dogsled run`, or say \
             where it is with --config or --admin"
        }
    }
}

impl Failure {
    /// What was asked for cannot be done as it was asked.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Configuration(_) | Self::Refused { status: 400, .. } => BAD_CONFIGURATION.into(),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs a command of the admin API, and tells what becomes of it. Exit codes: 0 fine, 1 failed, 2 bad usage or
/// configuration.
pub(super) fn run(options: &Options, command: impl AsyncFnOnce(Client) -> Result<(), Failure>) -> ExitCode {
    let failure = match connected(options).and_then(|(runtime, client)| runtime.block_on(command(client))) {
        Ok(()) => return ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(Failure::Told) => return ExitCode::FAILURE,
        Err(failure) => failure,
    };
    if options.json {
        let _ = say(json!({ "error": failure.to_string() }));
    } else {
        complain(&failure);
    }
    failure.exit_code()
}

fn connected(options: &Options) -> Result<(tokio::runtime::Runtime, Client), Failure> {
    let client = Client::new(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok((runtime.map_err(|error| Failure::Setup(error.to_string()))?, client))
}

/// Writes a line to standard output.
pub(super) fn say(line: impl std::fmt::Display) -> Result<(), Failure> {
    Ok(writeln!(stdout(), "{line}")?)
}

impl Client {
    fn new(options: &Options) -> Result<Self, Failure> {
        let Options { config, admin, token_file, ca_file, .. } = options;
        match (admin, token_file) {
            (Some(path), _) if path.starts_with('/') => Self::of_socket(Path::new(path)),
            // Whoever names both needs no configuration, nor the right to read it.
            (Some(url), Some(token)) if config.is_none() => {
                Self::of_port(address(url)?, token.clone(), ca_file.as_deref())
            }
            (None, None) => {
                let settings = load(config.as_deref())?;
                check_owner(&settings)?;
                Self::of_socket(&settings.admin_socket())
            }
            _ => {
                let settings = load(config.as_deref())?;
                let url = match admin {
                    Some(url) => address(url)?,
                    None => local::url_of(&settings.admin.listen).ok_or_else(|| {
                        let message = "the configuration sets no admin.listen: leave out --token-file, or give --admin";
                        Failure::Configuration(message.into())
                    })?,
                };
                let token = token_file.clone().unwrap_or_else(|| settings.state.dir.join("admin.token"));
                Self::of_port(url, token, ca_file.as_deref())
            }
        }
    }

    /// Asks over the Unix socket, to which the user that asks is all that counts: no token is read or sent.
    fn of_socket(path: &Path) -> Result<Self, Failure> {
        let http = local::builder(ANSWER).unix_socket(path).build();
        let http = http.map_err(|error| Failure::Setup(error.to_string()))?;
        Ok(Self { http, url: "http://localhost".into(), at: path.display().to_string(), token: None })
    }

    fn of_port(url: String, token_path: PathBuf, ca_file: Option<&Path>) -> Result<Self, Failure> {
        let text = fs::read_to_string(&token_path)
            .map(Secret::new)
            .map_err(|source| Failure::Token { path: token_path.clone(), source })?;
        let token = text.expose().trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::NoToken(token_path));
        }
        let http = outbound::builder(ca_file).map_err(|error| Failure::usage(error.to_string()))?;
        // Without proxies, whatever the environment says.
        let http = http.no_proxy().timeout(ANSWER).build().map_err(|error| Failure::Setup(error.to_string()))?;
        Ok(Self { http, at: url.clone(), url, token: Some((Secret::new(token), token_path)) })
    }

    /// Where the daemon is, for people.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// Asks with GET.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await
    }

    /// Asks with POST and no body.
    pub(super) async fn post(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::POST, path, None).await
    }

    /// Asks with a body.
    pub(super) async fn send(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        let body = serde_json::to_string(body).map_err(|error| Failure::usage(error.to_string()))?;
        self.ask(method, path, Some(body)).await
    }

    /// Asks with DELETE; null for an answer without a body.
    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::DELETE, path, None).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, Failure> {
        let mut request = self.http.request(method, format!("{}{PREFIX}/{path}", self.url));
        if let Some((token, _)) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let (status, text) = self.answer(request).await?;
        if !(200..300).contains(&status) {
            return Err(self.refusal(status, &text));
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| self.not_understood(&error))
    }

    /// The daemon's metrics, in Prometheus' form.
    pub(super) async fn metrics(&self) -> Result<String, Failure> {
        let (status, text) = self.answer(self.http.get(format!("{}/metrics", self.url))).await?;
        if status == 200 { Ok(text) } else { Err(self.refusal(status, &text)) }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<(u16, String), Failure> {
        let unreachable = |error| Failure::Unreachable { at: self.at.clone(), reason: local::words(error) };
        let answer = request.send().await.map_err(unreachable)?;
        Ok((answer.status().as_u16(), answer.text().await.map_err(unreachable)?))
    }

    fn refusal(&self, status: u16, text: &str) -> Failure {
        let Problem { errors, code } = serde_json::from_str(text).unwrap_or_default();
        let hint = match (status, code.as_str()) {
            (401, "unauthorized") => {
                let path = self.token.as_ref().map(|(_, path)| path.display().to_string()).unwrap_or_default();
                let message = format!(
                    "the daemon at {} refuses the token of {path}: name its own configuration with --config, or its \
                     token's file with --token-file",
                    self.at
                );
                return Failure::Refused { status, message, hint: String::new() };
            }
            (_, "") => {
                let reason = format!("HTTP {status}");
                return Failure::Answer { at: self.at.clone(), reason };
            }
            (_, "unknown_tenant") => "; `dogsled tenant list` shows those that there are",
            (_, "tenant_exists") => "; change it with `dogsled tenant set`",
            (_, "unknown_token") => "; `dogsled tenant token list` shows those that there are",
            _ => "",
        };
        Failure::Refused { status, message: super::text::printable(&errors.join("; ")), hint: hint.to_owned() }
    }

    /// Reads an answer.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &Value) -> Result<T, Failure> {
        T::deserialize(answer).map_err(|error| self.not_understood(&error))
    }

    fn not_understood(&self, error: &serde_json::Error) -> Failure {
        Failure::Answer { at: self.at.clone(), reason: error.to_string() }
    }
}

fn load(config: Option<&Path>) -> Result<Settings, Failure> {
    Settings::load(config).map_err(|error| {
        let problems: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
        let message = problems.join("\nerror: ");
        Failure::Configuration(format!(
            "{message}\nerror: to ask a daemon without its configuration, give both --admin and --token-file"
        ))
    })
}

/// Refuses a socket that is not the daemon's: it would be told what the daemon is to be told.
fn check_owner(settings: &Settings) -> Result<(), Failure> {
    let socket = settings.admin_socket();
    let owner_of_socket = fs::symlink_metadata(&socket).map(|metadata| metadata.uid());
    // Under systemd's DynamicUser= the directory is a link, which is root's.
    let daemon = fs::metadata(&settings.state.dir).map(|metadata| metadata.uid());
    let (uid, daemon) = match (owner_of_socket, daemon) {
        (Ok(uid), Ok(daemon)) => (uid, daemon),
        (Err(source), _) | (_, Err(source)) => return Err(Failure::Socket { path: socket, source }),
    };
    if uid == 0 || uid == daemon {
        return Ok(());
    }
    Err(Failure::Owner { path: socket, uid, daemon })
}

/// The address of an admin port as somebody wrote it.
fn address(text: &str) -> Result<String, Failure> {
    let (scheme, host) = text.split_once("://").unwrap_or(("http", text));
    let host = host.trim_end_matches('/');
    if !matches!(scheme, "http" | "https") || host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
        return Err(Failure::usage(format!(
            "--admin {text:?} is neither the path of a socket nor the address of an admin port: write it as \
             /var/lib/dogsled/admin.sock or http://127.0.0.1:8283"
        )));
    }
    Ok(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_leave_out_their_scheme() {
        for good in ["127.0.0.1:8283", "http://127.0.0.1:8283", "http://127.0.0.1:8283/"] {
            assert_eq!(address(good).unwrap(), "http://127.0.0.1:8283");
        }
        assert_eq!(address("https://localhost:1").unwrap(), "https://localhost:1");
        for bad in ["", "https://", "http://a/admin/v1", "unix:/x", "ftp://a", "http://user@a"] {
            assert!(matches!(address(bad), Err(Failure::Usage(_))), "{bad}");
        }
    }
}
