//! The numbers of a gap-free stream that were seen, exactly and for ever.
//!
//! Nearly all numbers come nearly in order, so the newest ones are bits in a window that lies in one or two cache lines with
//! the rest of the stream; only what the window has passed becomes intervals, a word of 64 numbers at a time. (A prototype
//! took 46 ns a number with intervals alone at some hundred gaps in each of 22,000 streams, and 6 ns with a window.)

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::movement::Movement;
use super::table::Kept;

/// A set of numbers as disjoint intervals `first..=last` that never touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intervals(BTreeMap<u64, u64>);

impl Intervals {
    /// Adds a number; says whether it was absent.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let before = self.0.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| number <= last) {
            return false;
        }
        let after = number.checked_add(1).and_then(|next| self.0.remove(&next));
        let last = after.unwrap_or(number);
        match before {
            Some((first, end)) if end.checked_add(1) == Some(number) => self.0.insert(first, last),
            _ => self.0.insert(number, last),
        };
        true
    }

    /// Adds numbers that all lie behind those that it has.
    fn append(&mut self, first: u64, last: u64) {
        match self.0.last_entry() {
            Some(mut end) if end.get().checked_add(1) == Some(first) => *end.get_mut() = last,
            _ => drop(self.0.insert(first, last)),
        }
    }

    /// The first interval.
    fn first(&self) -> Option<(u64, u64)> {
        self.0.first_key_value().map(|(first, last)| (*first, *last))
    }

    /// Whether it has a number.
    fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// The greatest number in the set.
    fn greatest(&self) -> Option<u64> {
        self.0.last_key_value().map(|(_, last)| *last)
    }

    /// The number of intervals.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Words of the window: so many times 64 numbers may be on their way at once without becoming intervals.
const WORDS: usize = 4;

/// The numbers of a stream that were seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    /// The window begins at 64 times this.
    base: u64,
    window: [u64; WORDS],
    /// What lies before the window.
    before: Intervals,
    /// The number behind the greatest; 0 before the first one.
    next: u64,
    /// What is to be told of it.
    pub(super) movement: Movement,
}

impl Stream {
    /// Adds a number; says whether it was absent.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        if number >= self.next {
            // Nothing comes behind the last number that there is, so it matters little that it begins anew there.
            self.next = number.wrapping_add(1);
        }
        let word = number / 64;
        if word < self.base {
            return self.before.insert(number);
        }
        if word - self.base >= WORDS as u64 {
            self.slide(word - (WORDS as u64 - 1));
        }
        let (word, bit) = (&mut self.window[(word - self.base) as usize], 1 << (number % 64));
        let absent = *word & bit == 0;
        *word |= bit;
        absent
    }

    /// Moves the window forward; what it leaves behind becomes intervals.
    fn slide(&mut self, base: u64) {
        let passed = usize::try_from(base - self.base).unwrap_or(WORDS).min(WORDS);
        for (place, bits) in (0..).zip(&self.window[..passed]) {
            each_run(*bits, |first, last| {
                let start = (self.base + place) * 64;
                self.before.append(start + first, start + last);
            });
        }
        self.window.copy_within(passed.., 0);
        self.window[WORDS - passed..].fill(0);
        self.base = base;
    }

    /// The number behind the greatest; 0 before the first one.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The greatest number.
    pub(super) fn greatest(&self) -> Option<u64> {
        let last = self.window.iter().rposition(|bits| *bits != 0);
        let of_window = last.map(|place| (self.base + place as u64) * 64 + u64::from(self.window[place].ilog2()));
        of_window.or_else(|| self.before.greatest())
    }

    /// Whether it has a number.
    pub(super) fn contains(&self, number: u64) -> bool {
        let word = number / 64;
        if word < self.base {
            return self.before.contains(number);
        }
        let bits = usize::try_from(word - self.base).ok().and_then(|place| self.window.get(place));
        bits.is_some_and(|bits| bits & (1 << (number % 64)) != 0)
    }

    /// The first number.
    fn first(&self) -> Option<u64> {
        self.before.first().map(|(first, _)| first).or_else(|| self.first_in_window())
    }

    fn first_in_window(&self) -> Option<u64> {
        let mut words = (self.base..).zip(&self.window);
        words.find(|(_, bits)| **bits != 0).map(|(word, bits)| word * 64 + u64::from(bits.trailing_zeros()))
    }

    /// The least number that is missing behind the first one; there is always one, behind the greatest.
    pub(super) fn first_missing(&self) -> Option<u64> {
        let mut number = match self.before.first() {
            Some((_, last)) => last.checked_add(1)?,
            None => self.first_in_window()?,
        };
        while self.contains(number) {
            // To the end of the run of ones in this word.
            let ones = (!(self.window[(number / 64 - self.base) as usize] >> (number % 64))).trailing_zeros();
            number = number.checked_add(u64::from(ones.min(64 - (number % 64) as u32)))?;
        }
        Some(number)
    }

    /// The numbers that are missing between others from now on if this one comes now.
    pub(super) fn opens(&self, number: u64) -> Option<(u64, u64)> {
        let first = self.first()?;
        if number > self.next {
            return Some((self.next, number));
        }
        let before = number.checked_add(1)?;
        (before < first).then_some((before, first))
    }

    /// All numbers, as intervals: what a checkpoint has.
    pub(super) fn intervals(&self) -> Intervals {
        let mut all = self.clone();
        all.slide(self.base + WORDS as u64);
        all.before
    }

    /// What it owns beside itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.before.len() * 2 * size_of::<u64>()
    }

    /// How many intervals that would be.
    pub(super) fn len(&self) -> usize {
        let reaches = self.before.greatest().is_some_and(|greatest| greatest.checked_add(1) == Some(self.base * 64));
        let mut carry = u64::from(reaches);
        let begun = self.window.iter().map(|bits| {
            let begins = bits & !(bits << 1 | carry);
            carry = bits >> 63;
            begins.count_ones() as usize
        });
        self.before.len() + begun.sum::<usize>()
    }
}

impl Kept for Stream {
    const VACANT: Stream = Stream {
        base: u64::MAX,
        window: [0; WORDS],
        before: Intervals(BTreeMap::new()),
        next: 0,
        movement: Movement::NONE,
    };

    /// No window begins at a word that is beyond all numbers.
    fn is_vacant(&self) -> bool {
        self.base == u64::MAX
    }
}

impl From<Intervals> for Stream {
    fn from(intervals: Intervals) -> Self {
        let greatest = intervals.greatest();
        let base = greatest.map_or(0, |greatest| (greatest / 64).saturating_sub(WORDS as u64 - 1));
        let next = greatest.map_or(0, |greatest| greatest.wrapping_add(1));
        let mut stream = Stream { base, next, ..Stream::default() };
        for (first, last) in intervals.0 {
            if first / 64 < base {
                stream.before.append(first, last.min(base * 64 - 1));
            }
            // At most a window's worth of numbers.
            for number in first.max(base * 64)..=last {
                stream.insert(number);
            }
        }
        stream
    }
}

/// Gives the runs of ones in a word.
fn each_run(mut bits: u64, mut give: impl FnMut(u64, u64)) {
    let mut at = 0;
    while bits != 0 {
        let zeros = bits.trailing_zeros();
        bits >>= zeros;
        let ones = bits.trailing_ones();
        at += zeros;
        give(u64::from(at), u64::from(at + ones - 1));
        bits = bits.checked_shr(ones).unwrap_or(0);
        at += ones;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Numbers of streams that lose, repeat, jump and come late, near the ends of the range, too.
    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let from = prop_oneof![Just(0), Just(63), Just(1 << 40), Just(u64::MAX - 3_000)];
        let step = (0u64..3_000, prop::collection::vec(0u64..900, 0..3));
        let steps = prop::collection::vec(prop_oneof![(0u64..70, Just(Vec::new())), step], 0..60);
        (from, steps).prop_map(|(from, steps)| {
            let mut next = from;
            let mut numbers = Vec::new();
            for (more, late) in steps {
                let run = more.min(70);
                numbers.extend((0..run).map(|ahead| next.saturating_add(ahead)));
                next = next.saturating_add(more);
                numbers.extend(late.into_iter().map(|late| next.saturating_sub(late)));
            }
            numbers
        })
    }

    proptest! {
        #[test]
        fn a_stream_is_a_set(numbers in numbers()) {
            let (mut stream, mut intervals, mut set) = (Stream::default(), Intervals::default(), BTreeSet::new());
            for number in numbers {
                let absent = set.insert(number);
                prop_assert_eq!(stream.insert(number), absent);
                prop_assert_eq!(intervals.insert(number), absent);
                prop_assert_eq!(stream.len(), intervals.len());
                prop_assert_eq!((stream.greatest(), stream.first()), (set.last().copied(), set.first().copied()));
                prop_assert!(stream.contains(number) && stream.contains(number ^ 1) == set.contains(&(number ^ 1)));
                let missing = intervals.first().and_then(|(_, last)| last.checked_add(1));
                prop_assert_eq!(stream.first_missing(), missing);
            }
            prop_assert_eq!(&stream.intervals(), &intervals);
            let runs = set.iter().filter(|&&number| number == 0 || !set.contains(&(number - 1))).count();
            prop_assert_eq!(intervals.len(), runs);
            // A restored stream goes on as the one that was saved.
            let mut restored = Stream::from(intervals.clone());
            prop_assert_eq!(&restored.intervals(), &intervals);
            for number in set.iter().flat_map(|number| [*number, number.saturating_add(1), number / 2]).collect::<Vec<_>>() {
                prop_assert_eq!(restored.insert(number), set.insert(number));
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_range_hold() {
        let (mut stream, mut intervals) = (Stream::default(), Intervals::default());
        for number in [u64::MAX, 0, u64::MAX - 1] {
            assert!(stream.insert(number) && intervals.insert(number));
        }
        assert!(!stream.insert(u64::MAX) && !intervals.insert(u64::MAX));
        assert_eq!((stream.len(), intervals.len()), (2, 2));
        assert_eq!(stream.intervals(), intervals);
    }

    #[test]
    fn runs_are_found() {
        let runs = |bits| {
            let mut runs = Vec::new();
            each_run(bits, |first, last| runs.push((first, last)));
            runs
        };
        assert_eq!((runs(0), runs(u64::MAX)), (vec![], vec![(0, 63)]));
        assert_eq!(runs(1 << 63 | 0b1101), [(0, 0), (2, 3), (63, 63)]);
    }
}
