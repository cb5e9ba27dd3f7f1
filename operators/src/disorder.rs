//! How far bounded input is out of order, and in which order its parts are best read.
//!
//! Whoever may read input before it is bound (a file, never a topic) can know how late its records would be. A part's
//! [`EventTimes`] are its earliest and latest event time and its **disorder**: the most that an event time lies behind the
//! greatest before it. Read with a lateness of its disorder no record of it is late, however it is divided into ticks: a
//! lane never stands further than the greatest event time of its partition, and a watermark never beyond a lane of the
//! partition less lateness ([`crate::watermark`]).
//!
//! [`in_order`] divides parts into partitions so that little has to be held: parts that follow each other in time are read
//! one after the other, in the order of time and not of names, and parts that overlap beside each other.
//!
//! # Example
//!
//! ```
//! use operators::disorder::{EventTimes, in_order};
//!
//! let day = |day: i64| (0..24).map(move |hour| (24 * day + hour) * 3_600_000).collect::<EventTimes>();
//! // By their names day 10 comes before day 2.
//! let files = [day(1), day(10), day(2)];
//! assert_eq!(in_order(&files.map(Some), 0, 16), [vec![0, 2, 1]]);
//! // Two halves of a day, line by line, are read beside each other.
//! let halves = [Some(day(1)), Some(day(1))];
//! assert_eq!(in_order(&halves, 0, 16), [vec![0], vec![1]]);
//! ```

use serde::{Deserialize, Serialize};

use crate::time::TimeMs;

/// The event times of records in the order in which they are read; none of nothing ([`EventTimes::is_empty`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventTimes {
    /// The least event time.
    pub earliest_ms: TimeMs,
    /// The greatest event time.
    pub latest_ms: TimeMs,
    /// The most that an event time lies behind the greatest before it.
    pub disorder_ms: i64,
}

impl Default for EventTimes {
    fn default() -> Self {
        EventTimes { earliest_ms: TimeMs::MAX, latest_ms: TimeMs::MIN, disorder_ms: 0 }
    }
}

impl EventTimes {
    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.earliest_ms > self.latest_ms
    }

    /// These, and what is read behind them. The disorder of both together is what it would be of their records one by one.
    #[must_use]
    pub fn then(self, next: EventTimes) -> EventTimes {
        if self.is_empty() || next.is_empty() {
            return if self.is_empty() { next } else { self };
        }
        let across_ms = self.latest_ms.saturating_sub(next.earliest_ms);
        EventTimes {
            earliest_ms: self.earliest_ms.min(next.earliest_ms),
            latest_ms: self.latest_ms.max(next.latest_ms),
            disorder_ms: self.disorder_ms.max(next.disorder_ms).max(across_ms),
        }
    }
}

impl From<TimeMs> for EventTimes {
    fn from(time_ms: TimeMs) -> Self {
        EventTimes { earliest_ms: time_ms, latest_ms: time_ms, disorder_ms: 0 }
    }
}

impl FromIterator<TimeMs> for EventTimes {
    fn from_iter<I: IntoIterator<Item = TimeMs>>(times: I) -> Self {
        times.into_iter().fold(EventTimes::default(), |all, time_ms| all.then(time_ms.into()))
    }
}

/// Divides parts into at most `partitions_max` partitions, each a list of places in the order in which it is read. Parts
/// follow each other in the order of time; one that begins more than `tolerance_ms` before those before it end is read
/// beside them, as long as there is room for another partition. Parts of which no times are known come first.
///
/// Costs `parts * partitions`.
///
/// # Panics
/// If there is no room for a single partition.
pub fn in_order(parts: &[Option<EventTimes>], tolerance_ms: i64, partitions_max: usize) -> Vec<Vec<usize>> {
    assert!(partitions_max > 0, "parts lie in partitions");
    let times_of = |place: &usize| parts[*place].filter(|times| !times.is_empty());
    let (mut known, unknown): (Vec<usize>, Vec<usize>) = (0..parts.len()).partition(|place| times_of(place).is_some());
    known.sort_by_key(|place| times_of(place).map(|times| (times.earliest_ms, times.latest_ms)));
    let mut partitions = vec![(EventTimes::default(), unknown)];
    for place in known {
        let times = times_of(&place).expect("those without were parted from them");
        let fits = |all: &EventTimes| all.is_empty() || all.latest_ms.saturating_sub(times.earliest_ms) <= tolerance_ms;
        let ends_last = |at: &usize| (partitions[*at].0.latest_ms, std::cmp::Reverse(*at));
        let behind = (0..partitions.len()).filter(|at| fits(&partitions[*at].0)).max_by_key(ends_last);
        let ends_first = (0..partitions.len()).min_by_key(|at| partitions[*at].0.latest_ms);
        let at = match (behind, ends_first) {
            (Some(at), _) => at,
            (None, Some(at)) if partitions.len() == partitions_max => at,
            (None, _) => {
                partitions.push((EventTimes::default(), Vec::new()));
                partitions.len() - 1
            }
        };
        let (all, places) = &mut partitions[at];
        *all = all.then(times);
        places.push(place);
    }
    partitions.into_iter().map(|(_, places)| places).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::Random;

    fn of(times: &[TimeMs]) -> EventTimes {
        times.iter().copied().collect()
    }

    /// The disorder by its definition.
    fn disorder_of(times: &[TimeMs]) -> i64 {
        let behind = |at: usize| times[..at].iter().max().map_or(0, |greatest_ms| (greatest_ms - times[at]).max(0));
        (0..times.len()).map(behind).max().unwrap_or(0)
    }

    #[test]
    fn disorder_is_the_most_that_a_record_lies_behind() {
        assert_eq!(of(&[5, 9, 7, 12, 3]), EventTimes { earliest_ms: 3, latest_ms: 12, disorder_ms: 9 });
        assert!(of(&[]).is_empty() && !of(&[0]).is_empty());
        assert_eq!(of(&[TimeMs::MAX - 1, TimeMs::MIN + 1]).disorder_ms, i64::MAX, "it does not overflow");
    }

    #[test]
    fn parts_together_are_what_their_records_are_one_by_one() {
        let mut random = Random::new(1);
        for _ in 0..2_000 {
            let times: Vec<TimeMs> = (0..random.below(12)).map(|_| random.below(20) as i64).collect();
            let cut = random.below(times.len() as u64 + 1) as usize;
            let together = of(&times[..cut]).then(of(&times[cut..]));
            assert_eq!(together, of(&times), "{times:?} cut at {cut}");
            assert_eq!(together.disorder_ms, disorder_of(&times), "{times:?}");
        }
    }

    #[test]
    fn parts_are_read_in_the_order_of_time_and_beside_each_other_where_they_overlap() {
        let span = |earliest_ms, latest_ms| Some(EventTimes { earliest_ms, latest_ms, disorder_ms: 0 });
        assert_eq!(in_order(&[], 0, 4), [Vec::<usize>::new()]);
        assert_eq!(in_order(&[span(20, 29), span(0, 9), None, span(10, 19)], 0, 4), [vec![2, 1, 3, 0]]);
        assert_eq!(in_order(&[span(0, 9), span(9, 12)], 0, 4), [vec![0, 1]], "they touch");
        assert_eq!(in_order(&[span(0, 9), span(8, 12)], 0, 4), [vec![0], vec![1]]);
        assert_eq!(in_order(&[span(0, 9), span(8, 12)], 1, 4), [vec![0, 1]], "a little disorder is tolerated");
        let long = [span(0, 100), span(1, 10), span(2, 11), span(12, 20)];
        assert_eq!(in_order(&long, 0, 4), [vec![0], vec![1], vec![2, 3]], "behind what ends last before it");
        assert_eq!(in_order(&long, 0, 2), [vec![0], vec![1, 2, 3]], "no room for a third");
    }

    /// Whatever the parts, each is read once; and where there is room the disorder of no partition is greater than that of its
    /// parts and what is tolerated.
    #[test]
    fn every_part_is_read_once_and_adds_no_disorder() {
        let mut random = Random::new(2);
        for _ in 0..500 {
            let parts: Vec<Option<EventTimes>> = (0..random.below(20))
                .map(|_| {
                    let (from, length) = (random.below(100) as i64, random.below(30) as i64);
                    let times = EventTimes { earliest_ms: from, latest_ms: from + length, disorder_ms: length / 2 };
                    (!random.once_in(8)).then_some(times)
                })
                .collect();
            let tolerance_ms = random.below(5) as i64;
            let partitions = in_order(&parts, tolerance_ms, 20);
            let mut places = partitions.concat();
            places.sort_unstable();
            assert_eq!(places, (0..parts.len()).collect::<Vec<_>>());
            for places in partitions {
                let times = || places.iter().filter_map(|place| parts[*place]);
                let together = times().fold(EventTimes::default(), EventTimes::then);
                let most_ms = times().map(|times| times.disorder_ms).max().unwrap_or(0).max(tolerance_ms);
                assert!(together.disorder_ms <= most_ms, "{places:?} of {parts:?}");
            }
        }
    }
}
