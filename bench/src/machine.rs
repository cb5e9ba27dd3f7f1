//! The machine, and what this process takes of it, as Linux tells them in `/proc`.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

/// Ticks a second of the CPU times in `/proc/self/stat`: 100 on every Linux that these benches run on.
const STAT_TICKS: f64 = 100.0;

/// The machine as it was found.
pub(crate) fn machine() -> Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    json!({
        "cpu": models.clone().next().unwrap_or("unknown"),
        "cores": models.count(),
        "memory_bytes": kilobytes(&memory, "MemTotal:") * 1_024,
        "load": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
    })
}

/// CPU seconds of this process until now, of all its threads, those that ended too.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    times.sum::<f64>() / STAT_TICKS
}

/// CPU seconds of the threads that live, added up by their names without numbers.
pub(crate) fn thread_seconds() -> BTreeMap<String, f64> {
    let mut by_name = BTreeMap::new();
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        let (name, times) = (read("comm"), read("schedstat"));
        let nanoseconds = times.split_whitespace().next().and_then(|time| time.parse::<f64>().ok()).unwrap_or(0.0);
        let name = name.trim().trim_end_matches(|digit: char| digit.is_ascii_digit() || digit == '-' || digit == ':');
        *by_name.entry(name.to_owned()).or_insert(0.0) += nanoseconds / 1e9;
    }
    by_name
}

/// What is resident now, and the most that was since [`forget_peak`].
pub(crate) fn resident_bytes() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    (kilobytes(&status, "VmRSS:") * 1_024, kilobytes(&status, "VmHWM:") * 1_024)
}

/// Begins a new peak.
pub(crate) fn forget_peak() {
    // Where it is not allowed, the peak is that of the whole process, which is a bound too.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
