//! Orders of the same entries: the ledger treats them alike.

use dataflows::inventory::ledger::{Balance, Count, Entry, Ledger};

/// What the ledger says after these entries.
fn balance(entries: &[Entry]) -> Balance {
    let mut ledger = Ledger::default();
    entries.iter().for_each(|entry| ledger.apply(entry));
    ledger.balance()
}

fn count(id: u128, at_ms: i64, rank: u16) -> Entry {
    Entry::Count(Count { at_ms, from_ms: at_ms, epsilon_ms: 0, rank, id: id.into(), quantity: 10 })
}

/// While a count has to be looked up again no count holds, so none resolves a doubt, whichever came first.
#[test]
fn a_count_that_does_not_hold_resolves_no_doubt() {
    let (earlier, later) = (count(1, 10, 0), count(2, 20, 0));
    let (taken_back, doubt) = (Entry::Tombstone { id: 2.into(), at_ms: 20 }, Entry::Doubt { doubt_ms: 5 });
    let in_order = balance(&[earlier, later, taken_back, doubt]);
    assert!(in_order.in_doubt);
    assert_eq!(balance(&[earlier, taken_back, later, doubt]), in_order);
    assert_eq!(balance(&[later, taken_back, earlier, doubt]), in_order);
}

/// "Until a count at or after its time holds": another count of the same instant does, whichever came first.
#[test]
fn another_count_of_the_same_instant_holds() {
    let (better, worse) = (count(1, 20, 0), count(2, 20, 1));
    let taken_back = Entry::Tombstone { id: 1.into(), at_ms: 20 };
    let early = balance(&[worse, taken_back, better]);
    assert!(early.numbers.is_some());
    assert_eq!(balance(&[worse, better, taken_back]), early);
}

/// A correction of a correction may come first: then three counts of one instant meet.
#[test]
fn corrections_of_one_count_come_in_any_order() {
    let (original, first, second) = (count(3, 20, 0), count(2, 20, 0), count(1, 20, 0));
    let takes_original_back = Entry::Tombstone { id: 3.into(), at_ms: 20 };
    let takes_first_back = Entry::Tombstone { id: 2.into(), at_ms: 20 };
    let in_order = balance(&[original, takes_original_back, first, takes_first_back, second]);
    assert!(in_order.numbers.is_some());
    assert_eq!(balance(&[original, takes_first_back, second, takes_original_back, first]), in_order);
}

/// Every order of the entries, one after the other.
fn orders(entries: &mut Vec<Entry>, from: usize, see: &mut dyn FnMut(&[Entry])) {
    if from == entries.len() {
        return see(entries);
    }
    for at in from..entries.len() {
        entries.swap(from, at);
        orders(entries, from + 1, see);
        entries.swap(from, at);
    }
}

/// What a correction says of the count that it takes back is data: it may be wrong. Then it takes back no count, but the key
/// is flagged until a count at or after the time that it names, in any order.
#[test]
fn a_correction_that_names_another_time_takes_no_count_back_in_any_order() {
    let delta = Entry::Delta { at_ms: 28, quantity: 4, times: 1 };
    let names_earlier = Entry::Tombstone { id: 2.into(), at_ms: 20 };
    let names_later = Entry::Tombstone { id: 1.into(), at_ms: 25 };
    let counts = [count(1, 10, 0), count(2, 30, 0), count(3, 25, 0)];
    let mut entries = [counts.as_slice(), &[delta, names_earlier, names_later]].concat();
    let in_order = balance(&entries);
    assert_eq!(in_order.anchor_ms, Some(30));
    orders(&mut entries, 0, &mut |entries| assert_eq!(balance(entries), in_order, "{entries:?}"));
    // The anchor's id with an earlier time, and nothing else: the count stands.
    let mut entries = vec![count(2, 30, 0), names_earlier, delta];
    orders(&mut entries, 0, &mut |entries| assert_eq!(balance(entries).anchor_ms, Some(30), "{entries:?}"));
    // And with a later one: until the next count nothing is known.
    let mut entries = vec![count(1, 10, 0), names_later, delta];
    orders(&mut entries, 0, &mut |entries| assert_eq!(balance(entries).numbers, None, "{entries:?}"));
}
