//! A backlog of gigabytes, end to end: it is accepted while the sink refuses some tenants, the daemon is killed and starts
//! with it, and then the sink takes them again. Meanwhile other tenants, and the same tenant, go on sending.

use super::corpus::{Corpus, Shape, Timestamps};
use super::daemon::{self, Daemon, Plan};
use super::disk::forget;
use super::load::percentile;
use super::sink::{Payload, Sink};
use super::stamped::{Arrivals, Emitter, Sent, Source, Template};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Backlog {
    /// 10^9 bytes of logs in all.
    pub gigabytes: f64,
    /// Tenants that it is of, in turns. The first is let go alone, then the others at once.
    pub stuck: usize,
    /// Tenants that flow.
    pub flowing: usize,
    /// Connections that make it.
    pub connections: usize,
    /// Logs in a request of the backlog, which becomes one record of the journal.
    pub logs: usize,
    /// Which logs.
    pub shape: Shape,
    /// Requests of a tenant to the sink at once.
    pub concurrency: usize,
    /// Whether nothing of the journal is in the page cache when the daemon starts again.
    pub cold: bool,
}

/// An item waits that long for others, so that latencies show what the backlog adds.
const MAX_AGE: Duration = Duration::from_millis(100);

/// Each flowing tenant sends a request of this many logs this often.
const FLOW: (usize, Duration) = (10, Duration::from_millis(100));

/// How long flows are measured while nothing drains.
const CALM: Duration = Duration::from_secs(5);

/// Fails when nothing arrives for so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The emitters: those of the backlog count from 0.
const FLOWING: u8 = 90;
const SAME_TENANT: u8 = 91;
const OTHER_KIND: u8 = 92;

impl Backlog {
    /// Runs it. The plan's tenants and settings are set here.
    ///
    /// # Errors
    /// When anything accepted is lost, doubled or another tenant's, or arrives in another order with one request at a
    /// time.
    pub fn run(&self, plan: Plan, sink: &Sink, seed: u64) -> io::Result<()> {
        let room = (self.gigabytes * 4e9) as u64 + (1 << 30);
        let mut settings = plan.settings.clone();
        settings.extend([
            ("journal.max_bytes", format!("{room}B")),
            ("journal.max_bytes_per_tenant", format!("{room}B")),
            ("batch.max_age", format!("{}ms", MAX_AGE.as_millis())),
            ("delivery.concurrency_per_tenant", self.concurrency.to_string()),
            // So that the drain begins soon after the sink takes the tenant again.
            ("delivery.retry_max", "1s".into()),
        ]);
        let plan = Plan { tenants: self.stuck + self.flowing, settings, ..plan };
        let home = Arc::new(daemon::new_home(&plan)?);
        sink.refuse((0..self.stuck).map(daemon::key));
        let corpus = Corpus::new(self.shape, seed, self.stuck, 60, self.logs, Timestamps::Half);
        println!(
            "a backlog of {:.1} GB of {} tenants in requests of {} logs of {:.0} bytes; {} other tenants send {} logs each {:?}",
            self.gigabytes,
            self.stuck,
            self.logs,
            corpus.mean_log(),
            self.flowing,
            FLOW.0,
            FLOW.1
        );

        let old = Daemon::start_in(&plan, &home)?;
        let begun = Instant::now();
        let mut sent = self.fill(old.ingest, &corpus)?;
        let took = begun.elapsed();
        let megabytes = sent.bytes as f64 / 1e6;
        line(
            "accepted",
            format!("{megabytes:.0} MB in {:.1} s, {:.0} MB/s", took.as_secs_f64(), megabytes / took.as_secs_f64()),
        );
        line("answer time p50, p99", answers(&sent.micros));
        line("memory (RSS) at its peak until here", mib(old.memory("VmHWM")?));
        let waiting = old.ledger()?.queued;
        let journal = old.journal();
        // Killed: nothing is put in order.
        drop(old);
        line("journal", format!("{:.0} MB", size_of(&journal)? as f64 / 1e6));
        if self.cold {
            forget(&journal)?;
        }

        let begun = Instant::now();
        let daemon = Daemon::start_in(&plan, &home)?;
        daemon.ready()?;
        line("start until /readyz answers 200", format!("{:.2} s", begun.elapsed().as_secs_f64()));
        line(
            "memory (RSS) then, and its peak",
            format!("{}, {}", mib(daemon.memory("VmRSS")?), mib(daemon.memory("VmHWM")?)),
        );
        if daemon.ledger()?.queued != waiting {
            return Err(io::Error::other(format!("{waiting} items waited, and now {:?}", daemon.ledger()?)));
        }
        self.drain(&daemon, sink, &mut sent, seed)?;
        line("memory (RSS) at its peak since the start", mib(daemon.memory("VmHWM")?));
        line("memory (RSS) at the end", mib(daemon.memory("VmRSS")?));
        daemon.stop()
    }

    /// Has the backlog accepted.
    fn fill(&self, to: SocketAddr, corpus: &Corpus) -> io::Result<Sent> {
        let share = self.gigabytes * 1e9 / self.connections as f64;
        let connection = |id: usize| -> io::Result<Emitter> {
            let mut emitter = Emitter::connect(to, id as u8, false)?;
            let template = |(tenant, bodies): (usize, &Vec<Vec<u8>>)| -> Vec<Template> {
                bodies.iter().map(|body| Template::logs(tenant, body)).collect()
            };
            let mut templates: Vec<Vec<Template>> = corpus.bodies.iter().enumerate().map(template).collect();
            let (mut bytes, mut round) = (0.0, id);
            while bytes < share {
                for bodies in &mut templates {
                    let count = bodies.len();
                    let body = &mut bodies[round % count];
                    emitter.post(body)?;
                    bytes += body.bytes as f64;
                }
                round += 1;
            }
            Ok(emitter)
        };
        let mut sent = Sent::default();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.connections).map(|id| scope.spawn(move || connection(id))).collect();
            threads.into_iter().try_for_each(|thread| {
                sent.add(thread.join().map_err(|_| io::Error::other("a load thread failed"))??);
                Ok::<_, io::Error>(())
            })
        })?;
        Ok(sent)
    }

    /// Lets the tenants go, while others send.
    fn drain(&self, daemon: &Daemon, sink: &Sink, sent: &mut Sent, seed: u64) -> io::Result<()> {
        let done = AtomicBool::new(false);
        let drains = AtomicBool::new(false);
        let mut phases = vec![("while nothing drains", Instant::now())];
        let mut fresh = Sent::default();
        let waits = |tenants: std::ops::Range<usize>| -> io::Result<()> {
            let mut last = (u64::MAX, Instant::now());
            loop {
                let queued: io::Result<Vec<u64>> = tenants
                    .clone()
                    .map(|tenant| {
                        let labels = format!("tenant=\"{}\"", daemon::tenant(tenant));
                        Ok(daemon.ledger_of(&labels)?.queued)
                    })
                    .collect();
                let queued: u64 = queued?.iter().sum();
                if queued < last.0 {
                    last = (queued, Instant::now());
                }
                // What is fresh comes all the time.
                if queued < 5_000 {
                    return Ok(());
                }
                if last.1.elapsed() > PATIENCE {
                    return Err(io::Error::other(format!("{queued} items wait, and nothing arrives")));
                }
                thread::sleep(Duration::from_millis(100));
            }
        };
        thread::scope(|scope| -> io::Result<()> {
            let flowing = scope.spawn(|| self.flow(daemon.ingest, seed, &done));
            let same = scope.spawn(|| self.fresh(daemon.ingest, seed, &done, &drains));
            let mut steer = || -> io::Result<()> {
                thread::sleep(CALM);
                phases.push(("while one tenant drains", Instant::now()));
                sink.refuse((1..self.stuck).map(daemon::key));
                drains.store(true, Ordering::Relaxed);
                waits(0..1)?;
                if self.stuck > 1 {
                    phases.push(("while the others drain", Instant::now()));
                    sink.refuse([]);
                    waits(1..self.stuck)?;
                }
                Ok(())
            };
            let steered = steer();
            done.store(true, Ordering::Relaxed);
            phases.push(("", Instant::now()));
            let failed = |_| io::Error::other("a load thread failed");
            fresh.add(flowing.join().map_err(failed)??);
            for emitter in same.join().map_err(failed)?? {
                fresh.add(emitter);
            }
            steered
        })?;
        daemon.drain()?;
        let payloads: Vec<Payload> = sink.take();
        let arrivals = Arrivals::read(&payloads).map_err(io::Error::other)?;
        self.tell(&arrivals, sent, &fresh, &phases);
        sent.items.extend(&fresh.items);
        let order = arrivals.verify(&sent.items).map_err(io::Error::other)?;
        let text = format!("{} of {}, by {} at most", order.displaced, order.pieces, order.by);
        line("pieces that another one overtook", text);
        if self.concurrency == 1 && order.displaced > 0 {
            return Err(io::Error::other("one request at a time, and the order of acceptance is not kept"));
        }
        line("items accepted and arrived, verified", order.items.to_string());
        Ok(())
    }

    fn flow(&self, to: SocketAddr, seed: u64, done: &AtomicBool) -> io::Result<Emitter> {
        let corpus = Corpus::new(self.shape, seed, self.stuck + self.flowing, 1, FLOW.0, Timestamps::Half);
        let tenants = corpus.bodies.iter().enumerate().skip(self.stuck);
        let mut templates: Vec<Template> = tenants.map(|(tenant, bodies)| Template::logs(tenant, &bodies[0])).collect();
        let mut emitter = Emitter::connect(to, FLOWING, true)?;
        let (begun, count) = (Instant::now(), templates.len());
        for request in 0.. {
            if done.load(Ordering::Relaxed) || count == 0 {
                break;
            }
            sleep_until(begun + FLOW.1.mul_f64(request as f64 / count as f64));
            emitter.post(&mut templates[request % count])?;
        }
        Ok(emitter)
    }

    /// Fresh logs and series of the first tenant of the backlog, from when it drains.
    fn fresh(&self, to: SocketAddr, seed: u64, done: &AtomicBool, drains: &AtomicBool) -> io::Result<[Emitter; 2]> {
        let corpus = Corpus::new(self.shape, seed, 1, 1, FLOW.0, Timestamps::Half);
        let mut emitters = [Emitter::connect(to, SAME_TENANT, true)?, Emitter::connect(to, OTHER_KIND, true)?];
        let mut templates = [Template::logs(0, &corpus.bodies[0][0]), Template::series(0)];
        while !done.load(Ordering::Relaxed) {
            if drains.load(Ordering::Relaxed) {
                for (emitter, template) in emitters.iter_mut().zip(&mut templates) {
                    emitter.post(template)?;
                }
            }
            thread::sleep(FLOW.1);
        }
        Ok(emitters)
    }

    fn tell(&self, arrivals: &Arrivals, sent: &Sent, fresh: &Sent, phases: &[(&str, Instant)]) {
        let megabytes = sent.bytes as f64 / 1e6;
        let of = |tenants: std::ops::Range<usize>| {
            let spans = tenants.filter_map(|tenant| arrivals.span(tenant, self.connections as u8));
            spans.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
        };
        for (what, tenants) in [("the first tenant's drained", 0..1), ("the others' drained", 1..self.stuck)] {
            let share = megabytes * tenants.len() as f64 / self.stuck as f64;
            let Some((first, last)) = of(tenants) else { continue };
            let seconds = (last - first).as_secs_f64();
            line(what, format!("{share:.0} MB in {seconds:.1} s, {:.0} MB/s", share / seconds));
        }
        for pair in phases.windows(2) {
            let ((what, from), (_, to)) = (pair[0], pair[1]);
            let during = |at: Instant| from <= at && at < to;
            for (whose, emitter) in
                [("other tenants' logs", FLOWING), ("its fresh logs", SAME_TENANT), ("its fresh series", OTHER_KIND)]
            {
                let of = |source: Source| source.1 == emitter;
                let latencies = arrivals.latencies(fresh, of, during);
                if !latencies.is_empty() {
                    let (p50, p99) = (percentile(&latencies, 0.5), percentile(&latencies, 0.99));
                    let text = format!("{p50:.0}, {p99:.0}, {:.0} ms", latencies[latencies.len() - 1]);
                    line(&format!("{whose}, {what}: arrived after (p50, p99, max)"), text);
                }
            }
        }
        line("fresh requests: answered within (p50, p99)", answers(&fresh.micros));
        line("requests refused", (sent.refused + fresh.refused).to_string());
    }
}

fn line(what: &str, figures: String) {
    println!("{what:<66} {figures}");
}

fn answers(micros: &[u32]) -> String {
    let ms = |share| f64::from(percentile(micros, share)) / 1e3;
    format!("{:.2}, {:.2} ms", ms(0.5), ms(0.99))
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

fn sleep_until(at: Instant) {
    thread::sleep(at.saturating_duration_since(Instant::now()));
}

/// Bytes that the files of a directory have on the disk.
fn size_of(dir: &Path) -> io::Result<u64> {
    let sizes: io::Result<Vec<u64>> = fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len())).collect();
    Ok(sizes?.into_iter().sum())
}
