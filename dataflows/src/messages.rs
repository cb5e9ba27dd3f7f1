//! Complete ticks as messages: what a Kafka sink writes, from the changes alone.
//!
//! ```text
//! rows = "changes"    key {"tenant":…,"sku":…,…}    value {"tick":7,"diff":-1,"row":{…}}
//! rows = "upserts"    key {"tenant":…,"sku":…,…}    value {…}, or none where the key has no row any more
//! ```
//!
//! A key has its columns in the order of the row. Messages of a tick are in the canonical order of the rows; where a row
//! takes the place of another one of its key, `changes` has both and `upserts` the new one.
//!
//! A sink that was added to a run that was there begins with its tick `since`: the changes of that tick are all rows that
//! there are then, whatever was changed before. So whoever adds up its messages has the view from there on.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use operators::time::{Tick, TimeMs};

use crate::configuration::{KafkaSinkSettings, MessageRows};
use crate::view::sealing::AnySealing;
use crate::view::{ChangeList, Codecs, KeyedText, ViewId};

/// A message to a topic: a key, and a value unless the key is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowMessage {
    /// Its key as JSON.
    pub key: String,
    /// Its value as JSON.
    pub value: Option<String>,
}

/// Makes the messages of a sink. If it remembers something, it has to be given every tick.
#[derive(Debug)]
pub struct Messages {
    rows: MessageRows,
    codecs: Codecs,
    /// By view and shard, where only sealed rows are written.
    sealing: Option<BTreeMap<(ViewId, u32), Box<dyn AnySealing>>>,
    /// The first tick that is written.
    since: Tick,
    /// By view and shard: what was changed before that.
    before: BTreeMap<(ViewId, u32), Gathered>,
}

/// Changes of several ticks, added up.
#[derive(Debug)]
struct Gathered {
    changes: Box<dyn ChangeList>,
    /// How many there may be until they are added up again: twice as many as there were then, so that a change costs the
    /// same whatever was gathered before it.
    most: usize,
}

/// So few changes are not worth adding up.
const GATHERED_LEAST: usize = 1 << 12;

impl Gathered {
    fn new(changes: Box<dyn ChangeList>) -> Self {
        Gathered { changes, most: GATHERED_LEAST }
    }

    fn put(&mut self, changes: Box<dyn ChangeList>) {
        self.changes.append(changes);
        if self.changes.len() > self.most {
            self.changes.make_canonical();
            self.most = (2 * self.changes.len()).max(GATHERED_LEAST);
        }
    }
}

impl Messages {
    /// Those of a sink.
    pub fn new(settings: &KafkaSinkSettings, codecs: Codecs) -> Self {
        let sealing = settings.sealed.then(BTreeMap::new);
        Messages { rows: settings.rows, codecs, sealing, since: settings.since, before: BTreeMap::new() }
    }

    /// Whether messages of later ticks follow from this one, too: rows are held until they are sealed, or until the sink
    /// begins.
    pub fn needs(&self, tick: Tick) -> bool {
        self.sealing.is_some() || tick < self.since
    }

    /// What was changed in a shard before the sink begins, with this.
    fn gather(&mut self, shard: (ViewId, u32), changes: Option<&dyn ChangeList>) {
        let Some(changes) = changes.map(ChangeList::copied) else { return };
        match self.before.entry(shard) {
            Entry::Vacant(entry) => drop(entry.insert(Gathered::new(changes))),
            Entry::Occupied(mut entry) => entry.get_mut().put(changes),
        }
    }

    /// What was gathered in a shard, in canonical order.
    fn gathered(&mut self, shard: (ViewId, u32)) -> Option<Box<dyn ChangeList>> {
        let mut changes = self.before.remove(&shard)?.changes;
        changes.make_canonical();
        Some(changes)
    }

    /// The messages of one shard of a view at a tick, whose changes are in canonical order; there are none where nothing
    /// changed. `watermark_of` is `W` of a tenant's events.
    pub fn of(
        &mut self,
        tick: Tick,
        view: ViewId,
        shard: u32,
        changes: Option<&dyn ChangeList>,
        watermark_of: &dyn Fn(&str) -> TimeMs,
    ) -> Vec<RowMessage> {
        let codec = Arc::clone(self.codecs.of(view));
        let sealed = self.sealing.as_mut().map(|sealing| {
            let of_view = || codec.sealing().expect("a checked configuration seals minute views alone");
            sealing.entry((view, shard)).or_insert_with(of_view).tick(changes, watermark_of)
        });
        let changes = sealed.as_deref().or(changes);
        let all;
        let changes = match tick.cmp(&self.since) {
            Ordering::Greater => changes,
            Ordering::Equal => {
                self.gather((view, shard), changes);
                all = self.gathered((view, shard));
                all.as_deref()
            }
            Ordering::Less => {
                self.gather((view, shard), changes);
                None
            }
        };
        let texts = changes.map_or_else(Vec::new, |changes| codec.keyed_texts(changes));
        match self.rows {
            MessageRows::Changes => texts.into_iter().map(|text| change(tick, text)).collect(),
            MessageRows::Upserts => upserts(texts),
        }
    }
}

fn change(tick: Tick, KeyedText { key, row, diff }: KeyedText) -> RowMessage {
    RowMessage { key, value: Some(format!("{{\"tick\":{tick},\"diff\":{diff},\"row\":{row}}}")) }
}

/// Rows of one key are neighbours in the canonical order.
fn upserts(texts: Vec<KeyedText>) -> Vec<RowMessage> {
    let mut messages: Vec<RowMessage> = Vec::new();
    for KeyedText { key, row, diff } in texts {
        if messages.last().is_none_or(|last| last.key != key) {
            messages.push(RowMessage { key, value: None });
        }
        let last = messages.last_mut().expect("there is one now");
        if diff > 0 {
            debug_assert!(last.value.is_none(), "a key has one row");
            last.value = Some(row);
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::testing::available;
    use crate::configuration::Recorded;
    use crate::inventory::availability::{Availability, AvailabilityRow};
    use crate::view::View;

    fn availability(sku: &str, quantity: i64) -> AvailabilityRow {
        available("north", sku, "n1", quantity, None)
    }

    fn json(row: &AvailabilityRow) -> String {
        Availability::columns(&Recorded::default()).json(row)
    }

    fn of_ticks(
        rows: MessageRows,
        since: Tick,
        ticks: Vec<(Tick, Vec<(AvailabilityRow, i64)>)>,
    ) -> Vec<Vec<(String, Option<String>)>> {
        let (name, topic, view) = ("main".to_owned(), "{view}".to_owned(), ViewId::of::<Availability>());
        let settings = KafkaSinkSettings { name, topic, views: vec![view], rows, sealed: false, since };
        let mut messages = Messages::new(&settings, Codecs::new(&Recorded::default()));
        let mut of_tick = |(tick, changes): (Tick, Vec<(AvailabilityRow, i64)>)| {
            let messages = messages.of(tick, view, 0, Some(&changes), &|_| 0);
            messages.into_iter().map(|message| (message.key, message.value)).collect()
        };
        ticks.into_iter().map(&mut of_tick).collect()
    }

    fn messages(rows: MessageRows, changes: Vec<(AvailabilityRow, i64)>) -> Vec<(String, Option<String>)> {
        of_ticks(rows, 0, vec![(7, changes)]).remove(0)
    }

    const KEY: &str = r#"{"tenant":"north","sku":"a","node":"n1"}"#;

    #[test]
    fn a_change_says_when_and_how_many() {
        let changes = vec![(availability("a", 1), -1), (availability("a", 2), 1)];
        let row = |quantity: i64| json(&availability("a", quantity));
        let expected = [(1, -1), (2, 1)].map(|(quantity, diff)| {
            (KEY.to_owned(), Some(format!("{{\"tick\":7,\"diff\":{diff},\"row\":{}}}", row(quantity))))
        });
        assert_eq!(messages(MessageRows::Changes, changes), expected);
    }

    #[test]
    fn an_upsert_is_the_new_row_or_nothing_whichever_comes_first() {
        for (old, new) in [(1, 2), (2, 1)] {
            let mut changes =
                vec![(availability("a", old), -1), (availability("a", new), 1), (availability("b", 3), -1)];
            changes.sort();
            let written = messages(MessageRows::Upserts, changes);
            assert_eq!(written[0], (KEY.to_owned(), Some(json(&availability("a", new)))));
            assert_eq!(written[1], (KEY.replace("\"a\"", "\"b\""), None));
        }
    }

    /// So it is whether the ticks before are given one by one or as one collection, and whatever has to be added up.
    #[test]
    fn a_sink_that_is_added_begins_with_all_rows_that_there_are() {
        let moved = |sku: &str, from: i64, to: i64| {
            let mut changes = vec![(availability(sku, from), -1), (availability(sku, to), 1)];
            changes.sort();
            changes
        };
        let quantities = 3 * GATHERED_LEAST as i64;
        let first = (0, vec![(availability("a", 0), 1), (availability("b", 5), 1), (availability("c", 6), 1)]);
        let moves = (1..quantities).map(|tick| (tick as Tick, moved("a", tick - 1, tick)));
        let gone = (quantities as Tick, vec![(availability("c", 6), -1)]);
        let since = quantities as Tick + 1;
        let last = (since, moved("b", 5, 8));
        let one_by_one = [first].into_iter().chain(moves).chain([gone, last.clone()]);
        let mut collection = vec![(availability("a", quantities - 1), 1), (availability("b", 5), 1)];
        collection.sort();
        let restored = [(since - 1, collection), last];
        let expected = [("a", quantities - 1), ("b", 8)].map(|(sku, quantity)| {
            let row = json(&availability(sku, quantity));
            (
                KEY.replace("\"a\"", &format!("\"{sku}\"")),
                Some(format!("{{\"tick\":{since},\"diff\":1,\"row\":{row}}}")),
            )
        });
        let after = (since + 1, moved("a", quantities - 1, 1));
        for ticks in [one_by_one.collect::<Vec<_>>(), restored.to_vec()] {
            let ticks = ticks.into_iter().chain([after.clone()]).collect();
            let mut written = of_ticks(MessageRows::Changes, since, ticks);
            assert_eq!(written.pop().map(|messages| messages.len()), Some(2), "changes again");
            assert_eq!(written.pop().unwrap(), expected);
            assert!(written.iter().all(Vec::is_empty), "nothing before");
        }
    }
}
