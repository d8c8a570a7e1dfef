//! DogStatsD: sockets, threads that read them, and what closes buckets and puts them into the queue.
//!
//! [`Listeners::open`] binds; [`Listeners::start`] reads, until [`Running::stop`] has taken what the kernel still holds and
//! put the open bucket into the queue. What lines mean is [`crate::wire::dogstatsd`]'s, and what becomes of them
//! [`crate::aggregate`]'s.

mod datagrams;
mod flush;
mod hub;
mod metrics;
mod sockets;
mod streams;

pub use hub::{Hub, Status};

use crate::aggregate::{Aggregate, Limits, Options, Percentile, Source};
use crate::ingest::Door;
use crate::machine::Machine;
use crate::serve::{ListenError, SocketFile};
use crate::settings::Settings;
use crate::types::TenantId;
use hub::{ListenerFigures, Rules};
use sockets::{Address, Room, Socket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Sockets that are bound.
#[derive(Debug)]
pub struct Listeners {
    hub: Arc<Hub>,
    sockets: Vec<Socket>,
    names: Vec<String>,
    files: Vec<SocketFile>,
    longest: usize,
}

/// Sockets that are read.
#[derive(Debug)]
pub struct Running {
    threads: Vec<thread::JoinHandle<()>>,
    readers: JoinSet<()>,
    flush: JoinSet<()>,
    stop_threads: Arc<AtomicBool>,
    stop_readers: watch::Sender<bool>,
    stop_flush: watch::Sender<bool>,
    _files: Vec<SocketFile>,
}

impl Listeners {
    /// Binds the sockets that the configuration names.
    ///
    /// # Errors
    /// When one cannot be bound.
    pub async fn open(settings: &Settings, door: Arc<Door>, machine: Machine) -> Result<Self, ListenError> {
        let room = Room { receive_buffer: settings.dogstatsd.so_rcvbuf, longest: settings.dogstatsd.buffer_size };
        let (mut sockets, mut names, mut files, mut figures) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, (address, tenant, key)) in addresses(settings).into_iter().enumerate() {
            let (socket, name, file) = address.open(index, room, key).await?;
            sockets.push(socket);
            files.extend(file);
            figures.push(ListenerFigures { name: name.clone(), tenant, kernel_drops: Default::default() });
            names.push(name);
        }
        let hub = Arc::new(Hub::new(rules(settings), door, machine, figures));
        Ok(Self { hub, sockets, names, files, longest: room.longest })
    }

    /// Where clients send: addresses, with the ports chosen, and paths.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What all of them feed.
    pub fn hub(&self) -> Arc<Hub> {
        self.hub.clone()
    }

    /// Reads from now on.
    pub fn start(self) -> Running {
        let (stop_readers, stopping) = watch::channel(false);
        let (stop_flush, flush_stopping) = watch::channel(false);
        let stop_threads = Arc::new(AtomicBool::new(false));
        let (mut threads, mut readers) = (Vec::new(), JoinSet::new());
        for (index, socket) in self.sockets.into_iter().enumerate() {
            let hub = self.hub.clone();
            match socket {
                Socket::Stream(socket) => {
                    readers.spawn(streams::serve(socket, index, self.longest, hub, stopping.clone()));
                }
                Socket::Datagrams(datagrams) => {
                    let stop = stop_threads.clone();
                    threads.push(thread::spawn(move || datagrams.read(&hub, &stop)));
                }
            }
        }
        let mut flush = JoinSet::new();
        flush.spawn(flush::run(self.hub, flush_stopping));
        Running { threads, readers, flush, stop_threads, stop_readers, stop_flush, _files: self.files }
    }
}

impl Running {
    /// Reads what has arrived, and nothing that comes later; puts the open bucket into the queue. When that was done, or broken
    /// off, it does what is left.
    pub async fn stop(&mut self) {
        self.stop_threads.store(true, Ordering::Release);
        self.stop_readers.send_replace(true);
        while self.readers.join_next().await.is_some() {}
        let threads = std::mem::take(&mut self.threads);
        // Each is at its end within the time that a reading waits. A panic was counted.
        let _ = tokio::task::spawn_blocking(move || threads.into_iter().try_for_each(thread::JoinHandle::join)).await;
        self.stop_flush.send_replace(true);
        while self.flush.join_next().await.is_some() {}
    }
}

impl Hub {
    /// Applies another configuration from the next line on, but for the sockets and the length of buckets.
    pub fn reload(&self, settings: &Settings) {
        self.apply(rules(settings));
    }
}

/// What clients send to, the tenant of those that name none, and the key that says so.
fn addresses(settings: &Settings) -> Vec<(Address, Option<TenantId>, &'static str)> {
    let settings = &settings.dogstatsd;
    let udp = settings.listen.iter().flat_map(|address| Address::parse(address));
    let paths = [
        (Address::Datagram(settings.socket.clone().into()), "dogstatsd.socket", settings.socket.is_empty()),
        (
            Address::Stream(settings.stream_socket.clone().into()),
            "dogstatsd.stream_socket",
            settings.stream_socket.is_empty(),
        ),
    ];
    let paths = paths.into_iter().filter(|(.., is_empty)| !is_empty).map(|(address, key, _)| (address, None, key));
    let own = settings.listeners.iter().flat_map(|(address, tenant)| {
        Address::parse(address).into_iter().map(|address| (address, tenant.clone(), "dogstatsd.listeners"))
    });
    udp.map(|address| (address, None, "dogstatsd.listen")).chain(paths).chain(own).collect()
}

/// What the configuration says of the lines of each listener, and of all of them.
fn rules(settings: &Settings) -> Rules {
    let Settings { dogstatsd, tenancy, ingest, .. } = settings;
    let sources = addresses(settings).into_iter().zip(0..).map(|((_, tenant, _), id)| {
        // With tokens asked for, which lines cannot bring, only a listener's own tenant is believed.
        let may_name = dogstatsd.from_tags && (tenant.is_some() || !ingest.require_token);
        let default = tenancy.default.clone().filter(|_| !ingest.require_token);
        Source {
            id,
            tag: may_name.then(|| tenancy.tag.clone()),
            tenant: tenant.or(default),
            bound: ingest.require_token,
        }
    });
    let aggregates = dogstatsd.histogram_aggregates.iter();
    let percentiles = dogstatsd.histogram_percentiles.iter();
    let copy = dogstatsd.histogram_copy_to_distribution;
    let options = Options {
        interval: dogstatsd.interval.as_secs().cast_signed(),
        context_expiry: dogstatsd.context_expiry.as_secs().cast_signed(),
        aggregates: aggregates.filter_map(|name| Aggregate::from_name(name)).collect(),
        percentiles: percentiles.filter_map(|fraction| Percentile::from_fraction(*fraction)).collect(),
        tags: dogstatsd.tags.clone(),
        host: dogstatsd.host.clone(),
        namespace: dogstatsd.namespace.clone(),
        copy_to_distribution: copy.then(|| dogstatsd.histogram_copy_to_distribution_prefix.clone()),
        limits: Limits {
            contexts_per_tenant: dogstatsd.max_contexts_per_tenant,
            contexts: dogstatsd.max_contexts,
            ..Limits::default()
        },
    };
    Rules { options, sources: sources.collect() }
}
