//! Complete ticks as messages: what a Kafka sink writes, from the changes alone.
//!
//! ```text
//! rows = "changes"    key {"tenant":…,"sku":…,…}    value {"tick":7,"diff":-1,"row":{…}}
//! rows = "upserts"    key {"tenant":…,"sku":…,…}    value {…}, or none where the key has no row any more
//! ```
//!
//! A key has its columns in the order of the row. Messages of a tick are in the canonical order of the rows; where a row
//! takes the place of another one of its key, `changes` has both and `upserts` the new one.

use std::collections::BTreeMap;

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
}

impl Messages {
    /// Those of a sink.
    pub fn new(settings: &KafkaSinkSettings, codecs: Codecs) -> Self {
        Messages { rows: settings.rows, codecs, sealing: settings.sealed.then(BTreeMap::new) }
    }

    /// Whether it holds rows back until they are sealed.
    pub fn remembers(&self) -> bool {
        self.sealing.is_some()
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
        let codec = self.codecs.of(view);
        let sealed = self.sealing.as_mut().map(|sealing| {
            let of_view = || codec.sealing().expect("a checked configuration seals minute views alone");
            sealing.entry((view, shard)).or_insert_with(of_view).tick(changes, watermark_of)
        });
        let changes = sealed.as_deref().or(changes);
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

    fn messages(rows: MessageRows, changes: Vec<(AvailabilityRow, i64)>) -> Vec<(String, Option<String>)> {
        let (name, topic, view) = ("main".to_owned(), "{view}".to_owned(), ViewId::of::<Availability>());
        let settings = KafkaSinkSettings { name, topic, views: vec![view], rows, sealed: false };
        let mut messages = Messages::new(&settings, Codecs::new(&Recorded::default()));
        let messages = messages.of(7, view, 0, Some(&changes), &|_| 0);
        messages.into_iter().map(|message| (message.key, message.value)).collect()
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
}
