//! The signals that a command hears: those that ask it to end, and the one of a file that may not grow.
//!
//! * SIGINT, SIGTERM and SIGHUP ask for an end in good order; the second one is not waited for. SIGHUP is left ignored where
//!   it was when the process began: `nohup` says so that a closed terminal is no reason to end.
//! * SIGXFSZ comes with a write beyond the limit of a file's size (`ulimit -f`), and would end the process within that write.
//!   Where it is heard, the write fails instead, with an error that whoever writes can name.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::terminal::say;

/// A write beyond the limit of a file's size. Linux has this number on every processor but MIPS.
const FILE_SIZE_EXCEEDED: SignalKind = SignalKind::from_raw(25);

/// The exit code of a process that was interrupted twice.
const INTERRUPTED_TWICE: i32 = 130;

/// From now on a file that may not grow is an error of whoever writes it.
pub(super) fn outlive_file_limit() -> io::Result<()> {
    let runtime = runtime()?;
    let _within = runtime.enter();
    // It stays heard when nobody waits for it any more.
    signal(FILE_SIZE_EXCEEDED).map(drop)
}

/// From now on `interrupted` is set when the process is asked to end. The second time it is meant: the process ends at once,
/// and whatever is durable stays so.
pub(super) fn listen(interrupted: Arc<AtomicBool>) -> io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let runtime = runtime()?;
    let within = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = match is_ignored(&status, SignalKind::hangup()) {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    drop(within);
    let hear = async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = heard(&mut hangup) => {}
            }
            if interrupted.swap(true, Ordering::AcqRel) {
                say("interrupted again, so nothing is waited for");
                std::process::exit(INTERRUPTED_TWICE);
            }
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || runtime.block_on(hear)).map(drop)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().build()
}

/// Returns when the signal comes; never, where it is not listened to.
async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// Whether a process ignores a signal, by what the system says of the process. A system that does not say is taken to hear it.
fn is_ignored(status: &str, kind: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_systems_words() {
        let status = |mask: &str| format!("Name:\taisle\nSigBlk:\tffffffffffffffff\nSigIgn:\t{mask}\nSigCgt:\t0\n");
        let (hangup, terminate) = (SignalKind::hangup(), SignalKind::terminate());
        let ignored = |mask: &str| (is_ignored(&status(mask), hangup), is_ignored(&status(mask), terminate));
        // Number 13, of a pipe that nobody reads, is ignored in every program of Rust.
        assert_eq!(ignored("0000000000001000"), (false, false));
        assert_eq!(ignored("0000000000001001"), (true, false));
        assert_eq!(ignored("0000000000004000"), (false, true));
        assert_eq!(ignored("what?"), (false, false));
        assert!(!is_ignored("", hangup));
    }
}
