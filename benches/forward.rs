//! What forwarding costs, end to end: the real daemon as a process between a load and a sink, all on loopback.
//!
//! `cargo bench --bench forward` runs the standard load, with `--always` the answers beside one fsync of the disk, with
//! `--backlog 10` a backlog of 10 GB that waits and drains; `cargo bench --bench forward -- --help` lists the options. It
//! fails when a single log is lost, doubled, damaged or delivered for another tenant. What the figures mean and what
//! they are held against: `docs/performance.md`.

// What clippy.toml forbids, measurements may do.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod support;

use clap::Parser;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use support::backlog::Backlog;
use support::corpus::{Corpus, Shape, Timestamps};
use support::daemon::{Daemon, Plan};
use support::load::{Coding, Outcome, Requests, Speed, Until, percentile};
use support::reference::{Reference, zstd_alone};
use support::sink::Sink;
use support::verify::{Arrived, verify};
use support::{disk, process, sink};

/// Measures the daemon end to end
#[derive(Debug, Parser)]
struct Options {
    /// Connections at once, each with one request under way
    #[arg(long, default_value_t = 8)]
    connections: usize,

    /// Tenants that send
    #[arg(long, default_value_t = 10)]
    tenants: usize,

    /// Logs in a request
    #[arg(long, default_value_t = 100)]
    logs: usize,

    /// Bodies of every tenant that differ
    #[arg(long, default_value_t = 60)]
    bodies: usize,

    /// How the requests are compressed
    #[arg(long, value_enum, default_value_t = Coding::Identity)]
    encoding: Coding,

    /// Which logs
    #[arg(long, value_enum, default_value_t = Shape::Services)]
    corpus: Shape,

    /// Which logs carry a time of their own
    #[arg(long, value_enum, default_value_t = Timestamps::Half)]
    timestamps: Timestamps,

    /// How long to measure, in seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,

    /// How long the same load runs before, in seconds
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,

    /// Measure this many requests instead of a time, without warm-up
    #[arg(long, value_name = "COUNT")]
    requests: Option<usize>,

    /// Send so many MB a second instead of as much as is answered
    #[arg(long, value_name = "MB")]
    rate: Option<f64>,

    /// How often to measure; the median, the least and the greatest are printed when more than once
    #[arg(long, default_value_t = 1)]
    runs: usize,

    /// zstd level
    #[arg(long, default_value_t = 3)]
    level: i32,

    /// Tenants that are configured and send nothing; their memory is measured
    #[arg(long, default_value_t = 10_000, value_name = "COUNT")]
    tenants_idle: usize,

    /// Seed of the logs
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// When the journal is forced to the disk: always, interval or never
    #[arg(long, default_value = "interval", value_name = "MODE")]
    fsync: String,

    /// The directory that everything is written under, such as one on the disk in question
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Measure answers with fsync = "always" over 1, 16 and 64 connections, beside one fsync of the disk
    #[arg(long)]
    always: bool,

    /// Measure a backlog of so many GB that waits, is killed with its daemon, and drains
    #[arg(long, value_name = "GB")]
    backlog: Option<f64>,

    /// Tenants that the backlog is of
    #[arg(long, default_value_t = 1, requires = "backlog")]
    stuck: usize,

    /// Requests of a tenant of the backlog to the sink at once; with 1, the order of arrival is verified, too
    #[arg(long, default_value_t = 4, requires = "backlog")]
    concurrency: usize,

    /// Have the kernel forget the journal's files before the start with the backlog
    #[arg(long, requires = "backlog")]
    cold: bool,

    /// Another daemon to measure
    #[arg(long, value_name = "PROGRAM")]
    daemon: Option<PathBuf>,

    /// A command to run the daemon under, such as a profiler
    #[arg(long, default_value = "", value_name = "COMMAND")]
    under: String,

    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one run gave.
struct Run {
    reference: Reference,
    load: Outcome,
    arrived: Arrived,
    daemon_cpu: Duration,
    sink_cpu: Duration,
    drained: Duration,
    idle: u64,
    peak: u64,
    after: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forward: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> io::Result<()> {
    if let Some(gigabytes) = options.backlog {
        let backlog = Backlog {
            gigabytes,
            stuck: options.stuck,
            flowing: options.tenants,
            connections: options.connections,
            logs: options.logs,
            shape: options.corpus,
            concurrency: options.concurrency,
            cold: options.cold,
        };
        let sink = Sink::start()?;
        return backlog.run(plan(options, &sink, 0), &sink, options.seed);
    }
    let corpus =
        Corpus::new(options.corpus, options.seed, options.tenants, options.bodies, options.logs, options.timestamps);
    let requests = Requests::new(&corpus, options.encoding)?;
    println!(
        "{} connections, {} tenants, {} logs of {:.0} bytes a request, {:?}, zstd level {}, {} cores",
        options.connections,
        options.tenants,
        options.logs,
        corpus.mean_log(),
        options.encoding,
        options.level,
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    if options.always {
        return always(options, &corpus, &requests);
    }
    if options.tenants_idle > 0 {
        idle_tenants(options)?;
    }
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let run = one_run(options, options.connections, &corpus, &requests)?;
        if options.runs > 1 {
            println!("run {number}: {}", brief(&run));
        }
        runs.push(run);
    }
    print!("{}", report(&runs));
    Ok(())
}

fn plan(options: &Options, sink: &Sink, idle_tenants: usize) -> Plan {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_dogsled"));
    Plan {
        program: options.daemon.clone().unwrap_or(built),
        under: options.under.split_whitespace().map(str::to_owned).collect(),
        sink: sink.address,
        tenants: options.tenants,
        idle_tenants,
        level: options.level,
        settings: vec![("journal.fsync", if options.always { "always".into() } else { options.fsync.clone() })],
        dir: options.dir.clone(),
    }
}

/// Answers with `always`, beside what one fsync takes before and after.
fn always(options: &Options, corpus: &Corpus, requests: &Requests) -> io::Result<()> {
    let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let bytes = (corpus.mean_log() * options.logs as f64) as usize;
    for connections in [1, 16, 64] {
        for _ in 0..options.runs {
            let mut fsyncs = disk::fsyncs(&dir, bytes)?;
            let run = one_run(options, connections, corpus, requests)?;
            fsyncs.extend(disk::fsyncs(&dir, bytes)?);
            fsyncs.sort_unstable();
            let fsync = |share| milliseconds(percentile(&fsyncs, share));
            let answer = |share| milliseconds(run.load.percentile(share));
            println!(
                "{connections:>3} connections: answer p50 {:.2} ms = {:.2} x one fsync ({:.2} ms), p99 {:.2} ms (one fsync: \
                 {:.2} ms), {:.0} requests/s",
                answer(0.5),
                answer(0.5) / fsync(0.5),
                fsync(0.5),
                answer(0.99),
                fsync(0.99),
                run.load.micros.len() as f64 / run.load.elapsed.as_secs_f64()
            );
        }
    }
    Ok(())
}

/// Starts a daemon and reads its memory when it has come to rest.
fn settled(plan: &Plan) -> io::Result<(Daemon, u64)> {
    let daemon = Daemon::start(plan)?;
    std::thread::sleep(Duration::from_secs(1));
    let memory = daemon.memory("VmRSS")?;
    Ok((daemon, memory))
}

fn idle_tenants(options: &Options) -> io::Result<()> {
    let sink = Sink::start()?;
    let (daemon, without) = settled(&plan(options, &sink, 0))?;
    daemon.stop()?;
    let (daemon, with) = settled(&plan(options, &sink, options.tenants_idle))?;
    daemon.stop()?;
    let added = with.saturating_sub(without);
    println!(
        "{} idle tenants: {:.1} MiB more ({:.1} -> {:.1} MiB), {} bytes each",
        options.tenants_idle,
        mib(added),
        mib(without),
        mib(with),
        added / options.tenants_idle as u64
    );
    Ok(())
}

fn one_run(options: &Options, connections: usize, corpus: &Corpus, requests: &Requests) -> io::Result<Run> {
    let reference = zstd_alone(corpus, options.level, Duration::from_secs(2))?;
    let sink = Sink::start()?;
    let (daemon, idle) = settled(&plan(options, &sink, 0))?;
    let bytes_a_request = corpus.mean_log() * options.logs as f64;
    let speed =
        options.rate.map_or(Speed::Full, |rate| Speed::Every(Duration::from_secs_f64(bytes_a_request / (rate * 1e6))));
    let mut accepted = None;
    let until = match options.requests {
        Some(count) => Until::Sent(count),
        None => {
            let warm_up = Until::Elapsed(Duration::from_secs_f64(options.warm_up));
            accepted = Some(requests.run(daemon.ingest, connections, speed, warm_up)?);
            daemon.drain()?;
            Until::Elapsed(Duration::from_secs_f64(options.seconds))
        }
    };
    let (daemon_before, sink_before) = (daemon.cpu()?, process::cpu_of_threads("sink"));
    let load = requests.run(daemon.ingest, connections, speed, until)?;
    let drained = daemon.drain()?;
    let (daemon_cpu, sink_cpu) = (daemon.cpu()? - daemon_before, process::cpu_of_threads("sink") - sink_before);
    let (peak, after, ledger) = (daemon.memory("VmHWM")?, daemon.memory("VmRSS")?, daemon.ledger()?);
    daemon.stop()?;

    let mut expected = load.accepted.clone();
    if let Some(warm_up) = accepted {
        for (all, before) in expected.iter_mut().flatten().zip(warm_up.accepted.iter().flatten()) {
            *all += before;
        }
    }
    let payloads: Vec<sink::Payload> = sink.take();
    let arrived = verify(corpus, &expected, &payloads).map_err(io::Error::other)?;
    if (ledger.accepted, ledger.delivered) != (arrived.items, arrived.items) {
        return Err(io::Error::other(format!("{} logs arrived, and the daemon says {ledger:?}", arrived.items)));
    }
    Ok(Run { reference, load, arrived, daemon_cpu, sink_cpu, drained, idle, peak, after })
}

impl Run {
    fn seconds_per_gb(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e9 / self.load.bytes as f64
    }

    fn megabytes_per_second(&self) -> f64 {
        self.load.bytes as f64 / 1e6 / self.load.elapsed.as_secs_f64()
    }
}

fn brief(run: &Run) -> String {
    let cpu = run.seconds_per_gb(run.daemon_cpu);
    format!(
        "{:.0} MB/s, daemon {cpu:.2} s/GB = {:.2} x zstd alone ({:.2} s/GB), p99 {:.2} ms, peak {:.0} MiB",
        run.megabytes_per_second(),
        cpu / run.reference.seconds_per_gb,
        run.reference.seconds_per_gb,
        milliseconds(run.load.percentile(0.99)),
        mib(run.peak)
    )
}

/// The figures, each the median of the runs, with the least and the greatest of several.
fn report(runs: &[Run]) -> String {
    let sorted = |figure: &dyn Fn(&Run) -> f64| {
        let mut figures: Vec<f64> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures
    };
    let mut text = String::new();
    let mut line = |what: &str, figures: Vec<f64>, digits: usize, unit: &str| {
        let figure = figures[figures.len() / 2];
        // Writing to a String cannot fail.
        let _ = write!(text, "{what:<38} {figure:>12.digits$} {unit}");
        if let ([least, .., greatest], true) = (&figures[..], figures.len() > 1) {
            let _ = write!(text, "  ({least:.digits$} to {greatest:.digits$})");
        }
        text.push('\n');
    };
    line("accepted", sorted(&Run::megabytes_per_second), 1, "MB/s");
    line("accepted", sorted(&|run| run.load.items as f64 / run.load.elapsed.as_secs_f64()), 0, "logs/s");
    line("CPU of the daemon", sorted(&|run| run.seconds_per_gb(run.daemon_cpu)), 3, "s/GB accepted");
    line("CPU of zstd alone, one thread", sorted(&|run| run.reference.seconds_per_gb), 3, "s/GB");
    let ratio = |run: &Run| run.seconds_per_gb(run.daemon_cpu) / run.reference.seconds_per_gb;
    line("daemon / zstd alone", sorted(&ratio), 2, "");
    line("CPU of the load", sorted(&|run| run.seconds_per_gb(run.load.cpu)), 3, "s/GB");
    line("CPU of the sink", sorted(&|run| run.seconds_per_gb(run.sink_cpu)), 3, "s/GB");
    for (what, share) in [
        ("answer time, median", 0.5),
        ("answer time, p99", 0.99),
        ("answer time, p99.9", 0.999),
        ("answer time, maximum", 1.0),
    ] {
        line(what, sorted(&|run| milliseconds(run.load.percentile(share))), 2, "ms");
    }
    line("answers other than 202", sorted(&|run| run.load.refused.len() as f64), 0, "");
    line("memory (RSS) before the load", sorted(&|run| mib(run.idle)), 1, "MiB");
    line("memory (RSS) at its peak", sorted(&|run| mib(run.peak)), 1, "MiB");
    line("memory (RSS) after the load", sorted(&|run| mib(run.after)), 1, "MiB");
    line("queue empty after the load", sorted(&|run| run.drained.as_secs_f64()), 2, "s");
    line("logs in a payload", sorted(&|run| run.arrived.items as f64 / run.arrived.payloads as f64), 0, "");
    line("compressed by", sorted(&|run| run.arrived.plain as f64 / run.arrived.packed as f64), 2, "");
    line("compressed by zstd alone", sorted(&|run| run.reference.ratio), 2, "");
    line("logs accepted and arrived, verified", sorted(&|run| run.arrived.items as f64), 0, "");
    text
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
