//! What the minter knows of one partition: what its reader holds, and how much of it is bound.

use std::collections::VecDeque;

use crate::binding::Status;
use crate::time::TimeMs;

/// Records that a reader holds: they are bound together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granule {
    pub(super) end_offset: u64,
    pub(super) bytes: u64,
    pub(super) greatest_ms: TimeMs,
}

/// A partition.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) granules: VecDeque<Granule>,
    pub(super) bound: u64,
    pub(super) status: Option<Status>,
    pub(super) bound_greatest_ms: Option<TimeMs>,
    pub(super) first_event_ms: Option<TimeMs>,
    pub(super) ended_at: Option<u64>,
    /// Offset and wall time of the last end-of-partition answer; none since a restart, a failure, a pause.
    pub(super) evidence: Option<(u64, TimeMs)>,
    pub(super) spoke_wall_ms: Option<TimeMs>,
    /// Bytes that its weight has earned and that it has not used: a granule larger than a share waits until they suffice.
    pub(super) credit_bytes: u64,
}

impl Held {
    /// Whether the last binding says that it has ended, or that there was no more to read.
    pub(super) fn is_read(&self) -> bool {
        match self.status {
            Some(Status::Ended) => true,
            // What an earlier run recorded is no evidence now.
            Some(Status::CaughtUp | Status::Idle) => self.evidence.is_some(),
            Some(Status::Behind) | None => false,
        }
    }

    pub(super) fn bytes_of(&self, granules: usize) -> u64 {
        self.granules.iter().take(granules).map(|granule| granule.bytes).sum()
    }

    pub(super) fn bound_upto(&mut self, offset: u64) {
        self.bound = offset;
        while let Some(granule) = self.granules.front()
            && granule.end_offset <= offset
        {
            self.bound_greatest_ms = self.bound_greatest_ms.max(Some(granule.greatest_ms));
            self.granules.pop_front();
        }
    }
}
