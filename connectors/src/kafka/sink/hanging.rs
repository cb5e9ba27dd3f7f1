//! Whether a transaction that hangs in some partitions of a shard was committed in others.
//!
//! Nothing of it was acknowledged, so the outbox holds all of it, and it may be aborted wherever it hangs, unless a part of it is
//! there for everybody to see. Progress is a part of every transaction, and ticks ascend:
//!
//! | part | is of a tick | then |
//! |---|---|---|
//! | hanging | below the newest committed progress | the progress that covers it is committed |
//! | hanging | at it or above | the progress is not: that was aborted, or hangs, too |
//! | ended | below the newest committed progress | it is of an earlier transaction |
//! | ended | at it or above | progress does not cover it yet: that hangs, and this is committed |
//!
//! In the middle of a tick that progress covers in part, nobody can tell.

use operators::delivery::Progress;
use operators::time::Tick;

/// What is seen of a view's partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The first message of what hangs there.
    Hanging(Tick),
    /// The last committed message, where nothing hangs.
    Ended(Tick),
}

/// Whether a part of a hanging transaction is committed, or nobody can tell.
pub(super) fn may_be_committed(newest: Option<&Progress>, part: Part) -> bool {
    let (covered_below, sent) = newest.map_or((0, 0), |progress| (progress.tick, progress.sent));
    match part {
        Part::Hanging(tick) => tick < covered_below || tick == covered_below && sent > 0,
        Part::Ended(tick) => tick >= covered_below,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(tick: Tick, sent: u32) -> Progress {
        Progress { tick, sent, ..Progress::default() }
    }

    #[test]
    fn what_progress_covers_is_committed() {
        let newest = progress(8, 0);
        assert!(may_be_committed(Some(&newest), Part::Hanging(7)));
        assert!(!may_be_committed(Some(&newest), Part::Hanging(8)));
        assert!(!may_be_committed(None, Part::Hanging(0)));
    }

    #[test]
    fn what_is_seen_before_its_progress_is_committed() {
        let newest = progress(8, 0);
        assert!(!may_be_committed(Some(&newest), Part::Ended(7)));
        assert!(may_be_committed(Some(&newest), Part::Ended(8)));
        assert!(may_be_committed(None, Part::Ended(0)));
    }

    #[test]
    fn in_the_middle_of_a_tick_nobody_can_tell() {
        let newest = progress(8, 3);
        assert!(may_be_committed(Some(&newest), Part::Hanging(8)));
        assert!(may_be_committed(Some(&newest), Part::Ended(8)));
        assert!(!may_be_committed(Some(&newest), Part::Hanging(9)));
    }
}
