//! Time as it is told: one test for each sentence of the rules of lanes, verdicts, floors, minting and the remap log.
//!
//! No worker and no thread: judges, watermarks, the minter and the timekeeper are state machines, and a test tells them a
//! story. What an engine does with the same rules on many workers is tested with the domain.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on says so by stopping")]
#![allow(unreachable_pub, reason = "the modules of one test binary are public to each other")]

mod time {
    mod added;
    mod evidence;
    mod floors;
    mod invariant;
    mod lanes;
    mod log_time;
    mod minting;
    mod story;
    mod timekeeping;
    mod verdicts;
}
