//! The rings of those who follow: each tick's frames are made once and put into the ring of every subscriber of the view.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use operators::time::Tick;

use crate::answer::subscribe::token::{RunId, token};
use crate::answer::subscribe::{
    Frame, PAGE_BYTES_MAX, change_frame, columns_frame, disconnected_frame, progress_frame,
};
use crate::answer::{Failure, Views};
use crate::view::ViewId;
use crate::view::shelf::Bounds;

/// How much the subscribers may take. A tick is put into a ring whole and only while neither bound of the ring is
/// reached: a ring may exceed them by one tick, whose frames all rings share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubBounds {
    /// How many subscribers there may be.
    pub subscribers_max: usize,
    /// How many frames may wait for each.
    pub frames_max: usize,
    /// How many bytes may wait for each.
    pub bytes_max: usize,
}

impl Default for HubBounds {
    fn default() -> Self {
        HubBounds { subscribers_max: 1_000, frames_max: 10_000, bytes_max: 8 << 20 }
    }
}

/// A subscriber's ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RingId(u64);

/// What was taken from a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// These, and perhaps there is more.
    Frames(Vec<Frame>),
    /// Nothing waits.
    Idle,
    /// The last frame was taken.
    Ended,
}

/// All rings.
#[derive(Debug)]
pub struct Hub {
    run: RunId,
    bounds: HubBounds,
    rings: BTreeMap<RingId, Ring>,
    admitted: u64,
    /// Every tick before this one was put into the rings.
    upper: Tick,
}

#[derive(Debug)]
struct Ring {
    run: RunId,
    view: ViewId,
    state: State,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// The last progress that was taken.
    taken_upper: Option<Tick>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its subscriber reads from history.
    Apart,
    /// It has, or will be given, every tick from here on.
    Following(Tick),
    /// It was full; nothing is added any more.
    Overflowed,
}

#[derive(Debug)]
struct Waiting {
    frame: Frame,
    /// For a progress: which.
    upper: Option<Tick>,
}

/// What one tick puts into the rings of a view.
struct TickFrames {
    tick: Tick,
    /// What is told of columns that came by then, and when the last of them came.
    columns: Option<(Tick, Frame)>,
    rows: Vec<Frame>,
    progress: Frame,
}

impl Hub {
    /// Of a run, without subscribers.
    pub fn new(run: RunId, bounds: HubBounds) -> Hub {
        Hub { run, bounds, rings: BTreeMap::new(), admitted: 0, upper: 0 }
    }

    /// Admits a subscriber of `view`; nothing is put into its ring until it follows.
    pub fn admit(&mut self, view: ViewId) -> Result<RingId, Failure> {
        if self.rings.len() >= self.bounds.subscribers_max {
            return Err(Failure::too_many_subscribers(self.bounds.subscribers_max));
        }
        self.admitted += 1;
        let id = RingId(self.admitted);
        let (run, waiting) = (self.run, VecDeque::new());
        let ring = Ring { run, view, state: State::Apart, waiting, bytes: 0, taken_upper: None };
        self.rings.insert(id, ring);
        Ok(id)
    }

    /// From now on the ring is given the ticks from `upper` on. False if one of them passed already: then the index has
    /// it, and the subscriber reads on there.
    pub fn follow(&mut self, id: RingId, upper: Tick) -> bool {
        match self.rings.get_mut(&id) {
            Some(ring) if upper >= self.upper => {
                ring.state = State::Following(upper);
                ring.taken_upper = Some(upper);
                true
            }
            _ => false,
        }
    }

    /// Puts every tick that `views` publishes, and that was not put before, into the rings.
    pub fn publish(&mut self, views: &Views) {
        let Some(published) = views.published() else { return };
        let (lower, upper) = (self.upper, published.tick + 1);
        if lower >= upper {
            return;
        }
        self.upper = upper;
        for view in ViewId::all() {
            let bounds = self.bounds;
            let mut rings =
                self.rings.values_mut().filter(|ring| ring.view == view && ring.state.is_following()).peekable();
            if rings.peek().is_none() {
                continue;
            }
            // Larger than all history: nobody can be given it, and a token will be answered with what to do.
            let Some(ticks) = frames_between(views, view, lower, upper) else {
                rings.for_each(Ring::overflow);
                continue;
            };
            for ring in rings {
                ticks.iter().for_each(|tick| ring.put(tick, bounds));
            }
        }
    }

    /// Takes up to `frames_max` frames from the ring, and about as many bytes as a page has.
    pub fn take(&mut self, id: RingId, frames_max: usize) -> Taken {
        let Some(ring) = self.rings.get_mut(&id) else { return Taken::Ended };
        if ring.waiting.is_empty() {
            return if ring.state == State::Overflowed { Taken::Ended } else { Taken::Idle };
        }
        let (mut count, mut bytes) = (0, 0);
        for waiting in ring.waiting.iter().take(frames_max) {
            if bytes >= PAGE_BYTES_MAX {
                break;
            }
            count += 1;
            bytes += waiting.frame.len();
        }
        ring.bytes -= bytes;
        let taken: Vec<Waiting> = ring.waiting.drain(..count).collect();
        ring.taken_upper = taken.iter().rev().find_map(|waiting| waiting.upper).or(ring.taken_upper);
        Taken::Frames(taken.into_iter().map(|waiting| waiting.frame).collect())
    }

    /// With which token one can go on behind what was taken.
    pub fn token(&self, id: RingId) -> Option<String> {
        let ring = self.rings.get(&id)?;
        Some(token(ring.run, ring.view, ring.taken_upper?))
    }

    /// The subscriber has left.
    pub fn remove(&mut self, id: RingId) {
        self.rings.remove(&id);
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> usize {
        self.rings.len()
    }
}

impl State {
    fn is_following(self) -> bool {
        matches!(self, State::Following(_))
    }
}

impl Ring {
    fn put(&mut self, tick: &TickFrames, bounds: HubBounds) {
        let State::Following(upper) = self.state else { return };
        if tick.tick < upper {
            return;
        }
        // A later progress says all that an earlier one says: empty ticks do not fill a ring.
        let is_superseding = tick.rows.is_empty() && self.waiting.back().is_some_and(|last| last.upper.is_some());
        if is_superseding {
            self.bytes -= self.waiting.pop_back().map_or(0, |superseded| superseded.frame.len());
        } else if self.waiting.len() >= bounds.frames_max || self.bytes >= bounds.bytes_max {
            return self.overflow();
        }
        if let Some((_, frame)) = tick.columns.as_ref().filter(|(since, _)| *since >= upper) {
            self.push(Arc::clone(frame), None);
        }
        for row in &tick.rows {
            self.push(row.clone(), None);
        }
        self.push(tick.progress.clone(), Some(tick.tick + 1));
        self.state = State::Following(tick.tick + 1);
    }

    /// What waits is whole ticks and can still be taken; behind it comes the last frame.
    fn overflow(&mut self) {
        let State::Following(upper) = self.state else { return };
        self.push(disconnected_frame("too slow", Some(&token(self.run, self.view, upper))), None);
        self.state = State::Overflowed;
    }

    fn push(&mut self, frame: Frame, upper: Option<Tick>) {
        self.bytes += frame.len();
        self.waiting.push_back(Waiting { frame, upper });
    }
}

/// The frames of the ticks from `lower` to before `upper`: of those with changes, and of the last one in any case.
fn frames_between(views: &Views, view: ViewId, lower: Tick, upper: Tick) -> Option<Vec<TickFrames>> {
    let shelf = views.shelf_of(view);
    let frames_of = |after: Tick, tick, rows: Vec<(String, i64)>| TickFrames {
        tick,
        columns: columns_frame(views, view, after..tick + 1),
        rows: rows.iter().map(|(row, diff)| change_frame(tick, *diff, row)).collect(),
        progress: progress_frame(views.run(), view, tick + 1, views.mark_at(tick)),
    };
    let all = Bounds { rows_max: usize::MAX, bytes_max: usize::MAX };
    let mut ticks: Vec<TickFrames> = Vec::new();
    let after = |ticks: &[TickFrames]| ticks.last().map_or(lower, |last| last.tick + 1);
    for (tick, _) in shelf.changed_ticks(lower).ok()? {
        ticks.push(frames_of(after(&ticks), tick, shelf.changes(tick, 0, all).ok()?));
    }
    if after(&ticks) < upper {
        ticks.push(frames_of(after(&ticks), upper - 1, Vec::new()));
    }
    Some(ticks)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::answer::testing::{WIDE, all_views, changes, stock};
    use crate::dead_letters::DeadLetters;
    use crate::inventory::stock::Stock;

    const BOUNDS: HubBounds = HubBounds { subscribers_max: 2, frames_max: 5, bytes_max: 1 << 20 };

    fn publish(hub: &mut Hub, views: &mut Views, rows: u64) {
        let tick = views.published().map_or(0, |mark| mark.tick + 1);
        let rows = (0..rows).map(|number| (stock(tick * 100 + number), 1)).collect();
        views.apply_tick(tick, 0, vec![changes::<Stock>(rows)], vec![]).unwrap();
        hub.publish(views);
    }

    fn take_all(hub: &mut Hub, id: RingId) -> (Vec<Value>, Taken) {
        let mut frames = Vec::new();
        loop {
            match hub.take(id, 2) {
                Taken::Frames(taken) => {
                    frames.extend(taken.iter().map(|frame| serde_json::from_str::<Value>(frame).unwrap()));
                }
                end => return (frames, end),
            }
        }
    }

    #[test]
    fn followers_are_given_every_tick() {
        let (mut hub, mut views) = (Hub::new(RunId::default(), BOUNDS), all_views(WIDE));
        publish(&mut hub, &mut views, 1);
        let id = hub.admit(ViewId::of::<Stock>()).unwrap();
        let other = hub.admit(ViewId::of::<DeadLetters>()).unwrap();
        assert!(!hub.follow(id, 0), "tick 0 passed");
        assert!(hub.follow(id, 1) && hub.follow(other, 1));
        assert_eq!(hub.admit(ViewId::of::<Stock>()).unwrap_err().code, "too_many_subscribers");
        assert_eq!(take_all(&mut hub, id), (vec![], Taken::Idle));
        publish(&mut hub, &mut views, 2);
        publish(&mut hub, &mut views, 0);
        let (frames, end) = take_all(&mut hub, id);
        assert_eq!(end, Taken::Idle);
        assert_eq!(frames.iter().map(|frame| frame["tick"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(1), None]);
        assert_eq!(
            frames[2],
            json!({"progress": 3, "sealed_through": {}, "token": "stock:0000000000000000:3"}),
            "the empty one's too"
        );
        assert_eq!(
            take_all(&mut hub, other).0,
            [json!({
                "progress": 3, "sealed_through": {}, "token": "dead_letters:0000000000000000:3"
            })]
        );
        publish(&mut hub, &mut views, 0);
        assert_eq!(take_all(&mut hub, id).0[0]["progress"], 4, "progress comes without rows");
        assert_eq!(hub.token(id).as_deref(), Some("stock:0000000000000000:4"));
        hub.remove(id);
        assert_eq!((hub.take(id, 1), hub.subscribers()), (Taken::Ended, 1));
    }

    #[test]
    fn a_full_ring_ends_with_a_token_behind_whole_ticks() {
        let (mut hub, mut views) = (Hub::new(RunId::default(), BOUNDS), all_views(WIDE));
        publish(&mut hub, &mut views, 0);
        let id = hub.admit(ViewId::of::<Stock>()).unwrap();
        assert!(hub.follow(id, 1));
        for _ in 0..50 {
            publish(&mut hub, &mut views, 0);
        }
        publish(&mut hub, &mut views, 100);
        publish(&mut hub, &mut views, 1);
        publish(&mut hub, &mut views, 0);
        let (frames, end) = take_all(&mut hub, id);
        assert_eq!((frames.len(), end), (103, Taken::Ended), "one tick may exceed the ring, the next may not");
        assert_eq!(frames[0]["progress"], 51, "empty ticks do not fill it");
        assert_eq!(frames[101]["token"], "stock:0000000000000000:52");
        assert_eq!(frames[102], json!({"disconnected": "too slow", "token": "stock:0000000000000000:52"}));
    }

    /// A subscriber may have read a tick from the index which the hub is still to put into the rings.
    #[test]
    fn no_tick_comes_twice() {
        let (mut hub, mut views) = (Hub::new(RunId::default(), BOUNDS), all_views(WIDE));
        publish(&mut hub, &mut views, 1);
        let id = hub.admit(ViewId::of::<Stock>()).unwrap();
        views.apply_tick(1, 0, vec![changes::<Stock>(vec![(stock(7), 1)])], vec![]).unwrap();
        assert!(hub.follow(id, 2));
        hub.publish(&views);
        assert_eq!(take_all(&mut hub, id), (vec![], Taken::Idle));
        publish(&mut hub, &mut views, 1);
        assert_eq!(take_all(&mut hub, id).0.len(), 2);
    }
}
