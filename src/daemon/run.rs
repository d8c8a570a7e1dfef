//! From the configuration to a running daemon, and to its end.

use super::logging::Levels;
use super::{Reloader, files, private};
use crate::admin::{self, Admin, Exposition, Token, TokenError};
use crate::control::{Control, StoreSync};
use crate::deliver::{Client, ClientError, Delivery};
use crate::ingest::{Door, Grpc, Handler, InvalidHeader, Memory, dogstatsd};
use crate::journal::{Fsync, Journal, OpenError, Options, Recovery};
use crate::ledger::{Balance, Ledger};
use crate::machine::Machine;
use crate::metric::Recorder;
use crate::oauth::Connect;
use crate::queue::Queues;
use crate::serve::{self, ListenError, Listener};
use crate::settings::{self, Settings, Shutdown};
use crate::tenancy::{FileKeys, Registry, TenantState};
use crate::types::TenantId;
use crate::wire::otlp::HashKey;
use rand::Rng;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

/// With `journal.fsync = "interval"`, so often.
const FSYNC_INTERVAL: Duration = Duration::from_millis(200);

/// Why not everything was delivered.
const GRACE_PASSED: &str = "shutdown.grace has passed";
const TOLD_TWICE: &str = "told a second time to end";

/// How long answers that are made may take to reach whoever asked.
const ANSWERS: Duration = Duration::from_secs(2);

/// Who may send over a Unix socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// What is remembered of cumulative series, in the state directory.
const MEMORY_FILE: &str = "otlp-series";

/// Dead letters are measured at this interval, in seconds.
const DEAD_LETTER_PACE: u64 = 5;

/// The age of what waits is looked at so often, in seconds.
const EXPIRY_PACE: u64 = 30;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state directory or the journal's.
    #[error("{key} {path}: {source}; make it a directory of the user that runs dogsled, or set another")]
    Directory {
        /// The key that sets it.
        key: &'static str,
        /// The directory.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The admin API's token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The tenant header.
    #[error(transparent)]
    Header(#[from] InvalidHeader),
    /// Nothing would be taken.
    #[error("neither ingest.listen nor ingest.socket is set: there is nowhere to take telemetry from")]
    NoListener,
}

/// A daemon that listens, ready to [`run`](Self::run).
#[derive(Debug)]
pub struct Daemon {
    ledger: Arc<Ledger>,
    registry: Arc<Registry>,
    queues: Arc<Queues>,
    delivery: Arc<Delivery>,
    tenants: StoreSync,
    ingest: (Vec<Listener>, Arc<Door>, Arc<Handler>),
    dogstatsd: dogstatsd::Listeners,
    grpc_listener: Option<Listener>,
    memory: Arc<Memory>,
    admin: Arc<Admin>,
    operator: admin::Listeners,
}

impl Daemon {
    /// Opens everything that the configuration names.
    ///
    /// # Errors
    /// When something cannot be opened; nothing is left listening then.
    pub async fn start(settings: &Settings, recorder: Recorder) -> Result<Self, DaemonError> {
        files::raise_limit(settings);
        prepare(settings)?;
        let ledger = Arc::new(Ledger::default());
        let (journal, recovery) = open_journal(settings).await?;
        let queues = Arc::new(Queues::new(&Machine::system(), settings, ledger.clone(), Arc::new(journal)));
        queues.recover(&recovery.lost);
        let file_keys = FileKeys::open(&settings.state.dir).map_err(|source| {
            let path = settings.state.dir.join("file-keys.json");
            DaemonError::Directory { key: "state.dir", path, source }
        })?;
        let registry = Arc::new(Registry::new(queues.meters().clone(), file_keys));
        registry.configure(&Settings::default(), settings);
        let client = Client::new(&settings.delivery, settings.datadog.ca_file.as_deref())?;
        let delivery = Delivery::new(settings, Box::new(client), queues.clone(), registry.clone(), ledger.clone());
        let delivery = Arc::new(delivery);
        let token = Token::open(&settings.state.dir)?;
        let exposition = Exposition::new(
            recorder,
            ledger.clone(),
            queues.clone(),
            delivery.clone(),
            registry.clone(),
            settings.tenancy.max_labels,
        );
        let operator = admin::Listeners::bind(settings).await?;
        let mut listeners = Vec::new();
        for address in &settings.ingest.listen {
            listeners.push(Listener::tcp(address, "ingest.listen").await?);
        }
        if !settings.ingest.socket.is_empty() {
            let path = Path::new(&settings.ingest.socket);
            listeners.push(Listener::unix(path, SOCKET_MODE, "ingest.socket").await?);
        }
        if listeners.is_empty() {
            return Err(DaemonError::NoListener);
        }
        for listener in &listeners {
            info!(listener = "ingest", address = listener.name(), "listening");
        }
        if !settings.otlp.http_listen.is_empty() {
            let listener = Listener::tcp(&settings.otlp.http_listen, "otlp.http_listen").await?;
            info!(listener = "otlp", address = listener.name(), "listening");
            listeners.push(listener);
        }
        let grpc_listener = match settings.otlp.grpc_listen.as_str() {
            "" => None,
            address => Some(Listener::tcp(address, "otlp.grpc_listen").await?),
        };
        if let Some(listener) = &grpc_listener {
            info!(listener = "otlp gRPC", address = listener.name(), "listening");
        }
        let connect = match settings.oauth.listen.as_str() {
            "" => None,
            address => {
                let connect = Connect::bind(address).await?;
                info!(listener = "connect", address = %connect.address(), "listening");
                Some(connect)
            }
        };
        let control = Arc::new(Control::new(settings, registry.clone(), queues.clone(), delivery.clone()));
        let tenants = StoreSync::begin(control.clone(), connect).await;
        tell_of_strangers(&queues, &registry);
        let door = Arc::new(Door::new(settings, registry.clone(), queues.clone(), ledger.clone()));
        let mut hash_key = HashKey::default();
        rand::rng().fill_bytes(&mut hash_key);
        let (memory, unread) = Memory::open(settings.state.dir.join(MEMORY_FILE), hash_key, Machine::system().now());
        if let Some(error) = unread {
            warn!("what was remembered of cumulative series is lost: {error}");
        }
        let memory = Arc::new(memory);
        let handler = Handler::new(settings, door.clone(), memory.clone())?;
        let dogstatsd = dogstatsd::Listeners::open(settings, door.clone(), Machine::system()).await?;
        for name in dogstatsd.names() {
            info!(listener = "dogstatsd", address = name, "listening");
        }
        let hub = dogstatsd.hub();
        let daemon = Self {
            ledger,
            registry,
            queues,
            delivery,
            tenants,
            ingest: (listeners, door, Arc::new(handler)),
            dogstatsd,
            grpc_listener,
            memory,
            admin: Arc::new(Admin {
                exposition,
                ready: AtomicBool::new(true),
                control,
                dogstatsd: hub,
                token,
                reload: OnceLock::new(),
            }),
            operator,
        };
        daemon.operator.announce();
        Ok(daemon)
    }

    /// Where the local HTTP port listens: addresses and socket paths.
    pub fn ingest_addresses(&self) -> Vec<String> {
        self.ingest.0.iter().map(|listener| listener.name().to_owned()).collect()
    }

    /// Where DogStatsD's clients send: addresses and socket paths.
    pub fn dogstatsd_addresses(&self) -> &[String] {
        self.dogstatsd.names()
    }

    /// Where the admin port listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.operator.address()
    }

    /// The counts of items, to be read while the daemon runs.
    pub fn ledger(&self) -> Arc<Ledger> {
        self.ledger.clone()
    }

    /// The tenants, to be read while the daemon runs.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    /// What reads the configuration again, from where it was read: a file, or its default place. The admin API has the same from
    /// now on.
    pub fn reloader(&self, config: Option<PathBuf>, levels: Levels) -> Arc<Reloader> {
        let reloader =
            Reloader::new(config, levels, self.admin.control.clone(), self.ingest.2.clone(), self.dogstatsd.hub());
        let reloader = Arc::new(reloader);
        // Whoever asks first is the one.
        let _ = self.admin.reload.set(reloader.clone());
        reloader
    }

    /// Works until `shutdown` comes; then takes what still comes until it is quiet, and delivers until nothing is queued, the
    /// configured grace has passed or `at_once` comes.
    pub async fn run(self, shutdown: impl Future<Output = ()>, at_once: impl Future<Output = ()>) {
        let Self {
            ledger,
            registry,
            queues,
            delivery,
            tenants,
            ingest,
            dogstatsd,
            grpc_listener,
            memory,
            admin,
            operator,
        } = self;
        let mut dogstatsd = dogstatsd.start();
        let mut connecting = tokio::spawn(tenants.run());
        let sending = tokio::spawn({
            let delivery = delivery.clone();
            async move { delivery.run().await }
        });
        let keeping = tokio::spawn({
            let queues = queues.clone();
            let delivery = delivery.clone();
            async move { keep_house(&queues, &delivery).await }
        });
        let (closed, closing) = oneshot::channel::<()>();
        let closing = async {
            // An error means that the daemon is gone.
            let _ = closing.await;
        };
        let mut operating = tokio::spawn(operator.serve(admin.clone(), closing));
        let (listeners, door, handler) = ingest;
        // Until the very end, so that nobody's connection is refused while the daemon lives.
        let (over, until_over) = watch::channel(());
        let grpc = Arc::new(Grpc(handler.clone()));
        let calls = grpc_listener.into_iter().collect();
        let mut serving = tokio::spawn(async move {
            tokio::join!(
                serve::serve(listeners, handler, closed_channel(until_over.clone())),
                serve::serve(calls, grpc, closed_channel(until_over))
            );
        });
        let (begun, begin) = oneshot::channel();
        let (shut, is_shut) = oneshot::channel();
        let mut at_once = std::pin::pin!(at_once);
        let ending = async {
            shutdown.await;
            let Shutdown { accept, quiet, grace } = admin.control.settings().shutdown;
            info!(
                quiet_seconds = quiet.as_secs_f64(),
                grace_seconds = grace.as_secs_f64(),
                "shutting down: taking telemetry until it is quiet, then delivering what is queued"
            );
            admin.ready.store(false, Ordering::Relaxed);
            door.begin_to_close();
            // The other ends are awaited below.
            let _ = begun.send(());
            door.close_when_quiet(quiet, accept).await;
            delivery.flush();
            let _ = shut.send(grace);
            door.answered().await;
            dogstatsd.stop().await;
            queues.stop_accepting();
            tokio::join!(drained(&ledger, &registry), admin.control.end());
        };
        // Clients that take their time to send a request do not get more than the grace either.
        let cut_short = async {
            if begin.await.is_err() {
                return std::future::pending().await;
            }
            let passed = async {
                match is_shut.await {
                    Ok(grace) => tokio::time::sleep(grace).await,
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => GRACE_PASSED,
                () = &mut at_once => TOLD_TWICE,
            }
        };
        let why = tokio::select! {
            biased;
            () = ending => None,
            why = cut_short => Some(why),
        };
        dogstatsd.stop().await;
        queues.stop_accepting();
        delivery.end();
        if why == Some(GRACE_PASSED) {
            info!("shutdown.grace has passed: sending nothing more, waiting for answers that are on their way");
        }
        let hurry = async {
            if why != Some(TOLD_TWICE) {
                at_once.await;
            }
        };
        end_or_abort(sending, hurry).await;
        let cut_off = admin.control.in_flight();
        if why.is_some() && cut_off > 0 {
            warn!(
                "{cut_off} connections of customers, or refreshes, were under way and are cut off; of a key that was being \
                 created, the tenant's status says after the next start what is to be done"
            );
        }
        keeping.abort();
        if why.is_none() && admin.control.is_open() {
            // Browsers get the pages of what was waited for.
            let _ = tokio::time::timeout(ANSWERS, &mut connecting).await;
        }
        connecting.abort();
        delivery.checkpoint().await;
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || memory.save()).await {
            warn!("what is remembered of cumulative series is not kept: {error}");
        }
        let journal = queues.journal().clone();
        let _ = tokio::task::spawn_blocking(move || journal.close()).await;
        drop((over, closed));
        let _ = tokio::time::timeout(ANSWERS, &mut serving).await;
        serving.abort();
        let _ = tokio::time::timeout(ANSWERS, &mut operating).await;
        operating.abort();
        let accounts = ledger.read();
        let why = why.unwrap_or("its tenant cannot deliver at present");
        for (tenant, kind, Balance { queued, .. }) in accounts.iter().filter(|(.., balance)| balance.queued > 0) {
            info!(%tenant, %kind, items = queued, "not delivered, and kept in the journal: {why}");
        }
        let total = accounts.iter().fold(Balance::default(), |mut total, (_, _, balance)| {
            total.add(balance);
            total
        });
        info!(
            accepted = total.accepted,
            delivered = total.delivered,
            dead_lettered = total.dead_lettered,
            dropped = total.dropped.iter().sum::<u64>(),
            queued = total.queued,
            "stopped"
        );
    }
}

/// Waits until the other end of a channel is gone.
async fn closed_channel(mut channel: watch::Receiver<()>) {
    while channel.changed().await.is_ok() {}
}

/// Waits for the end of a task, and aborts it when `hurry` comes first.
async fn end_or_abort(mut task: JoinHandle<()>, hurry: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        _ = &mut task => return,
        () = hurry => task.abort(),
    }
    // It was aborted.
    let _ = task.await;
}

/// What is to be done now and then.
pub(crate) async fn keep_house(queues: &Queues, delivery: &Delivery) {
    let mut look = tokio::time::interval(Duration::from_secs(1));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for second in 0_u64.. {
        look.tick().await;
        queues.machine().watch_clock();
        delivery.relieve();
        queues.count_lost();
        if second % DEAD_LETTER_PACE == 0 {
            delivery.measure_dead_letters().await;
        }
        if second % EXPIRY_PACE == 0 {
            queues.expire(Instant::now()).await;
        }
    }
}

/// Says whose telemetry is in the journal without them being known.
fn tell_of_strangers(queues: &Queues, registry: &Registry) {
    let strangers = queues.all().into_iter().filter(|queue| registry.get(queue.id.as_str()).is_none());
    for queue in strangers {
        let items: u64 = queue.figures().iter().map(|lane| lane.items).sum();
        warn!(
            tenant = %queue.id, items,
            "the journal holds items of a tenant that is neither configured nor in the store: kept until it is, or too old"
        );
    }
}

/// Waits until nothing is queued but what cannot be delivered now: that is in the journal, and waiting does not help.
async fn drained(ledger: &Ledger, registry: &Registry) {
    let deliverable = |tenant: &TenantId| {
        let state = registry.get(tenant.as_str()).map(|tenant| tenant.state());
        !matches!(state, None | Some(TenantState::Pending | TenantState::Unauthorized | TenantState::Paused))
    };
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while ledger.read().iter().any(|(tenant, _, balance)| balance.queued > 0 && deliverable(tenant)) {
        look.tick().await;
    }
}

/// Makes the directories that only the daemon may look into.
fn prepare(settings: &Settings) -> Result<(), DaemonError> {
    for (key, path) in [("state.dir", settings.state.dir.clone()), ("journal.dir", settings.journal_dir())] {
        private::make(&path).map_err(|source| DaemonError::Directory { key, path, source })?;
    }
    Ok(())
}

async fn open_journal(settings: &Settings) -> Result<(Journal, Recovery), DaemonError> {
    let dir = settings.journal_dir();
    let fsync = match settings.journal.fsync {
        settings::Fsync::Always => Fsync::Always,
        settings::Fsync::Interval => Fsync::Interval(FSYNC_INTERVAL),
        settings::Fsync::Never => Fsync::Never,
    };
    let options = Options { fsync, ..Options::new(&dir) };
    let started = Instant::now();
    let opening = tokio::task::spawn_blocking(move || Journal::open(options));
    let (journal, recovery) = match opening.await {
        Ok(opened) => opened?,
        Err(panic) => return Err(OpenError::Io { path: dir, source: io::Error::other(panic) }.into()),
    };
    info!(
        dir = %dir.display(), segments = recovery.segments, bytes = recovery.bytes, items = recovery.items,
        torn_bytes = recovery.torn_bytes, damaged = recovery.lost.len(), took_ms = started.elapsed().as_millis(),
        "journal opened"
    );
    Ok((journal, recovery))
}
