//! A simulated reader: hands the records of one partition over while there are credits, and says what it holds.
//!
//! What lies in the input log outlives every crash; the reader itself begins again at the first record, or
//! where a checkpoint ends.

use operators::minter::Holding;
use operators::record::Item;
use operators::simulation::Random;
use operators::time::{MINUS_INFINITY, TimeMs};

use crate::history::{History, Records};
use crate::trial::AnyFeed;

/// A reader and the queue that it fills.
pub struct Reader {
    feed: AnyFeed,
    partition: usize,
    live: bool,
    /// Whether records of another partition enter again here: people may always let in more.
    re_enters: bool,
    /// Records handed over.
    read: usize,
    /// A reader that cannot read for so many turns.
    stalled: u64,
    told_end: bool,
}

impl Reader {
    /// A reader before the record of a partition at an offset.
    pub fn new(history: &History, partition: usize, from: u64) -> Self {
        let feed = AnyFeed::of(&history.records[partition]);
        let described = &history.topology.partitions[partition];
        Reader {
            feed,
            partition,
            live: described.live || described.re_enters.is_some(),
            re_enters: described.re_enters.is_some(),
            read: (from / 10) as usize,
            stalled: 0,
            told_end: false,
        }
    }

    /// The queue that it fills.
    pub fn feed(&self) -> AnyFeed {
        self.feed.clone()
    }

    /// One turn, while `written` records lie in the log; `complete` if there will be no more. Gives what there is to say.
    pub fn turn(&mut self, history: &History, written: usize, complete: bool, random: &mut Random) -> Option<Holding> {
        if self.stalled > 0 {
            self.stalled -= 1;
            return None;
        }
        if self.live && random.once_in(25) {
            self.stalled = random.below(10);
            return Some(Holding::Stalled);
        }
        if self.read < written {
            return self.hand_over(history, written, random);
        }
        if complete && !self.told_end && !self.re_enters {
            self.told_end = true;
            return Some(Holding::Ended(offset(self.read)));
        }
        // Live sources answer that their log ends here; sometimes an answer is lost.
        (self.live && !random.once_in(4)).then_some(Holding::CaughtUp(offset(self.read)))
    }

    fn hand_over(&mut self, history: &History, written: usize, random: &mut Random) -> Option<Holding> {
        let records = &history.records[self.partition];
        let bound = if random.once_in(4) { 100 } else { 8 };
        let most = (1 + random.below(bound) as usize).min(written - self.read);
        let from = self.read;
        self.read = self.feed.hand_over(records, self.partition, from, most);
        let times = match records {
            Records::Events(items) => times(&items[from..self.read]),
            Records::Facts(items) => times(&items[from..self.read]),
        };
        let least_ms = times.clone().min().unwrap_or(MINUS_INFINITY);
        let greatest_ms = times.max().unwrap_or(MINUS_INFINITY);
        let bytes = offset(self.read - from);
        (self.read > from).then_some(Holding::Records { end_offset: offset(self.read), bytes, least_ms, greatest_ms })
    }
}

/// The event times of what decoded.
fn times<R>(items: &[Item<R>]) -> std::vec::IntoIter<TimeMs> {
    let times: Vec<TimeMs> =
        items.iter().filter_map(|item| Some(item.outcome.as_ref().ok()?.0.event_time_ms)).collect();
    times.into_iter()
}

/// The offset of a record by its number.
pub fn offset(records: usize) -> u64 {
    records as u64 * 10
}
