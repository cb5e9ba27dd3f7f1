//! Memory that is taken before a run begins, so that no tick waits for it.
//!
//! State grows by touching memory for the first time, and each first touch is the system clearing pages, or, in a virtual
//! machine that gives free memory back to its host, the host finding them: milliseconds for two megabytes where that is slow,
//! which is as much as the engine takes for thousands of records. Who knows how much a run will hold takes it at the start
//! (`aisle run --reserve-mib`): it is touched once, by all cores, and given to the allocator, which never gives it back.
//! What is needed beyond it is taken as it is needed, as ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use memmap2::MmapMut;

/// How much is touched between two looks at whether the run was interrupted.
const SHARE_BYTES: usize = 64 << 20;

/// The least that the allocator takes at once.
pub const RESERVE_MIN_MIB: u64 = 64;

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
    /// The allocator takes no less than that.
    #[error("--reserve-mib {wanted_mib}: it must be 0 or at least {RESERVE_MIN_MIB}")]
    TooLittle {
        /// What was asked for.
        wanted_mib: u64,
    },
    /// The system refuses.
    #[error("could not take {wanted_mib} MiB of memory")]
    Refused {
        /// What was asked for.
        wanted_mib: u64,
        /// Why.
        source: std::io::Error,
    },
    /// The allocator refuses.
    #[error("the allocator could not use {wanted_mib} MiB of memory that it was given; ask for less, or for none")]
    Unused {
        /// What was asked for.
        wanted_mib: u64,
    },
}

impl ReserveError {
    /// Whether the command line asks for something that cannot be.
    pub fn is_usage(&self) -> bool {
        matches!(self, ReserveError::TooLittle { .. })
    }
}

/// Takes so much memory for the allocator of this process, which has to be mimalloc; says whether that was not interrupted.
/// `tell` hears now and then how many MiB there are by now. Costs what it saves later: some 0.2 s a GiB on a plain machine.
pub fn reserve(wanted_mib: u64, interrupted: &AtomicBool, mut tell: impl FnMut(u64)) -> Result<bool, ReserveError> {
    if wanted_mib == 0 {
        return Ok(true);
    }
    if wanted_mib < RESERVE_MIN_MIB {
        return Err(ReserveError::TooLittle { wanted_mib });
    }
    let available_mib = available_mib().unwrap_or(u64::MAX);
    if wanted_mib > available_mib {
        return Err(ReserveError::TooMuch { wanted_mib, available_mib });
    }
    let refused = |source| ReserveError::Refused { wanted_mib, source };
    let bytes = usize::try_from(wanted_mib << 20).map_err(|_| refused(std::io::ErrorKind::OutOfMemory.into()))?;
    let mut memory = MmapMut::map_anon(bytes).map_err(refused)?;
    // Where there are no huge pages, it works with small ones.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    if !touch(&mut memory, interrupted, &mut tell) {
        return Ok(false);
    }
    if give(memory) { Ok(true) } else { Err(ReserveError::Unused { wanted_mib }) }
}

/// Writes to every page, on all cores; says whether that was not interrupted.
fn touch(memory: &mut [u8], interrupted: &AtomicBool, tell: &mut impl FnMut(u64)) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let shares = Mutex::new(memory.chunks_mut(SHARE_BYTES));
    let (done, touched) = mpsc::channel();
    let work = |done: mpsc::Sender<usize>| {
        while !interrupted.load(Ordering::Acquire) {
            let Some(share) = shares.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
            share.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 0);
            // Who listens ends after all who send.
            let _ = done.send(share.len());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let done = done.clone();
            scope.spawn(|| work(done));
        }
        drop(done);
        let (mut bytes, mut told) = (0, Instant::now());
        for share in touched {
            bytes += share;
            if told.elapsed() >= TOLD_EVERY {
                tell((bytes >> 20) as u64);
                told = Instant::now();
            }
        }
    });
    !interrupted.load(Ordering::Acquire)
}

/// Gives memory to the allocator for good; says whether it took it.
#[allow(unsafe_code)]
fn give(memory: MmapMut) -> bool {
    let memory: &'static mut MmapMut = Box::leak(Box::new(memory));
    let (start, bytes) = (memory.as_mut_ptr(), memory.len());
    // It is there (committed), must not be unmapped or emptied in part (large), and holds nothing but zeros.
    let (committed, large, zero, any_node, exclusive) = (true, true, true, -1, false);
    // SAFETY: the mapping was leaked, so its pages stay mapped, readable and writable until the process ends; the only
    // reference to them ends above, with the pointer taken from it, so whatever the allocator writes there is seen by nobody
    // else. The mapping begins at a page: the allocator rounds it to its own bounds and refuses what is too small. It was
    // written with zeros only. The last argument may be null: nobody wants the arena's name.
    unsafe {
        libmimalloc_sys::mi_manage_os_memory_ex(
            start.cast_const().cast(),
            bytes,
            committed,
            large,
            zero,
            any_node,
            exclusive,
            std::ptr::null_mut(),
        )
    }
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
    fn every_share_is_touched_and_told() {
        let mut memory = vec![1; 2 * SHARE_BYTES + 3 * PAGE_BYTES];
        assert!(touch(&mut memory, &AtomicBool::new(false), &mut |_| {}));
        assert!(memory.chunks(PAGE_BYTES).all(|page| page[0] == 0));
        assert!(!touch(&mut memory, &AtomicBool::new(true), &mut |_| {}));
    }

    #[test]
    fn what_is_too_much_or_too_little_is_refused() {
        let refused = |mib| reserve(mib, &AtomicBool::new(false), |_| {}).expect_err("it is refused").to_string();
        assert!(refused(1).contains("at least 64"));
        assert!(refused(1 << 40).starts_with("--reserve-mib 1099511627776: only "));
        assert!(reserve(0, &AtomicBool::new(true), |_| {}).is_ok_and(|done| done));
    }

    #[test]
    fn the_allocator_takes_what_it_is_given() {
        assert!(reserve(128, &AtomicBool::new(false), |_| {}).expect("there is as much as that"));
    }
}
