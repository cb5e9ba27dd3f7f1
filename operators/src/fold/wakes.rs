//! When keys are due: queues by time, and what a table's entry remembers of its position in them.

use std::collections::BTreeMap;

use super::Wake;
use super::states::Position;
use crate::time::{MINUTE_MS, TimeMs};
use crate::topology::GroupId;

/// A [`Wake`], or none, in 8 bytes: an entry has two of them, and memory is what a fold pays with. From the top: 16 bits
/// of the group, all ones for `now`; 48 bits of the time. Times before 1935 and after 10,854 are taken for these years:
/// no record comes from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackedWake(u64);

const TIME_BITS: u32 = 48;
const NOW: u16 = u16::MAX;
const LEAST_MS: TimeMs = -(1 << 40);
const GREATEST_MS: TimeMs = (1 << TIME_BITS) - 2 + LEAST_MS;

impl PackedWake {
    /// The wake that is never due.
    pub const NEVER: PackedWake = PackedWake(0);

    /// Packs a wake, or none, into 8 bytes.
    pub fn new(wake: Option<Wake>) -> PackedWake {
        let (group, at_ms) = match wake {
            None => return PackedWake::NEVER,
            Some(Wake::Watermark(group, at_ms)) => (group.0, at_ms),
            Some(Wake::Now(at_ms)) => (NOW, at_ms),
        };
        let time = (at_ms.clamp(LEAST_MS, GREATEST_MS) - LEAST_MS + 1).cast_unsigned();
        PackedWake(u64::from(group) << TIME_BITS | time)
    }

    /// The wake that was packed, if it is any.
    pub fn get(self) -> Option<Wake> {
        let time = self.0 & ((1 << TIME_BITS) - 1);
        if time == 0 {
            return None;
        }
        let at_ms = time.cast_signed() - 1 + LEAST_MS;
        let group = (self.0 >> TIME_BITS) as u16;
        Some(if group == NOW { Wake::Now(at_ms) } else { Wake::Watermark(GroupId(group), at_ms) })
    }

    /// Whether the time of the wake has come.
    pub fn is_due(self, now_ms: TimeMs, watermarks: &[TimeMs]) -> bool {
        match self.get() {
            None => false,
            Some(Wake::Watermark(group, at_ms)) => watermarks[group.0 as usize] >= at_ms,
            Some(Wake::Now(at_ms)) => now_ms >= at_ms,
        }
    }
}

/// Keys by when they are due: by group, then by time, which is the order of packed wakes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    by_wake: BTreeMap<PackedWake, Vec<Position>>,
    /// What was put in since somebody looked: there are few different wakes among many, so that sorting them all at once
    /// costs less than finding the position of each.
    fresh: Vec<(PackedWake, Position)>,
}

impl Queue {
    /// Puts a key in, if it is due at all.
    pub(super) fn push(&mut self, wake: PackedWake, position: Position) {
        if wake != PackedWake::NEVER {
            self.fresh.push((wake, position));
        }
    }

    /// Takes up to `most` positions whose time has come.
    pub(super) fn due(&mut self, now_ms: TimeMs, watermarks: &[TimeMs], most: usize) -> Vec<Position> {
        self.fresh.sort_unstable_by_key(|(wake, _)| *wake);
        for alike in self.fresh.chunk_by(|(one, _), (next, _)| one == next) {
            self.by_wake.entry(alike[0].0).or_default().extend(alike.iter().map(|(_, position)| *position));
        }
        self.fresh.clear();
        let mut taken = Vec::new();
        let reached = (0u16..).map(GroupId).zip(watermarks);
        let bounds =
            reached.map(|(group, at_ms)| (*at_ms, Wake::Watermark(group, TimeMs::MIN), Wake::Watermark(group, *at_ms)));
        let now = (now_ms, Wake::Now(TimeMs::MIN), Wake::Now(now_ms));
        // A time before the least that can be packed is no time yet: nothing is due at it.
        for (_, from, upto) in bounds.chain([now]).filter(|(at_ms, ..)| *at_ms >= LEAST_MS) {
            let (from, upto) = (PackedWake::new(Some(from)), PackedWake::new(Some(upto)));
            while let Some((&wake, _)) = self.by_wake.range(from..=upto).next() {
                let positions = self.by_wake.get_mut(&wake).expect("it was looked at just now");
                let room = most - taken.len();
                if positions.len() > room {
                    taken.extend(positions.drain(positions.len() - room..));
                    return taken;
                }
                taken.append(positions);
                self.by_wake.remove(&wake);
            }
        }
        taken
    }
}

/// Forgetting has time until the next full minute, so that few queues hold many keys.
pub(super) fn coarse(wake: Wake) -> Wake {
    let up = |at_ms: TimeMs| {
        if at_ms == TimeMs::MIN {
            at_ms
        } else {
            at_ms.saturating_add(MINUTE_MS - 1).div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS)
        }
    };
    match wake {
        Wake::Watermark(group, at_ms) => Wake::Watermark(group, up(at_ms)),
        Wake::Now(at_ms) => Wake::Now(up(at_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_packed_wake_is_the_wake(group in 0..NOW, at_ms in LEAST_MS..=GREATEST_MS, now: bool) {
            let wake = Some(if now { Wake::Now(at_ms) } else { Wake::Watermark(GroupId(group), at_ms) });
            prop_assert_eq!(PackedWake::new(wake).get(), wake);
        }
    }

    proptest! {
        /// What a queue gives is what is due, once, whatever else is in it, and at the ends of time.
        #[test]
        fn a_queue_gives_what_is_due(
            wakes in prop::collection::vec((0u16..3, any::<bool>(), 0usize..TIMES.len()), 0..60),
            looks in prop::collection::vec((0usize..TIMES.len(), prop::collection::vec(0usize..TIMES.len(), 3)), 1..6),
        ) {
            let (mut queue, mut waiting) = (Queue::default(), Vec::new());
            let mut wakes = wakes.into_iter().enumerate().map(|(slot, (group, is_now, time))| {
                let at_ms = TIMES[time];
                let wake = if is_now { Wake::Now(at_ms) } else { Wake::Watermark(GroupId(group), at_ms) };
                (PackedWake::new(Some(wake)), Position { shard: 0, slot: slot as u32 })
            });
            for (now, watermarks) in looks {
                for (wake, position) in wakes.by_ref().take(15) {
                    queue.push(wake, position);
                    waiting.push((wake, position));
                }
                let (now_ms, watermarks) = (TIMES[now], watermarks.into_iter().map(|time| TIMES[time]).collect::<Vec<_>>());
                let mut taken = queue.due(now_ms, &watermarks, 7);
                taken.extend(queue.due(now_ms, &watermarks, usize::MAX));
                taken.sort_unstable();
                let due: Vec<Position> =
                    waiting.extract_if(.., |(wake, _)| wake.is_due(now_ms, &watermarks)).map(|(_, position)| position).collect();
                prop_assert_eq!(taken, due);
            }
        }
    }

    const TIMES: [TimeMs; 8] =
        [TimeMs::MIN, TimeMs::MIN + 1, LEAST_MS - 1, LEAST_MS, -5, 1_700_000_000_000, GREATEST_MS, TimeMs::MAX];

    #[test]
    fn the_ends_of_time_are_clamped() {
        let packed = |at_ms| PackedWake::new(Some(Wake::Now(at_ms)));
        assert_eq!(packed(TimeMs::MIN).get(), Some(Wake::Now(LEAST_MS)));
        assert_eq!(packed(TimeMs::MAX).get(), Some(Wake::Now(GREATEST_MS)));
        assert_eq!((PackedWake::new(None), PackedWake::NEVER.get()), (PackedWake::NEVER, None));
        assert!(!PackedWake::NEVER.is_due(TimeMs::MAX, &[]) && packed(5).is_due(5, &[]) && !packed(5).is_due(4, &[]));
    }
}
