//! Which feed of a node is worst?
//!
//! ```sql
//! SELECT tenant, node, worst(feeds) FROM (the greatest epoch of each source in feed_health) GROUP BY tenant, node
//! ```
//!
//! Silent is worse than gapped, and gapped worse than live. Among silent and among live feeds the one that spoke longest ago is
//! worst; among gapped ones the one with the oldest gap, then the one with most gaps. An epoch that its source has left behind
//! is silent for ever and says nothing of the node. Costs about 300 bytes a feed, and a look at all feeds of a node where
//! one of them changes.

use std::cmp::Reverse;

use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};

use operators::time::{Tick, TimeMs};

use super::feed_health::view::{FeedRow, Feeds, health_columns};
use super::feed_health::{FeedHealth, FeedState};
use crate::build::Build;
use crate::configuration::Recorded;
use crate::names::Name;
use crate::view::{Begins, Cell, Column, Columns, Stays, Unit, View};

/// The view `worst_feeds`.
#[derive(Debug)]
pub struct WorstFeeds;

/// A row of `worst_feeds`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorstFeed {
    /// Whose node.
    pub tenant: Name,
    /// The node.
    pub node: Name,
    /// Its worst feed.
    pub feed: NodeFeed,
}

/// A feed among those of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeFeed {
    /// The system that speaks.
    pub source: Name,
    /// Which of its sequences.
    pub epoch: u32,
    /// How it is.
    pub health: FeedHealth,
}

impl AsRef<FeedHealth> for WorstFeed {
    fn as_ref(&self) -> &FeedHealth {
        &self.feed.health
    }
}

impl View for WorstFeeds {
    type Row = WorstFeed;
    const NAME: &'static str = "worst_feeds";
    const QUESTION: &'static str = "which feed of each node is worst";
    const STAYS: Stays = Stays::Always;
    const BEGINS: Begins = Begins::Empty;

    fn columns(_: &Recorded) -> Columns<WorstFeed> {
        let mut columns = vec![
            Column::text("tenant", "whose node", |row: &WorstFeed, _| Cell::Text(&row.tenant)).tenant(),
            Column::text("node", "the node", |row: &WorstFeed, _| Cell::Text(&row.node)),
            Column::text("source", "the system whose feed is worst", |row: &WorstFeed, _| Cell::Text(&row.feed.source)),
            Column::integer("epoch", "which of its sequences", |row: &WorstFeed, _| {
                Cell::Integer(row.feed.epoch.into())
            })
            .counts(Unit::None),
        ];
        columns.extend(health_columns());
        Columns::new(2, columns)
    }

    fn example() -> WorstFeed {
        let FeedRow { tenant, source, node, epoch, health } = Feeds::example();
        WorstFeed { tenant, node, feed: NodeFeed { source, epoch, health } }
    }
}

/// Publishes the worst feed of each node.
pub(super) fn publish(build: &mut Build<'_, '_>) {
    if build.is_wanted::<WorstFeeds>() {
        let worst = worst_feeds(build.collection::<Feeds>());
        build.publish::<WorstFeeds>(worst.inner);
    }
}

/// The worst feed of each node.
pub fn worst_feeds<'scope>(
    feeds: VecCollection<'scope, Tick, FeedRow, isize>,
) -> VecCollection<'scope, Tick, WorstFeed, isize> {
    let by_node = feeds
        .map(|FeedRow { tenant, source, node, epoch, health }| ((tenant, node), NodeFeed { source, epoch, health }));
    let worst = by_node.reduce_named("WorstFeeds", |_, feeds, worst| {
        worst.extend(worst_of(feeds.iter().map(|(feed, _)| *feed)).map(|feed| (feed.clone(), 1)));
    });
    worst.map(|((tenant, node), feed)| WorstFeed { tenant, node, feed })
}

/// The worst of the feeds of a node, which come in the order of source and epoch.
fn worst_of<'a>(feeds: impl Iterator<Item = &'a NodeFeed>) -> Option<&'a NodeFeed> {
    let mut feeds = feeds.peekable();
    let mut worst: Option<&NodeFeed> = None;
    while let Some(feed) = feeds.next() {
        let is_left_behind = feeds.peek().is_some_and(|next| next.source == feed.source && next.epoch > feed.epoch);
        if !is_left_behind && worst.is_none_or(|worst| badness(&feed.health) > badness(&worst.health)) {
            worst = Some(feed);
        }
    }
    worst
}

fn badness(health: &FeedHealth) -> (FeedState, Reverse<Option<TimeMs>>, u64) {
    match health.state {
        // A gap that was there before anybody looked has no time, and is older than all others.
        FeedState::Gapped => (health.state, Reverse(health.oldest_gap_ms), health.open_gaps),
        FeedState::Live | FeedState::Silent => (health.state, Reverse(health.last_spoke_ms), 0),
    }
}

#[cfg(test)]
mod tests {
    use FeedState::{Gapped, Live, Silent};

    use super::*;

    fn feed(source: &str, epoch: u32, state: FeedState, oldest_gap_ms: Option<TimeMs>, gaps: u64) -> NodeFeed {
        let last_spoke_ms = Some(1_000 * i64::from(epoch + 1));
        let health =
            FeedHealth { state, last_sequence: 9, open_gaps: gaps, oldest_gap_ms, last_event_ms: 0, last_spoke_ms };
        NodeFeed { source: source.into(), epoch, health }
    }

    fn worst(feeds: &[NodeFeed]) -> Option<(&str, u32)> {
        worst_of(feeds.iter()).map(|feed| (feed.source.as_str(), feed.epoch))
    }

    #[test]
    fn of_live_feeds_the_one_that_spoke_longest_ago_is_worst() {
        assert_eq!(worst(&[]), None);
        assert_eq!(worst(&[feed("pos", 2, Live, None, 0), feed("wms", 1, Live, None, 0)]), Some(("wms", 1)));
    }

    #[test]
    fn gapped_is_worse_than_live_and_an_older_gap_worse_than_more_of_them() {
        let feeds =
            [feed("pos", 9, Gapped, Some(7), 1), feed("rfid", 9, Gapped, Some(8), 5), feed("wms", 0, Live, None, 0)];
        assert_eq!(worst(&feeds), Some(("pos", 9)));
        let feeds = [feed("pos", 9, Gapped, Some(7), 1), feed("rfid", 9, Gapped, Some(7), 5)];
        assert_eq!(worst(&feeds), Some(("rfid", 9)), "of two gaps as old the feed with more of them");
        let feeds = [feed("pos", 9, Gapped, Some(7), 1), feed("rfid", 9, Gapped, None, 1)];
        assert_eq!(worst(&feeds), Some(("rfid", 9)), "a gap that nobody saw begin is older than all");
    }

    #[test]
    fn silent_is_worst_unless_the_epoch_was_left_behind() {
        let gapped = feed("pos", 9, Gapped, None, 5);
        assert_eq!(worst(&[gapped.clone(), feed("wms", 3, Silent, None, 0)]), Some(("wms", 3)));
        let left_behind = [gapped, feed("wms", 3, Silent, None, 0), feed("wms", 4, Live, None, 0)];
        assert_eq!(worst(&left_behind), Some(("pos", 9)));
    }
}
