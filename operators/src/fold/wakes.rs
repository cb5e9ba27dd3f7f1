//! When keys are due: queues by time, and what a table's entry remembers of its place in them.

use std::collections::BTreeMap;

use super::Wake;
use super::table::Place;
use crate::time::{MINUTE_MS, TimeMs};
use crate::topology::GroupId;

/// A [`Wake`], or none, in 8 bytes: an entry has two of them, and memory is what a fold pays with. From the top: 16 bits
/// of the group, all ones for `now`; 48 bits of the time. Times before 1935 and after 10,854 are taken for these years:
/// no record comes from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackedWake(u64);

const TIME_BITS: u32 = 48;
const NOW: u16 = u16::MAX;
const LEAST_MS: TimeMs = -(1 << 40);
const GREATEST_MS: TimeMs = (1 << TIME_BITS) - 2 + LEAST_MS;

impl PackedWake {
    pub(super) const NEVER: PackedWake = PackedWake(0);

    pub(super) fn new(wake: Option<Wake>) -> PackedWake {
        let (group, at_ms) = match wake {
            None => return PackedWake::NEVER,
            Some(Wake::Watermark(group, at_ms)) => (group.0, at_ms),
            Some(Wake::Now(at_ms)) => (NOW, at_ms),
        };
        let time = (at_ms.clamp(LEAST_MS, GREATEST_MS) - LEAST_MS + 1).cast_unsigned();
        PackedWake(u64::from(group) << TIME_BITS | time)
    }

    pub(super) fn get(self) -> Option<Wake> {
        let time = self.0 & ((1 << TIME_BITS) - 1);
        if time == 0 {
            return None;
        }
        let at_ms = time.cast_signed() - 1 + LEAST_MS;
        let group = (self.0 >> TIME_BITS) as u16;
        Some(if group == NOW { Wake::Now(at_ms) } else { Wake::Watermark(GroupId(group), at_ms) })
    }

    pub(super) fn is_due(self, now_ms: TimeMs, watermarks: &[TimeMs]) -> bool {
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
    by_wake: BTreeMap<PackedWake, Vec<Place>>,
    /// What was put in since somebody looked: there are few different wakes among many, so that sorting them all at once
    /// costs less than finding the place of each.
    fresh: Vec<(PackedWake, Place)>,
}

impl Queue {
    /// Puts a key in, if it is due at all.
    pub(super) fn push(&mut self, wake: PackedWake, place: Place) {
        if wake != PackedWake::NEVER {
            self.fresh.push((wake, place));
        }
    }

    /// Takes up to `most` places whose time has come.
    pub(super) fn due(&mut self, now_ms: TimeMs, watermarks: &[TimeMs], most: usize) -> Vec<Place> {
        self.fresh.sort_unstable_by_key(|(wake, _)| *wake);
        for alike in self.fresh.chunk_by(|(one, _), (next, _)| one == next) {
            self.by_wake.entry(alike[0].0).or_default().extend(alike.iter().map(|(_, place)| *place));
        }
        self.fresh.clear();
        let mut taken = Vec::new();
        let groups = (0..watermarks.len() as u16).map(GroupId);
        let bounds = groups
            .map(|group| (Wake::Watermark(group, TimeMs::MIN), Wake::Watermark(group, watermarks[group.0 as usize])));
        for (from, upto) in bounds.chain([(Wake::Now(TimeMs::MIN), Wake::Now(now_ms))]) {
            let (from, upto) = (PackedWake::new(Some(from)), PackedWake::new(Some(upto)));
            while let Some((&wake, _)) = self.by_wake.range(from..=upto).next() {
                let places = self.by_wake.get_mut(&wake).expect("it was looked at just now");
                let room = most - taken.len();
                if places.len() > room {
                    taken.extend(places.drain(places.len() - room..));
                    return taken;
                }
                taken.append(places);
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

    #[test]
    fn the_ends_of_time_are_clamped() {
        let packed = |at_ms| PackedWake::new(Some(Wake::Now(at_ms)));
        assert_eq!(packed(TimeMs::MIN).get(), Some(Wake::Now(LEAST_MS)));
        assert_eq!(packed(TimeMs::MAX).get(), Some(Wake::Now(GREATEST_MS)));
        assert_eq!((PackedWake::new(None), PackedWake::NEVER.get()), (PackedWake::NEVER, None));
        assert!(!PackedWake::NEVER.is_due(TimeMs::MAX, &[]) && packed(5).is_due(5, &[]) && !packed(5).is_due(4, &[]));
    }
}
