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
use crate::publish::key_of;
use crate::sealing::Sealing;
use crate::views::{Row, View};

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
    /// By view and shard, where only sealed rows are written.
    sealing: Option<BTreeMap<(View, u32), Sealing>>,
}

impl Messages {
    /// Those of a sink.
    pub fn new(settings: &KafkaSinkSettings) -> Self {
        Messages { rows: settings.rows, sealing: settings.sealed.then(BTreeMap::new) }
    }

    /// Whether it holds rows back until they are sealed.
    pub fn remembers(&self) -> bool {
        self.sealing.is_some()
    }

    /// The messages of one shard of a view at a tick, whose changes are in canonical order. `watermark_of` is `W` of a
    /// tenant's events.
    pub fn of(
        &mut self,
        tick: Tick,
        view: View,
        shard: u32,
        changes: &[(Row, i64)],
        watermark_of: impl Fn(&str) -> TimeMs,
    ) -> Vec<RowMessage> {
        match &mut self.sealing {
            Some(sealing) => {
                let sealed = sealing.entry((view, shard)).or_default().tick(changes, watermark_of);
                self.messages(tick, &sealed)
            }
            None => self.messages(tick, changes),
        }
    }

    fn messages(&self, tick: Tick, changes: &[(Row, i64)]) -> Vec<RowMessage> {
        match self.rows {
            MessageRows::Changes => changes.iter().map(|(row, diff)| change(tick, row, *diff)).collect(),
            MessageRows::Upserts => upserts(changes),
        }
    }
}

fn change(tick: Tick, row: &Row, diff: i64) -> RowMessage {
    let value = format!("{{\"tick\":{tick},\"diff\":{diff},\"row\":{}}}", row.to_json());
    RowMessage { key: key_of(row), value: Some(value) }
}

/// Keys are the first columns of their rows, so that rows of one key are neighbours.
fn upserts(changes: &[(Row, i64)]) -> Vec<RowMessage> {
    let mut messages: Vec<RowMessage> = Vec::new();
    for (row, diff) in changes {
        let key = key_of(row);
        if messages.last().is_none_or(|last| last.key != key) {
            messages.push(RowMessage { key, value: None });
        }
        let last = messages.last_mut().expect("there is one now");
        if *diff > 0 {
            debug_assert!(last.value.is_none(), "a key has one row");
            last.value = Some(row.to_json());
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::fact::StockState;
    use crate::views::{Availability, Reason, Stock};

    fn availability(sku: &str, quantity: i64) -> Row {
        let (tenant, sku, node) = ("north".into(), sku.into(), "n1".into());
        let (available, reason) = (quantity > 0, Reason::InStock);
        Row::Availability(Availability { tenant, sku, node, available, reason, quantity, fresh_through_ms: None })
    }

    fn messages(rows: MessageRows, changes: &[(Row, i64)]) -> Vec<(String, Option<String>)> {
        let (name, topic) = ("main".to_owned(), "{view}".to_owned());
        let settings = KafkaSinkSettings { name, topic, views: vec![View::Availability], rows, sealed: false };
        let messages = Messages::new(&settings).of(7, View::Availability, 0, changes, |_| 0);
        messages.into_iter().map(|message| (message.key, message.value)).collect()
    }

    const KEY: &str = r#"{"tenant":"north","sku":"a","node":"n1"}"#;

    #[test]
    fn a_change_says_when_and_how_many() {
        let changes = [(availability("a", 1), -1), (availability("a", 2), 1)];
        let row = |quantity: i64| availability("a", quantity).to_json();
        let expected = [(1, -1), (2, 1)].map(|(quantity, diff)| {
            (KEY.to_owned(), Some(format!("{{\"tick\":7,\"diff\":{diff},\"row\":{}}}", row(quantity))))
        });
        assert_eq!(messages(MessageRows::Changes, &changes), expected);
    }

    #[test]
    fn an_upsert_is_the_new_row_or_nothing_whichever_comes_first() {
        for (old, new) in [(1, 2), (2, 1)] {
            let mut changes =
                vec![(availability("a", old), -1), (availability("a", new), 1), (availability("b", 3), -1)];
            changes.sort();
            let written = messages(MessageRows::Upserts, &changes);
            assert_eq!(written[0], (KEY.to_owned(), Some(availability("a", new).to_json())));
            assert_eq!(written[1], (KEY.replace("\"a\"", "\"b\""), None));
        }
    }

    #[test]
    fn keys_are_the_first_columns_of_their_rows() {
        let (tenant, sku, node) = ("north".into(), "a\"b".into(), "n1".into());
        let stock = Row::Stock(Stock {
            tenant,
            sku,
            node,
            state: StockState::Sellable,
            book: None,
            lo: None,
            hi: None,
            variance: None,
            anchor_ms: None,
            rebase_pending: false,
            in_doubt: false,
        });
        for row in [stock, availability("a", 1)] {
            let (key, json) = (key_of(&row), row.to_json());
            assert!(json.starts_with(key.strip_suffix('}').unwrap()), "{key} {json}");
        }
    }
}
