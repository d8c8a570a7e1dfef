//! The daemon under measurement: the real program as a process of its own.

use super::process;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program.
    pub program: PathBuf,
    /// A command that runs the program, such as a profiler.
    pub under: Vec<String>,
    /// Where it delivers to.
    pub sink: SocketAddr,
    /// Tenants that send.
    pub tenants: usize,
    /// Tenants that are only configured.
    pub idle_tenants: usize,
    /// `batch.level`
    pub level: i32,
    /// Other settings, as their environment variables have them: `journal.fsync` and `always`.
    pub settings: Vec<(&'static str, String)>,
    /// Where its directory is made, which is removed at the end; the system's place for such things if none.
    pub dir: Option<PathBuf>,
}

/// A daemon that is ready.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// Its local HTTP port.
    pub ingest: SocketAddr,
    /// Its UDP socket for DogStatsD.
    pub dogstatsd: SocketAddr,
    admin: SocketAddr,
    home: Arc<TempDir>,
}

/// What the daemon says of its items, over all tenants.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
    /// Taken.
    pub accepted: u64,
    /// Confirmed by the sink.
    pub delivered: u64,
    /// Neither delivered nor given up.
    pub queued: u64,
}

/// The name of a tenant.
pub fn tenant(index: usize) -> String {
    format!("tenant-{index:05}")
}

/// Its API key.
pub fn key(index: usize) -> String {
    format!("{index:032x}")
}

/// The listeners of every daemon.
const LISTENERS: [&str; 3] = ["ingest", "dogstatsd", "admin"];

/// How long starting, draining and ending may take.
const PATIENCE: Duration = Duration::from_secs(300);

impl Daemon {
    /// Starts the daemon in a directory of its own and waits until it listens.
    pub fn start(plan: &Plan) -> io::Result<Self> {
        Self::start_in(plan, &Arc::new(new_home(plan)?))
    }

    /// Starts the daemon in a directory where another one may have been.
    pub fn start_in(plan: &Plan, home: &Arc<TempDir>) -> io::Result<Self> {
        let config = home.path().join("dogsled.toml");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&config)?;
        file.write_all(configuration(plan, home.path()).as_bytes())?;
        let (program, arguments) = match plan.under.split_first() {
            Some((first, rest)) => (PathBuf::from(first), rest),
            None => (plan.program.clone(), &[][..]),
        };
        let mut command = Command::new(program);
        command.args(arguments);
        if !plan.under.is_empty() {
            command.arg(&plan.program);
        }
        for (key, value) in &plan.settings {
            command.env(format!("DOGSLED_{}", key.to_uppercase().replace('.', "__")), value);
        }
        let mut child = command.arg("run").arg("--config").arg(&config).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("no standard error"))?;
        let (said, heard) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                match address_of(&line) {
                    Some(listening) => drop(said.send(listening)),
                    None if line.contains("\"INFO\"") => {}
                    None => eprintln!("daemon: {line}"),
                }
            }
        });
        let mut addresses = [None; LISTENERS.len()];
        while addresses.contains(&None) {
            let silent = |_| io::Error::other("the daemon did not say where it listens");
            let (listener, address) = heard.recv_timeout(PATIENCE).map_err(silent)?;
            if let Some(at) = LISTENERS.iter().position(|name| *name == listener) {
                addresses[at] = Some(address);
            }
        }
        let [Some(ingest), Some(dogstatsd), Some(admin)] = addresses else { return Err(io::Error::other("listeners")) };
        Ok(Self { child, ingest, dogstatsd, admin, home: home.clone() })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time so far.
    pub fn cpu(&self) -> io::Result<Duration> {
        process::cpu_of_process(self.pid())
    }

    /// A figure of its memory in bytes; see [`process::memory_of_process`].
    pub fn memory(&self, figure: &str) -> io::Result<u64> {
        process::memory_of_process(self.pid(), figure)
    }

    /// Where its journal is.
    pub fn journal(&self) -> PathBuf {
        self.home.path().join("journal")
    }

    /// Waits until `/readyz` answers 200.
    pub fn ready(&self) -> io::Result<()> {
        let start = Instant::now();
        while !self.get("/readyz")?.starts_with("HTTP/1.1 200") {
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other("the daemon does not become ready"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Reads `/metrics`: all tenants.
    pub fn ledger(&self) -> io::Result<Ledger> {
        self.ledger_of("")
    }

    /// Reads `/metrics`: the series with these labels, such as `tenant="a",kind="logs"`.
    pub fn ledger_of(&self, labels: &str) -> io::Result<Ledger> {
        let text = self.get("/metrics")?;
        let sum = |name: &str| {
            let series = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
            let series = series.filter(|line| line.contains(labels));
            series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
        };
        Ok(Ledger {
            accepted: sum("dogsled_items_accepted_total"),
            delivered: sum("dogsled_items_delivered_total"),
            queued: sum("dogsled_queue_items"),
        })
    }

    /// Reads `/metrics`: the sum of all series of a name.
    pub fn metric(&self, name: &str) -> io::Result<f64> {
        let text = self.get("/metrics")?;
        let series = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        let series = series.filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'));
        Ok(series.filter_map(|(_, value)| value.parse::<f64>().ok()).sum())
    }

    /// Waits until everything accepted is delivered; gives how long that took.
    pub fn drain(&self) -> io::Result<Duration> {
        let start = Instant::now();
        loop {
            let ledger = self.ledger()?;
            if ledger.queued == 0 {
                return Ok(start.elapsed());
            }
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("the daemon does not deliver: {ledger:?}")));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it as a service manager does.
    pub fn stop(mut self) -> io::Result<()> {
        let kill = format!("kill -TERM {}", self.pid());
        Command::new("sh").arg("-c").arg(kill).status()?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() { Ok(()) } else { Err(io::Error::other(format!("the daemon: {status}"))) };
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("the daemon does not end"))
    }
}

/// A directory for [`Daemon::start_in`].
pub fn new_home(plan: &Plan) -> io::Result<TempDir> {
    match &plan.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(plan: &Plan, state: &Path) -> String {
    let Plan { sink, level, .. } = plan;
    let mut text = format!(
        "[state]\ndir = {state:?}\n[ingest]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [dogstatsd]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[batch]\nlevel = {level}\n[datadog]\ndefault_site = \"sink\"\n\
         [datadog.sites.sink]\napi = \"http://{sink}\"\nlogs = \"http://{sink}\"\nevents = \"http://{sink}\"\n\
         app = \"http://{sink}\"\n"
    );
    for index in 0..plan.tenants + plan.idle_tenants {
        text += &format!("[tenants.{}]\napi_key = \"{}\"\n", tenant(index), key(index));
    }
    text
}

/// The listener and address that a line of the daemon's log tells.
fn address_of(line: &str) -> Option<(String, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = line.get("address")?.as_str()?.parse().ok()?;
    Some((line.get("listener")?.as_str()?.to_owned(), address))
}
