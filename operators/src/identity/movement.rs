//! Which streams moved, and what of that was told: see [`streams`](crate::streams). No verdict depends on it, and no
//! checkpoint has it.

use super::stream::Stream;
use super::table::IdTable;
use crate::streams::{NumberRuns, StreamReport};
use crate::time::{MINUS_INFINITY, Tick, TimeMs, minute_of};

/// A minute in which nothing was told.
const NEVER: u32 = u32::MAX;

/// What is to be told of a stream.
#[derive(Clone, Debug)]
pub(super) struct Movement {
    event_time_ms: TimeMs,
    moved_ms: TimeMs,
    /// The last minute in which it moved and that was told in the same tick.
    told_minute: u32,
    /// Its place, from 1, among the streams that are told of at the end of this tick; 0 if it is none of them.
    place: u32,
    /// Whether it moved since it was told of.
    is_untold: bool,
    /// Whether it is in the list of those that may have to be told of when the minute ends.
    is_listed: bool,
    is_named: bool,
}

impl Movement {
    pub(super) const NONE: Movement = Movement {
        event_time_ms: MINUS_INFINITY,
        moved_ms: MINUS_INFINITY,
        told_minute: NEVER,
        place: 0,
        is_untold: false,
        is_listed: false,
        is_named: false,
    };
}

impl Default for Movement {
    fn default() -> Self {
        Movement::NONE
    }
}

/// The streams of a set of identities that have to be told of.
#[derive(Debug)]
pub(super) struct Watch {
    tick: Tick,
    now_ms: TimeMs,
    minute: u32,
    is_new_minute: bool,
    /// At the end of this tick, and what opened in them.
    now: Vec<(u128, NumberRuns)>,
    /// When the minute ends; some were told of since.
    later: Vec<u128>,
    /// A stream that is told of at the end of this tick and was never told of before.
    unnamed: Option<u128>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Watch {
            tick: 0,
            now_ms: MINUS_INFINITY,
            minute: NEVER,
            is_new_minute: false,
            now: Vec::new(),
            later: Vec::new(),
            unnamed: None,
        }
    }

    pub(super) fn begin_tick(&mut self, tick: Tick, now_ms: TimeMs) {
        let minute = minute_of(now_ms) as u32;
        (self.tick, self.now_ms, self.is_new_minute, self.minute) = (tick, now_ms, minute != self.minute, minute);
    }

    /// Takes note of a number that comes next; it is not in the stream yet, unless it was there before.
    #[inline]
    pub(super) fn moves(&mut self, stream: u128, numbers: &mut Stream, number: u64, event_time_ms: TimeMs) {
        let is_next = number == numbers.next();
        let movement = &mut numbers.movement;
        movement.moved_ms = self.now_ms;
        movement.event_time_ms = movement.event_time_ms.max(event_time_ms);
        movement.is_untold = true;
        if is_next && movement.told_minute == self.minute {
            return self.tell_later(stream, movement);
        }
        self.moves_otherwise(stream, numbers, number);
    }

    /// The number is out of order, or the first one in this minute.
    fn moves_otherwise(&mut self, stream: u128, numbers: &mut Stream, number: u64) {
        let changes_gaps = number != numbers.next() && !numbers.contains(number);
        let opened = numbers.opens(number);
        let movement = &mut numbers.movement;
        if movement.told_minute == self.minute && !changes_gaps {
            return self.tell_later(stream, movement);
        }
        if movement.place == 0 {
            self.now.push((stream, NumberRuns::new()));
            movement.place = u32::try_from(self.now.len()).expect("a tick has fewer records than that");
            if !std::mem::replace(&mut movement.is_named, true) {
                self.unnamed = Some(stream);
            }
        }
        self.now[movement.place as usize - 1].1.extend(opened);
    }

    #[inline]
    fn tell_later(&mut self, stream: u128, movement: &mut Movement) {
        if !movement.is_listed {
            movement.is_listed = true;
            self.later.push(stream);
        }
    }

    pub(super) fn take_unnamed(&mut self) -> Option<u128> {
        self.unnamed.take()
    }

    /// Ends a tick: gives what is to be told now, or everything that is not told yet.
    pub(super) fn end_tick(
        &mut self,
        streams: &mut IdTable<Stream>,
        everything: bool,
        mut give: impl FnMut(StreamReport<u128>),
    ) {
        let tick = self.tick;
        for (stream, opened) in self.now.drain(..) {
            let numbers = streams.get_mut(stream).expect("a stream that moved is remembered for ever");
            (numbers.movement.place, numbers.movement.told_minute) = (0, self.minute);
            give(report(stream, numbers, tick, opened));
        }
        if everything || self.is_new_minute {
            for stream in self.later.drain(..) {
                let numbers = streams.get_mut(stream).expect("a stream that moved is remembered for ever");
                numbers.movement.is_listed = false;
                if numbers.movement.is_untold {
                    give(report(stream, numbers, tick, NumberRuns::new()));
                }
            }
        }
    }
}

fn report(stream: u128, numbers: &mut Stream, tick: Tick, opened: NumberRuns) -> StreamReport<u128> {
    let movement = &mut numbers.movement;
    movement.is_untold = false;
    let event_time_ms = std::mem::replace(&mut movement.event_time_ms, MINUS_INFINITY);
    let moved_ms = movement.moved_ms;
    let gaps = numbers.len().saturating_sub(1) as u64;
    let first_missing = if gaps > 0 { numbers.first_missing() } else { None };
    let greatest = numbers.greatest().unwrap_or_default();
    StreamReport { stream, tick, greatest, gaps, first_missing, event_time_ms, moved_ms, opened }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::Identities;
    use super::*;
    use crate::record::Identity;
    use crate::time::MINUTE_MS;

    /// What is known of a stream by keeping all of it.
    #[derive(Default)]
    struct Known {
        numbers: BTreeSet<u64>,
        event_time_ms: Option<TimeMs>,
        moved_ms: TimeMs,
        moved_in: Option<i64>,
    }

    impl Known {
        fn missing(&self) -> Vec<u64> {
            let ends = (self.numbers.first().copied(), self.numbers.last().copied());
            let (Some(first), Some(last)) = ends else { return Vec::new() };
            (first..last).filter(|number| !self.numbers.contains(number)).collect()
        }

        fn gaps(&self) -> u64 {
            self.missing().iter().filter(|number| self.numbers.contains(&(**number - 1))).count() as u64
        }
    }

    /// A number of a stream in a tick.
    type Step = (u128, u64, TimeMs);

    fn ticks() -> impl Strategy<Value = Vec<(i64, bool, Vec<Step>)>> {
        let number = prop_oneof![3 => 0u64..12, 1 => 60u64..70, 1 => 300u64..303];
        let tick = (0i64..40_000, any::<bool>(), prop::collection::vec((0u128..3, number, 0i64..100), 0..6));
        prop::collection::vec(tick, 1..30)
    }

    proptest! {
        /// After each tick, whoever heard every report knows the gaps of each stream; at the first tick of a minute and where
        /// everything is told, also how far it was at the end of the tick before, or in this one.
        #[test]
        fn whoever_listens_knows(ticks in ticks()) {
            let mut identities = Identities::default();
            let mut known: BTreeMap<u128, Known> = BTreeMap::new();
            let mut heard: BTreeMap<u128, StreamReport<u128>> = BTreeMap::new();
            let mut latest: BTreeMap<u128, TimeMs> = BTreeMap::new();
            let (mut now_ms, mut minute) = (1_000 * MINUTE_MS, None);
            for (tick, (later_ms, everything, steps)) in (1..).zip(ticks) {
                now_ms += later_ms;
                let is_new_minute = minute.replace(minute_of(now_ms)) != Some(minute_of(now_ms));
                identities.begin_tick(tick, now_ms);
                let before: BTreeMap<u128, Vec<u64>> =
                    known.iter().map(|(stream, known)| (*stream, known.missing())).collect();
                let mut moved = BTreeSet::new();
                for (stream, number, event_time_ms) in steps {
                    let known = known.entry(stream).or_default();
                    identities.admit(Identity::Sequence { stream, sequence: number }, event_time_ms, 0);
                    known.numbers.insert(number);
                    known.event_time_ms = known.event_time_ms.max(Some(event_time_ms));
                    known.moved_ms = now_ms;
                    moved.insert(stream);
                }
                let mut told = BTreeSet::new();
                identities.end_tick(everything, |report| {
                    assert!(told.insert(report.stream), "a stream is told of once a tick");
                    let greatest = latest.entry(report.stream).or_insert(MINUS_INFINITY);
                    *greatest = report.event_time_ms.max(*greatest);
                    heard.insert(report.stream, report);
                });
                for (stream, known) in &mut known {
                    let report = &heard[stream];
                    let missing = known.missing();
                    prop_assert_eq!((report.gaps, report.first_missing), (known.gaps(), missing.first().copied()));
                    // What is missing now and was not before lies in what opened in this tick.
                    let none = Vec::new();
                    let before = before.get(stream).unwrap_or(&none);
                    for number in missing.iter().filter(|number| !before.contains(number)) {
                        let within = report.opened.iter().any(|(from, upto)| (from..upto).contains(&number));
                        prop_assert!(report.tick == tick && within, "{} opened unheard: {:?}", number, report);
                    }
                    let is_first = moved.contains(stream) && known.moved_in.replace(minute_of(now_ms)) != minute;
                    prop_assert!(!is_first || report.tick == tick);
                    if is_first || is_new_minute || everything {
                        let ours = (report.greatest, report.moved_ms, Some(latest[stream]));
                        let last = *known.numbers.last().unwrap();
                        prop_assert_eq!(ours, (last, known.moved_ms, known.event_time_ms));
                    }
                }
            }
        }
    }

    /// Records in order are told of twice a minute, whatever the ticks: the first one, and how far it came.
    #[test]
    fn records_in_order_are_told_of_twice_a_minute() {
        let mut identities = Identities::default();
        let mut reports = Vec::new();
        for tick in 0..240 {
            identities.begin_tick(tick, tick as i64 * 1_000);
            for number in tick * 3..tick * 3 + 3 {
                identities.admit(Identity::Sequence { stream: 7, sequence: number }, number as i64, 0);
                let is_first = (tick, number) == (0, 0);
                assert_eq!(identities.take_unnamed(), is_first.then_some(7));
            }
            identities.end_tick(false, |report| reports.push((tick, report.greatest)));
        }
        // A tick that begins a minute tells of both at once.
        assert_eq!(reports, [(0, 2), (60, 182), (120, 362), (180, 542)]);
    }
}
