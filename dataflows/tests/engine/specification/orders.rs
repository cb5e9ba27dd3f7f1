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
