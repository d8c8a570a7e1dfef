//! A port to send requests to, and a client that sees every byte.

use dogsled::ingest::{Door, Handler, Memory, Submit};
use dogsled::ledger::{DropReason, Ledger};
use dogsled::metric::Recorder;
use dogsled::queue::{Limit, Refused};
use dogsled::serve::{self, Listener};
use dogsled::settings::{Overrides, OwnLimits, Settings, Sites};
use dogsled::tenancy::{FileKeys, Meters, Registry, Tenant};
use dogsled::types::{Chunk, Secret, TenantId, UnixMillis};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// The ingest token of tenant `acme`.
pub const ACME_TOKEN: &str = "ac3eac3eac3eac3eac3eac3eac3eac3e";

/// No test waits longer than this for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What the stand-in for the queue does with a request.
#[derive(Debug, Clone, Default)]
pub enum Mood {
    #[default]
    Take,
    Refuse(Refused),
    Panic,
    /// Takes it once it is told to.
    Wait(Arc<Notify>),
}

/// The stand-in for the queue.
#[derive(Debug, Default)]
pub struct Taken {
    chunks: Mutex<Vec<Chunk>>,
    mood: Mutex<Mood>,
    /// Tenants without room.
    full: Mutex<Vec<String>>,
    asked: Notify,
}

impl Submit for Taken {
    fn submit(self: &Arc<Self>, chunks: Vec<Chunk>) -> impl Future<Output = Result<Vec<Refused>, Refused>> + Send {
        let mood = self.mood.lock().unwrap().clone();
        async move {
            self.asked.notify_one();
            match mood {
                Mood::Take => {}
                Mood::Refuse(refused) => return Err(refused),
                Mood::Panic => panic!("as the test wants it"),
                Mood::Wait(go) => go.notified().await,
            }
            let (refused, taken): (Vec<_>, Vec<_>) = {
                let full = self.full.lock().unwrap();
                chunks.into_iter().partition(|chunk| full.contains(&chunk.tenant.to_string()))
            };
            let full = |chunk: Chunk| Refused::Full {
                tenant: chunk.tenant,
                limit: Limit::Quota,
                retry_after: Duration::from_secs(5),
            };
            let mut refused: Vec<_> = refused.into_iter().map(full).collect();
            if taken.is_empty() && !refused.is_empty() {
                return Err(refused.remove(0));
            }
            self.chunks.lock().unwrap().extend(taken);
            Ok(refused)
        }
    }
}

/// A port that serves.
pub struct Port {
    pub address: String,
    pub taken: Arc<Taken>,
    pub registry: Arc<Registry>,
    pub metrics: Recorder,
    ledger: Arc<Ledger>,
    state: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Port {
    /// A port on a free TCP address, with the tenants `acme` and `globex`.
    pub async fn open(change: impl FnOnce(&mut Settings)) -> Self {
        let listener = Listener::tcp("127.0.0.1:0", "ingest.listen").await.unwrap();
        Self::with(vec![listener], change)
    }

    pub fn with(listeners: Vec<Listener>, change: impl FnOnce(&mut Settings)) -> Self {
        let address = listeners[0].name().to_owned();
        let mut settings = Settings::default();
        settings.tenancy.from_tags = true;
        change(&mut settings);
        let registry = Arc::new(Registry::new(Arc::new(Meters::new(&settings)), FileKeys::default()));
        let site = Sites::default().get("datadoghq.eu").unwrap();
        for id in ["acme", "globex"] {
            let key = Some(Secret::new("0".repeat(32)));
            registry.insert(Arc::new(Tenant::new(TenantId::new(id).unwrap(), site.clone(), key)));
        }
        registry.add_token(&Secret::new(ACME_TOKEN), &TenantId::new("acme").unwrap());
        let taken = Arc::new(Taken::default());
        let metrics = Recorder::default();
        let (state, ledger) = (tempfile::tempdir().unwrap(), Arc::new(Ledger::default()));
        settings.state.dir = state.path().to_owned();
        let door = Arc::new(Door::new(&settings, Arc::clone(&registry), Arc::clone(&taken), ledger.clone()));
        let memory = Arc::new(Memory::open(state.path().join("series"), [7; 16], UnixMillis::now()).0);
        let handler = || Handler::new(&settings, door.clone(), memory).unwrap();
        let handler = metrics::with_local_recorder(&metrics, handler);
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve::serve(listeners, Arc::new(handler), async move {
            let _ = stopped.await;
            door.close_when_quiet(Duration::ZERO, Duration::ZERO).await;
        }));
        Self { address, taken, registry, metrics, ledger, state, stop, served }
    }

    /// What a tenant may do otherwise than all from now on.
    pub fn limit(&self, tenant: &str, limits: OwnLimits) {
        let own = Overrides { limits, ..Overrides::default() };
        self.registry.meters().set(&TenantId::new(tenant).unwrap(), own);
    }

    pub fn mood(&self, mood: Mood) {
        *self.taken.mood.lock().unwrap() = mood;
    }

    /// From now on the queue of that tenant is full.
    pub fn fill(&self, tenant: &str) {
        self.taken.full.lock().unwrap().push(tenant.to_owned());
    }

    /// The accounts of tenants that sent what was not taken: refused and dead-lettered items.
    pub fn not_taken(&self) -> Vec<String> {
        let accounts = self.ledger.read();
        let accounts = accounts.iter().filter(|(.., balance)| balance.accepted > 0);
        let figures = accounts.map(|(tenant, kind, balance)| {
            assert!(balance.balances());
            let refused = balance.dropped[DropReason::Refused as usize];
            format!("{tenant} {kind} {refused} {}", balance.dead_lettered)
        });
        figures.collect()
    }

    /// A tenant's dead letters.
    pub fn letters(&self, tenant: &str) -> Vec<serde_json::Value> {
        let path = self.state.path().join("dead-letters").join(format!("{tenant}.ndjson"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // A number that no float holds stands in some of them.
        text.lines().map(|line| serde_json::from_str(&line.replace("1e999", "0")).unwrap()).collect()
    }

    /// Waits until the queue is asked to take something.
    pub async fn asked(&self) {
        within(self.taken.asked.notified()).await;
    }

    /// What was taken: tenant, kind, item count and bytes of each chunk.
    pub fn items(&self) -> Vec<String> {
        let chunks = self.taken.chunks.lock().unwrap();
        chunks
            .iter()
            .map(|c| format!("{} {} {} {}", c.tenant, c.kind, c.items, String::from_utf8_lossy(&c.bytes)))
            .collect()
    }

    /// The bytes of all that was taken.
    pub fn bytes(&self) -> Vec<u8> {
        self.taken.chunks.lock().unwrap().iter().flat_map(|chunk| chunk.bytes.to_vec()).collect()
    }

    /// The items of each tenant and kind that were taken.
    pub fn counts(&self) -> Vec<String> {
        let chunks = self.taken.chunks.lock().unwrap();
        chunks.iter().map(|c| format!("{} {} {}", c.tenant, c.kind, c.items)).collect()
    }

    pub async fn connect(&self) -> Client<TcpStream> {
        Client(within(TcpStream::connect(&self.address)).await.unwrap())
    }

    /// One request on a connection of its own.
    pub async fn send(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut client = self.connect().await;
        client.write(request).await;
        client.reply().await
    }

    /// Begins to shut down; the handle ends with the last connection.
    pub fn shut_down(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.served
    }
}

/// A client's side of a connection.
pub struct Client<S>(pub S);

/// An answer as it came over the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Checks the status and that the only error says all these words.
    #[track_caller]
    pub fn refused(&self, status: u16, words: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        let [error] = &body["errors"].as_array().cloned().unwrap_or_else(|| vec![body.clone()])[..] else {
            panic!("several errors: {self:?}");
        };
        let told = error.as_str().or_else(|| error["detail"].as_str()).or_else(|| error["message"].as_str());
        for word in words {
            assert!(told.unwrap().contains(word), "{word:?} is not in {self:?}");
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads one answer, informational ones left out.
    pub async fn reply(&mut self) -> Reply {
        let reply = within(self.try_reply()).await;
        reply.unwrap()
    }

    /// Reads one answer as it comes.
    pub async fn try_reply(&mut self) -> io::Result<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: String::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        reply.body = String::from_utf8(body).unwrap();
        Ok(reply)
    }

    /// Waits until the server has closed the connection; gives what it still sent.
    pub async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = within(self.0.read_to_end(&mut rest)).await;
        rest
    }
}

/// A POST request with these headers (each line ended) and body.
pub fn post(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The same with a JSON body for tenant `acme`.
pub fn post_json(path: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    post(path, "Content-Type: application/json\r\nX-Tenant: acme\r\n", body)
}

pub fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

/// A log as JSON.
pub const LOG: &str = r#"{"message":"m","timestamp":1700000000000}"#;

pub async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(DEADLINE, work).await.expect("this takes too long")
}
