//! The most memory that a run may use: it ends with a sentence before the system ends it without one.

use dataflows::configuration::Plan;

use crate::engine::Held;
use crate::progress::resident_bytes;

/// What is watched while a run goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryLimit {
    bytes_max: u64,
}

impl MemoryLimit {
    /// The limit that the configuration gives, or three quarters of what the machine or the control group has.
    pub(crate) fn new(given: Option<u64>) -> Self {
        let of_machine = available_bytes().map_or(u64::MAX, |bytes| bytes / 4 * 3);
        MemoryLimit { bytes_max: given.unwrap_or(of_machine) }
    }

    /// How much is used, where that is more than may be. Costs a read of a small file of the system.
    pub(crate) fn passed(self) -> Option<u64> {
        resident_bytes().filter(|bytes| *bytes > self.bytes_max)
    }

    /// What a person has to know: what is used, what grows, and which key bounds it.
    pub(crate) fn told(self, used_bytes: u64, held: &Held, plan: &Plan) -> String {
        let bytes_of = |gauge: &operators::fold::FoldGauge| (gauge.table_bytes + gauge.heap_bytes) as u64;
        let greatest = held.iter().max_by_key(|(_, gauge)| bytes_of(gauge));
        let grows = greatest.filter(|(_, gauge)| bytes_of(gauge) > 0).map_or_else(
            || {
                "no state of the graph holds much: views and what was set aside do (`retention_ms`, `history_bytes`)"
                    .to_owned()
            },
            |(name, gauge)| {
                format!("the most of its state is {name}, {} MiB for {} keys", bytes_of(gauge) >> 20, gauge.keys)
            },
        );
        let source = plan.recorded.sources.iter().max_by_key(|source| source.lateness_ms);
        let bounds = source.map_or_else(String::new, |source| {
            let found = if source.measured { ", the disorder of its files" } else { "" };
            format!(
                "; what is open is held until the watermark passes it, and source \"{}\" holds that back longest, by {} ms{found}: \
                 sort its files by time, or give it a lesser `lateness_ms`",
                source.name, source.lateness_ms
            )
        });
        let (used, most) = (used_bytes >> 20, self.bytes_max >> 20);
        format!(
            "{used} MiB of memory are used, more than the {most} MiB of `memory_bytes_max`: {grows}{bounds}; or raise \
             `memory_bytes_max`, and run again to go on from here"
        )
    }
}

/// What the machine has or, if that is less, what the control group of this process may use.
fn available_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = groups.iter().find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
    machine.into_iter().chain(group).min()
}

/// The first line of `/proc/meminfo`: `MemTotal:       24586000 kB`.
fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_it_has() {
        assert_eq!(machine_bytes("MemTotal:       24586000 kB\nMemFree: 1 kB\n"), Some(24_586_000 * 1_024));
        assert_eq!(machine_bytes("MemFree: 1 kB\n"), None);
        assert!(available_bytes().is_some_and(|bytes| bytes > 1 << 27), "this machine has some memory");
        assert!(MemoryLimit::new(None).passed().is_none());
        assert!(MemoryLimit::new(Some(1 << 20)).passed().is_some());
    }
}
