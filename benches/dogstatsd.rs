//! What DogStatsD costs: the real daemon as a process, a load over UDP on the same machine, a sink behind it.
//!
//! `cargo bench --bench dogstatsd` sends counters, gauges, timers and distributions of 10 tenants × 200 contexts, in
//! datagrams of 1,432 bytes, at 400,000 lines a second; `--help` lists the options. It fails when a line is neither counted
//! nor dropped by the kernel. What the figures mean: `docs/performance.md`.

// What clippy.toml forbids, measurements may do.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod support;

use clap::Parser;
use std::io;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use support::daemon::{Daemon, Plan, tenant};
use support::process::cpu_of_thread;
use support::sink::Sink;

/// Measures DogStatsD end to end
#[derive(Debug, Parser)]
struct Options {
    /// Tenants
    #[arg(long, default_value_t = 10)]
    tenants: usize,

    /// Contexts of each
    #[arg(long, default_value_t = 200)]
    contexts: usize,

    /// Lines a second; 0 for as many as can be sent
    #[arg(long, default_value_t = 400_000)]
    rate: u64,

    /// How long, in seconds
    #[arg(long, default_value_t = 20)]
    seconds: u64,

    /// The longest datagram, in bytes
    #[arg(long, default_value_t = 1_432)]
    datagram: usize,

    /// dogstatsd.so_rcvbuf, 0 for the system's
    #[arg(long, default_value = "8MiB")]
    so_rcvbuf: String,

    /// Another daemon to measure
    #[arg(long, value_name = "PROGRAM")]
    daemon: Option<PathBuf>,

    /// A command to run the daemon under, such as a profiler
    #[arg(long, value_name = "COMMAND", num_args = 1.., value_terminator = "--")]
    under: Vec<String>,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// How often the load catches up with its rate.
const TURN: Duration = Duration::from_millis(1);

/// One pass over all contexts, in datagrams, each with its lines.
fn datagrams(options: &Options) -> Vec<(Vec<u8>, u64)> {
    let mut all = Vec::new();
    let (mut packet, mut lines) = (Vec::new(), 0);
    for context in 0..options.contexts {
        for index in 0..options.tenants {
            let (name, value, symbol) = match context % 4 {
                0 => ("count", "1".to_owned(), "c"),
                1 => ("size", (context * 7 % 100).to_string(), "g"),
                2 => ("time", format!("{}.{}", context % 300 + 1, index), "ms"),
                _ => ("latency", format!("{}.{}", context * 13 % 300 + 1, index), "d"),
            };
            let line = format!(
                "shop.request.{name}:{value}|{symbol}|#env:prod,service:web,endpoint:/api/v1/items/{context},tenant:{}\n",
                tenant(index)
            );
            if packet.len() + line.len() > options.datagram {
                all.push((std::mem::take(&mut packet), std::mem::take(&mut lines)));
            }
            packet.extend_from_slice(line.as_bytes());
            lines += 1;
        }
    }
    all.push((packet, lines));
    all
}

/// Sends until the time is over; how many lines, and the time of the processor that it took.
fn load(socket: &UdpSocket, datagrams: &[(Vec<u8>, u64)], options: &Options) -> io::Result<(u64, Duration)> {
    let (start, time) = (Instant::now(), Duration::from_secs(options.seconds));
    let mut sent = 0;
    for (packet, lines) in datagrams.iter().cycle() {
        let elapsed = start.elapsed();
        if elapsed >= time {
            break;
        }
        if options.rate > 0 && sent as f64 > elapsed.as_secs_f64() * options.rate as f64 {
            thread::sleep(TURN);
        }
        socket.send(packet)?;
        sent += lines;
    }
    Ok((sent, cpu_of_thread()))
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let sink = Sink::start()?;
    let plan = Plan {
        program: options.daemon.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_dogsled").into()),
        under: options.under.clone(),
        sink: sink.address,
        tenants: options.tenants,
        idle_tenants: 0,
        level: 0,
        settings: vec![
            ("dogstatsd.so_rcvbuf", options.so_rcvbuf.clone()),
            ("dogstatsd.max_contexts_per_tenant", (2 * options.contexts).to_string()),
            ("dogstatsd.max_contexts", (4 * options.contexts * options.tenants).to_string()),
        ],
        dir: None,
    };
    let daemon = Daemon::start(&plan)?;
    daemon.ready()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(daemon.dogstatsd)?;
    let datagrams = datagrams(&options);
    let a_datagram = datagrams.iter().map(|(_, lines)| *lines).sum::<u64>() as f64 / datagrams.len() as f64;

    let (cpu_before, start) = (daemon.cpu()?, Instant::now());
    let (sent, own) = load(&socket, &datagrams, &options)?;
    let took = start.elapsed();
    // The last bucket closes, and is counted and flushed.
    thread::sleep(Duration::from_secs(12));
    let cpu = daemon.cpu()? - cpu_before;
    let count = |name: &str| daemon.metric(&format!("dogsled_dogstatsd_{name}"));
    let (lines, drops, errors) = (count("lines_total")?, count("kernel_drops_total")?, count("errors_total")?);
    let mib = |figure| daemon.memory(figure).map(|bytes| bytes as f64 / f64::from(1 << 20));
    println!(
        "lines sent        {sent} in {:.1} s: {:.0} a second",
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64()
    );
    println!("lines taken       {lines} ({errors} errors)");
    println!("lines lost        {:.3} %", 100.0 * (1.0 - lines / sent as f64));
    println!("datagrams dropped {drops}, of {a_datagram:.1} lines each");
    println!(
        "CPU a line        {:.3} µs (the whole process, flush and delivery included)",
        cpu.as_secs_f64() * 1e6 / lines
    );
    println!("CPU of the load   {:.3} µs a line", own.as_secs_f64() * 1e6 / sent as f64);
    println!("contexts          {}", count("contexts")?);
    println!("RSS               {:.0} MiB, peak {:.0} MiB", mib("VmRSS")?, mib("VmHWM")?);
    let ledger = daemon.ledger()?;
    println!("items             {} accepted, {} delivered", ledger.accepted, ledger.delivered);
    let unaccounted = sent as f64 - lines - drops * a_datagram;
    if unaccounted.abs() > a_datagram * (drops + 1.0) / 2.0 {
        return Err(io::Error::other(format!("{unaccounted} lines are neither counted nor dropped by the kernel")));
    }
    daemon.stop()
}
