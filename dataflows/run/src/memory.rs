//! Memory that is taken before a run begins, so that no tick waits for it.
//!
//! State grows by touching memory for the first time, and each first touch is the system clearing pages, or, in a virtual
//! machine that gives free memory back to its host, the host finding them: milliseconds for two megabytes where that is slow,
//! which is as much as the engine takes for thousands of records. Who knows how much a run will hold takes it at the start
//! (`aisle run --reserve-mib`): all cores allocate it, touch it, and give it back to the allocator, which is told to keep it.
//! (Handing the allocator an area of its own would be simpler, but it uses up first what it has, a gibibyte of untouched
//! memory.) What is needed beyond it is taken as it is needed, as ever.

pub(crate) mod limit;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// The allocator's `mi_option_purge_delay`, for which its binding has no name: for how many milliseconds memory has to be free
/// before it is given back.
const PURGE_DELAY: mi_option_t = 15;

/// What is allocated at once, in MiB: with what the allocator adds, a whole fraction of what it parcels out.
const BLOCK_MIB: u64 = 1;

/// What the allocator adds, at most.
const HEADER_BYTES: usize = 64 << 10;

/// Every system that this runs on has pages of so many bytes, or larger ones.
const PAGE_BYTES: usize = 4_096;

/// How often is told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(2);

/// Why memory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// There is less, and the system would have to kill somebody.
    #[error("--reserve-mib {wanted_mib}: only {available_mib} MiB of memory are free; ask for less, or for none")]
    TooMuch {
        /// What was asked for.
        wanted_mib: u64,
        /// What there is.
        available_mib: u64,
    },
}

/// Takes so much memory for the allocator of this process, which has to be mimalloc; says whether that was not interrupted.
/// `tell` hears now and then how many MiB there are by now. Costs what it saves later: 0.3 s a GiB was measured where the host had the memory.
pub fn reserve(wanted_mib: u64, interrupted: &AtomicBool, mut tell: impl FnMut(u64)) -> Result<bool, ReserveError> {
    if wanted_mib == 0 {
        return Ok(true);
    }
    let available_mib = available_mib().unwrap_or(u64::MAX);
    if wanted_mib > available_mib {
        return Err(ReserveError::TooMuch { wanted_mib, available_mib });
    }
    keep_what_is_free();
    Ok(touch(wanted_mib / BLOCK_MIB, interrupted, &mut tell))
}

/// Allocates blocks and writes to every page of them, on all cores; says whether that was not interrupted.
fn touch(blocks: u64, interrupted: &AtomicBool, tell: &mut impl FnMut(u64)) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = AtomicU64::new(0);
    let (done, touched) = mpsc::channel();
    let work = &|done: mpsc::Sender<Vec<u8>>| {
        while !interrupted.load(Ordering::Acquire) && begun.fetch_add(1, Ordering::Relaxed) < blocks {
            let mut block = vec![0; (BLOCK_MIB << 20) as usize - HEADER_BYTES];
            block.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
            // Who listens ends after all who send.
            let _ = done.send(block);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let done = done.clone();
            scope.spawn(move || work(done));
        }
        drop(done);
        // All are held until the last one is there: what was free again would be given out again.
        let (mut held, mut told) = (Vec::new(), Instant::now());
        for block in touched {
            held.push(block);
            if told.elapsed() >= TOLD_EVERY {
                tell(held.len() as u64 * BLOCK_MIB);
                told = Instant::now();
            }
        }
    });
    !interrupted.load(Ordering::Acquire)
}

/// Tells the allocator to give nothing back to the system.
#[allow(unsafe_code)]
fn keep_what_is_free() {
    // SAFETY: the call writes one of the allocator's settings, one word, which it reads whenever memory becomes free. It is called
    // before a run has threads that free any. -1 is the documented value for never.
    unsafe { mi_option_set(PURGE_DELAY, -1) }
}

/// What a worker takes that has nothing to do, in MiB: measured with 32 to 512 workers. The allocator keeps memory of many sizes
/// at hand for each thread.
const WORKER_MIB: u64 = 8;

/// What all channels from one worker to one other take, in KiB, measured likewise: each exchange of the graph has one.
const CHANNELS_KIB: u64 = 10;

/// About how much memory the workers of a process take before there is any state, in MiB: it grows with the square of their
/// number.
pub fn workers_mib(threads: usize, processes: usize) -> u64 {
    let (here, peers) = (threads as u64, (threads as u64).saturating_mul(processes as u64));
    let channels_mib = here.saturating_mul(peers).saturating_mul(CHANNELS_KIB) >> 10;
    channels_mib.saturating_add(here.saturating_mul(WORKER_MIB))
}

/// What this process may still take, where the system tells.
pub fn available_mib() -> Option<u64> {
    let read = |path| std::fs::read_to_string(path).ok();
    let of_system = kilobytes(&read("/proc/meminfo")?, "MemAvailable:")? >> 10;
    let of_group = group_room_mib(
        &read("/sys/fs/cgroup/memory.max").unwrap_or_default(),
        &read("/sys/fs/cgroup/memory.current").unwrap_or_default(),
    );
    Some(of_group.map_or(of_system, |room| room.min(of_system)))
}

/// What a control group leaves; nothing where it sets no bound.
fn group_room_mib(max: &str, current: &str) -> Option<u64> {
    let (max, current): (u64, u64) = (max.trim().parse().ok()?, current.trim().parse().ok()?);
    Some(max.saturating_sub(current) >> 20)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_is_the_least_that_system_and_group_leave() {
        let text = "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:   20480000 kB\n";
        assert_eq!(kilobytes(text, "MemAvailable:"), Some(20_480_000));
        assert_eq!(group_room_mib("max\n", "123\n"), None);
        assert_eq!(group_room_mib("1073741824\n", "536870912\n"), Some(512));
        assert_eq!(group_room_mib("1000\n", "5000\n"), Some(0));
    }

    #[test]
    fn memory_of_workers_is_about_what_was_measured() {
        // 268, 1,056, 2,503 and 6,143 MB.
        assert_eq!([32, 128, 256, 512].map(|threads| workers_mib(threads, 1)), [266, 1_184, 2_688, 6_656]);
        assert_eq!(workers_mib(512, 2), 9_216);
        assert!(workers_mib(1_024, usize::MAX) > 1 << 40, "no more than a number");
    }

    /// A version of the allocator that numbers its settings otherwise is found out here.
    #[test]
    #[allow(unsafe_code)]
    fn the_setting_is_the_one_that_is_meant() {
        // SAFETY: the call reads a setting.
        let delay_ms = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert!([1_000, -1].contains(&delay_ms()), "{}", delay_ms());
        keep_what_is_free();
        assert_eq!(delay_ms(), -1);
    }

    #[test]
    fn all_of_it_is_taken_or_none_is_reported() {
        let all = AtomicBool::new(false);
        assert!(touch(70, &all, &mut |_| {}) && reserve(3, &all, |_| {}).expect("there is as much as that"));
        assert!(!touch(70, &AtomicBool::new(true), &mut |_| {}));
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let refused = reserve(1 << 40, &AtomicBool::new(false), |_| {}).expect_err("there is not as much as that");
        assert!(refused.to_string().starts_with("--reserve-mib 1099511627776: only "), "{refused}");
        assert!(reserve(0, &AtomicBool::new(true), |_| {}).is_ok_and(|done| done));
    }
}
