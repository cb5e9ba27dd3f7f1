//! How fast a registry is asked for ids that it does not have: made-up ids are as many as somebody likes, and each is a request.

use std::time::{Duration, Instant};

/// So many of them are asked for at once.
pub(super) const AT_ONCE: u32 = 100;

/// And from then on one in so long.
pub(super) const EVERY: Duration = Duration::from_millis(50);

/// How long somebody waits for his turn before he is told to ask again later.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// A pace that was kept so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When all that was asked for would have been asked for, one after the other.
    ahead_until: Option<Instant>,
    /// How often somebody had to wait since the pace was last kept without waiting.
    waited: u32,
}

/// What somebody who wants to ask is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ask, after this long. `is_told` says that it should be told: ever less often.
    After { wait: Duration, is_told: bool },
    /// Too many wait.
    Later,
}

impl Pace {
    /// The turn of somebody who asks now.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        let from = self.ahead_until.map_or(now, |until| until.max(now));
        let wait = (from + EVERY).saturating_duration_since(now + EVERY * AT_ONCE);
        if wait > WAIT_MAX {
            return Turn::Later;
        }
        self.ahead_until = Some(from + EVERY);
        self.waited = if wait.is_zero() { 0 } else { self.waited.saturating_add(1) };
        Turn::After { wait, is_told: self.waited.is_power_of_two() }
    }

    /// The one who asked last got an answer: it does not count.
    pub(super) fn give_back(&mut self) {
        self.ahead_until = self.ahead_until.and_then(|until| until.checked_sub(EVERY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_made_up_ids_is_no_burst_of_questions() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let (mut asked, mut told) = (0, 0);
        // A hundred readers have nothing but such ids for ten seconds.
        for millisecond in 0..10_000 {
            let now = began + Duration::from_millis(millisecond);
            if let Turn::After { wait, is_told } = pace.turn(now) {
                assert!(wait <= WAIT_MAX);
                asked += 1;
                told += u32::from(is_told);
            }
        }
        assert!((290..=315).contains(&asked), "100, then 20 a second: {asked}");
        assert!((1..=8).contains(&told), "{told}");
        // Whoever waits ten seconds finds all of it again.
        let later = began + Duration::from_secs(30);
        (0..AT_ONCE).for_each(|_| {
            assert_eq!(pace.turn(later), Turn::After { wait: Duration::ZERO, is_told: false });
        });
        assert!(matches!(pace.turn(later), Turn::After { wait, is_told: true } if !wait.is_zero()));
    }

    #[test]
    fn ids_that_there_are_do_not_count() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..10_000 {
            assert_eq!(pace.turn(now), Turn::After { wait: Duration::ZERO, is_told: false });
            pace.give_back();
        }
    }
}
