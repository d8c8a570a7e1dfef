//! What the kernel knows about the CPU time and memory of processes and threads.

use std::fs;
use std::io;
use std::time::Duration;

/// User and system time of a process so far, threads that have ended included.
pub fn cpu_of_process(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; what follows the last parenthesis are fields 3 and on.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    // utime and stime are in units of USER_HZ, which Linux fixes at 100 for user space (proc(5)).
    Ok(Duration::from_millis((ticks(14) + ticks(15)) * 10))
}

/// CPU time of the calling thread so far.
pub fn cpu_of_thread() -> Duration {
    cpu_from("/proc/thread-self/schedstat")
}

/// CPU time of the threads of this process whose names begin with `prefix`.
pub fn cpu_of_threads(prefix: &str) -> Duration {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    tasks
        .flatten()
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with(prefix)))
        .map(|task| cpu_from(&task.path().join("schedstat").to_string_lossy()))
        .sum()
}

fn cpu_from(schedstat: &str) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
}

/// A figure of `/proc/PID/status` in bytes, such as `VmRSS` and `VmHWM`.
pub fn memory_of_process(pid: u32, figure: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes << 10).ok_or_else(|| io::Error::other(format!("no {figure} for {pid}")))
}
