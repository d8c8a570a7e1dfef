//! A real PostgreSQL server for tests, in a directory of its own, that ends with the test process however that ends.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio_postgres::NoTls;

/// Initialises and runs the server, stops it and starts it when it is told to. It ends, and everything is removed, when
/// standard input closes; that happens when the test process ends, by `kill -9` too.
const SCRIPT: &str = r#"
cd "$2" && chmod 700 . || exit 1
"$1/initdb" -D data -U postgres -A trust -E UTF8 --locale=C --no-sync >log 2>&1 || exit 1
printf '%s\n' "$3" >>data/postgresql.conf
serve() { "$1/postgres" -D "$2/data" >>log 2>&1 </dev/null & }
serve "$1" "$2"
while read -r order; do
    case $order in
        stop) kill -INT $!; wait $! ;;
        start) serve "$1" "$2" ;;
    esac
done
kill -QUIT $!
wait
cd / && rm -rf "$2"
"#;

/// A server.
pub struct Cluster {
    /// Where its socket is.
    pub directory: PathBuf,
    port: u16,
    orders: Mutex<ChildStdin>,
}

/// The server that the tests of a process share; nothing where PostgreSQL is not installed, which is an error if
/// `DOGSLED_TEST_POSTGRES` is `required`.
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start("", 5432)).as_ref()
}

/// The directory of the newest installed server's programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.flatten().map(|entry| entry.path()).max_by_key(|path| version(path))?.join("bin");
    newest.join("initdb").exists().then_some(newest)
}

/// A user that is not root, for `initdb` refuses root.
fn user() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let fields = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
        Some((fields.next()?, fields.next()?))
    };
    fields("postgres").or_else(|| fields("nobody")).unwrap()
}

impl Cluster {
    /// Starts a server with lines of configuration besides what tests need, its port among them unless it only names the
    /// socket; nothing where none is installed.
    pub fn start(configuration: &str, port: u16) -> Option<Self> {
        let Some(programs) = programs() else {
            let required = std::env::var_os("DOGSLED_TEST_POSTGRES").is_some_and(|value| value == "required");
            assert!(!required, "DOGSLED_TEST_POSTGRES=required, but there is no /usr/lib/postgresql/*/bin/initdb");
            let _ = writeln!(std::io::stderr(), "skipped: no PostgreSQL is installed");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("dogsled-pg-").tempdir().unwrap().keep();
        let configuration = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nfsync = off\nfull_page_writes = off\n{configuration}",
            directory.display()
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "sh"]).arg(programs).arg(&directory).arg(configuration);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        if is_root(&directory) {
            let (uid, gid) = user();
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).unwrap();
            chown(&directory, Some(uid), Some(gid)).unwrap();
            command.uid(uid).gid(gid);
        }
        // Its standard input stays open as long as this value lives.
        let orders = command.spawn().unwrap().stdin.take().unwrap();
        Some(Self { directory, port, orders: Mutex::new(orders) })
    }

    /// Has the server end, and waits until it is gone.
    pub async fn stop(&self) {
        self.order("stop");
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.directory.join("data/postmaster.pid").exists() {
            assert!(Instant::now() < deadline, "PostgreSQL does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts the server again; waits for nothing.
    pub fn resume(&self) {
        self.order("start");
    }

    fn order(&self, order: &str) {
        writeln!(self.orders.lock().unwrap(), "{order}").unwrap();
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        let directory = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{directory}:{}/{database}", self.port)
    }

    /// Writes a file of the server that only its user may read.
    pub fn write_private(&self, name: &str, text: &str) {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root(&path) {
            let (uid, gid) = user();
            chown(&path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// A client of a database, as soon as the server is ready.
    pub async fn client(&self, database: &str) -> tokio_postgres::Client {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match tokio_postgres::connect(&self.url(database), NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) if Instant::now() > deadline => {
                    let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                    panic!("PostgreSQL does not start: {error}\n{log}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// The name of a new, empty database.
    pub async fn database(&self) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.client("postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        name
    }
}

/// Whether this process is root: it owns what it makes.
fn is_root(made_by_us: &Path) -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(made_by_us).unwrap()) == 0
}
