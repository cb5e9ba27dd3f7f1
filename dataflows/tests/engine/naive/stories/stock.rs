//! Stories of stock: counts, deltas, corrections.

use super::*;
use dataflows::inventory::availability::Availability;
use dataflows::inventory::stock::Stock;
use dataflows::inventory::stock_by_sku::{SkuRow, StockBySku};
use dataflows::names::Name;

fn fact(id: u128, kind: FactKind, quantity: i64, event_time_ms: TimeMs) -> Fact {
    Fact {
        tenant: 0,
        kind,
        state: StockState::Sellable,
        to_state: StockState::Sellable,
        void: false,
        node: "store".into(),
        sku: "tea".into(),
        quantity,
        event_time_ms,
        observed_from_ms: event_time_ms,
        source: "depot".into(),
        epoch: 0,
        rank: 1,
        authority: kind == FactKind::Count,
        epsilon_ms: 0,
        id,
        before: None,
    }
}

fn adjust(id: u128, quantity: i64, event_time_ms: TimeMs) -> Fact {
    fact(id, FactKind::Adjust, quantity, event_time_ms)
}

fn count(id: u128, quantity: i64, event_time_ms: TimeMs) -> Fact {
    fact(id, FactKind::Count, quantity, event_time_ms)
}

/// A correction of `original`, or a void where it says nothing new.
fn correction(id: u128, original: &Fact, says: Option<i64>) -> Fact {
    let Fact { id: before, kind, quantity, event_time_ms, .. } = *original;
    Fact {
        id,
        quantity: says.unwrap_or(0),
        void: says.is_none(),
        before: Some(Box::new(BeforeImage { id: before, kind, quantity, event_time_ms })),
        ..original.clone()
    }
}

fn described(fact: &Fact) -> (Header, Fact) {
    let group = operators::topology::GroupId(2 * fact.tenant + 1);
    let identity = Identity::Id { id: fact.id, content: 0 };
    (Header { group, lane: 0, event_time_ms: fact.event_time_ms, identity }, fact.clone())
}

/// The one row of stock after these facts, each of which comes twice.
fn stock_of(facts: &[Fact]) -> StockRow {
    let twice: Vec<_> = facts.iter().flat_map(|fact| [described(fact), described(fact)]).collect();
    let records = vec![Records::Facts(items(&twice))];
    let ticks: &[(TimeMs, &[(usize, Status)])] =
        &[(0, &[(0, Status::Behind)]), (24 * HOUR, &[(twice.len(), Status::Behind)])];
    let snapshots = naive(&story(1, records, ticks));
    let rows: Vec<&Row> = snapshots[1][&ViewId::of::<Stock>()].keys().collect();
    match rows[..] {
        [Row::Stock(stock)] => stock.clone(),
        _ => panic!("not one row of stock: {rows:?}"),
    }
}

/// Book, the bracket and variance after these facts, whatever their order of arrival.
fn balance(facts: &[Fact]) -> (i64, i64, i64, i64) {
    let mut balances = Vec::new();
    permute(&mut facts.to_vec(), 0, &mut |facts| balances.push(stock_of(facts)));
    balances.dedup();
    assert_eq!(balances.len(), 1, "every order has the same answer");
    let StockRow { book, lo, hi, variance, .. } = balances[0];
    (book.unwrap(), lo.unwrap(), hi.unwrap(), variance.unwrap())
}

/// Every order of `facts[from..]`.
fn permute(facts: &mut [Fact], from: usize, visit: &mut impl FnMut(&[Fact])) {
    if from == facts.len() {
        return visit(facts);
    }
    for place in from..facts.len() {
        facts.swap(from, place);
        permute(facts, from + 1, visit);
        facts.swap(from, place);
    }
}

#[test]
fn a_count_and_the_deltas_after_it() {
    let facts = [count(1, 20, at(8, 0)), adjust(2, -3, at(9, 0)), adjust(3, 12, at(10, 0)), adjust(4, -5, at(11, 0))];
    assert_eq!(balance(&facts), (24, 24, 24, 20));
}

#[test]
fn a_late_delta_before_the_count_moves_the_variance_alone() {
    let mut facts =
        vec![count(1, 20, at(8, 0)), adjust(2, -3, at(9, 0)), count(3, 15, at(12, 0)), adjust(4, -1, at(13, 0))];
    assert_eq!(balance(&facts), (14, 14, 14, 18));
    facts.push(adjust(5, -2, at(11, 30)));
    assert_eq!(balance(&facts), (14, 14, 14, 20));
}

#[test]
fn a_late_count_rebases() {
    let mut facts =
        vec![count(1, 20, at(8, 0)), adjust(2, -3, at(9, 0)), adjust(3, -4, at(11, 0)), adjust(4, -1, at(13, 0))];
    assert_eq!(balance(&facts).0, 12);
    facts.push(count(5, 16, at(10, 0)));
    assert_eq!(balance(&facts).0, 11);
    assert_eq!(stock_of(&facts).anchor_ms, Some(at(10, 0)));
}

#[test]
fn what_comes_twice_counts_once() {
    let facts = [count(1, 10, at(8, 0)), adjust(2, -2, at(9, 0)), adjust(3, -2, at(9, 0))];
    assert_eq!(balance(&facts).0, 6);
}

#[test]
fn among_counts_of_one_instant_the_better_rank_holds() {
    let worse = Fact { rank: 2, ..count(2, 9, at(12, 0)) };
    let facts = [count(1, 7, at(12, 0)), worse, adjust(3, -1, at(12, 0)), adjust(4, -1, at(12, 0) + 1_000)];
    assert_eq!(balance(&facts).0, 6);
}

#[test]
fn what_happens_during_a_count_widens_the_bracket() {
    let counted = Fact { observed_from_ms: at(12, 0), epsilon_ms: 120_000, ..count(1, 40, at(12, 30)) };
    let deltas = [(-1, at(11, 57)), (-2, at(12, 10)), (10, at(12, 20)), (-1, at(12, 31)), (-3, at(12, 40))];
    let deltas = (2..).zip(deltas).map(|(id, (quantity, time_ms))| adjust(id, quantity, time_ms));
    let facts: Vec<Fact> = std::iter::once(counted).chain(deltas).collect();
    assert_eq!(balance(&facts), (36, 34, 47, 33));
}

#[test]
fn a_negative_book_is_not_clamped() {
    let mut facts = vec![count(1, 1, at(8, 0)), adjust(2, -1, at(9, 0)), adjust(3, -2, at(9, 5))];
    assert_eq!(balance(&facts).0, -2);
    facts.push(adjust(4, 6, at(9, 30)));
    assert_eq!(balance(&facts).0, 4);
}

#[test]
fn a_correction_posts_less_what_was_said_and_what_is_said_now() {
    let (first, second) = (adjust(2, -20, at(9, 0)), adjust(3, -1, at(9, 30)));
    let (corrected, voided) = (correction(4, &first, Some(-2)), correction(5, &second, None));
    assert_eq!(balance(&[count(1, 10, at(8, 0)), first, second, corrected, voided]).0, 8);
}

#[test]
fn a_sync_that_races_with_deltas_has_one_answer() {
    let sync = count(3, 100, at(12, 3));
    let facts = [count(1, 102, at(12, 0)), adjust(2, -2, at(12, 2)), sync, adjust(4, -1, at(12, 4))];
    assert_eq!(balance(&facts).0, 99);
}

#[test]
fn a_receipt_dated_back_behind_a_count_does_not_count() {
    let facts = [count(1, 1, at(20, 0)), adjust(2, 56, at(1, 0)), adjust(3, -14, at(10, 0))];
    let (book, _, _, variance) = balance(&facts);
    assert_eq!((book, variance), (1, -41));
}

#[test]
fn a_count_that_is_taken_back_leaves_the_key_unknown_until_the_next() {
    let (first, second) = (count(1, 10, at(8, 0)), count(2, 20, at(9, 0)));
    let facts = [first, second.clone(), correction(3, &second, None)];
    permute(&mut facts.to_vec(), 0, &mut |facts| {
        let stock = stock_of(facts);
        assert_eq!((stock.book, stock.rebase_pending, stock.anchor_ms), (None, true, None));
    });
    let mut facts = facts.to_vec();
    facts.push(count(4, 5, at(9, 0)));
    assert_eq!(balance(&facts).0, 5);
}

#[test]
fn among_counts_of_one_instant_the_next_best_holds_when_the_best_is_taken_back() {
    let (best, next) = (count(1, 7, at(12, 0)), Fact { rank: 2, ..count(2, 9, at(12, 0)) });
    let facts = [best.clone(), next, correction(3, &best, None), adjust(4, -1, at(12, 1))];
    assert_eq!(balance(&facts), (8, 8, 8, 9));
}

#[test]
fn the_bracket_holds_while_a_correction_waits_for_what_it_corrects() {
    let counted = Fact { epsilon_ms: 120_000, ..count(1, 10, at(12, 0)) };
    let sale = adjust(2, -2, at(12, 1));
    let voided = correction(3, &sale, None);
    let stock = stock_of(&[counted.clone(), voided.clone()]);
    assert_eq!((stock.book, stock.lo, stock.hi), (Some(12), Some(10), Some(12)));
    assert_eq!(balance(&[counted, voided, sale]), (10, 10, 10, 10));
}

#[test]
fn a_fact_too_old_to_be_judged_leaves_its_key_in_doubt() {
    let facts = [count(1, 10, at(30, 0)), adjust(2, -1, at(1, 0)), count(3, 7, at(31, 0))];
    let records = vec![Records::Facts(items(&facts.each_ref().map(described)))];
    let ticks: &[(TimeMs, &[(usize, Status)])] = &[
        (at(30, 0), &[(0, Status::CaughtUp)]),
        (at(30, 1), &[(1, Status::CaughtUp)]),
        (at(30, 2), &[(2, Status::CaughtUp)]),
        (at(31, 0), &[(3, Status::CaughtUp)]),
    ];
    let snapshots = naive(&story(1, records, ticks));
    let said = snapshots.iter().filter_map(|snapshot| snapshot.get(&ViewId::of::<Availability>()));
    let said = said.map(|rows| match rows.keys().next() {
        Some(Row::Availability(row)) => (row.reason, row.quantity, row.fresh_through_ms),
        other => panic!("no availability: {other:?}"),
    });
    let said: Vec<_> = said.collect();
    assert_eq!(
        said,
        [(Reason::InStock, 10, Some(at(54, 0))), (Reason::InDoubt, 0, None), (Reason::InStock, 7, Some(at(55, 0)))]
    );
    let health = health(&snapshots[3], 0);
    assert_eq!((health.on_time, health.late, health.too_old), (2, 1, 1));
}

/// A counted shop (20 less 3 sold), one without a count (5 came), one counted while 2 were sold (10, perhaps 8), a depot whose
/// count was taken back, and damaged goods apart. Worked out by hand.
#[test]
fn a_sku_is_added_up_over_its_nodes() {
    let at_node = |node: &str, fact: Fact| Fact { node: node.into(), ..fact };
    let void = count(5, 9, at(8, 0));
    let facts = [
        at_node("shop-1", count(1, 20, at(8, 0))),
        at_node("shop-1", adjust(2, -3, at(9, 0))),
        at_node("shop-2", adjust(3, 5, at(9, 0))),
        at_node("shop-3", Fact { observed_from_ms: at(8, 0), ..count(4, 10, at(9, 0)) }),
        at_node("shop-3", adjust(7, -2, at(8, 30))),
        at_node("depot", void.clone()),
        at_node("depot", correction(6, &void, None)),
        at_node("shop-1", Fact { state: StockState::Damaged, ..adjust(8, 1, at(9, 0)) }),
    ];
    let described: Vec<_> = facts.iter().map(described).collect();
    let records = vec![Records::Facts(items(&described))];
    let ticks: &[(TimeMs, &[(usize, Status)])] =
        &[(24 * HOUR, &[(6, Status::Behind)]), (24 * HOUR, &[(described.len(), Status::Behind)])];
    let rows = |tick: usize| -> Vec<_> {
        let snapshots = naive(&story(1, records.clone(), ticks));
        snapshots[tick].get(&ViewId::of::<StockBySku>()).into_iter().flatten().map(|(row, _)| row.clone()).collect()
    };
    let row = |state, nodes, nodes_unknown, [book, lo, hi]: [i64; 3]| {
        let (tenant, sku): (Name, Name) = ("north".into(), "tea".into());
        let numbers = (Some(book), Some(lo), Some(hi));
        let (book, lo, hi) = numbers;
        Row::Sku(SkuRow { tenant, sku, state, nodes, nodes_unknown, nodes_in_doubt: 0, book, lo, hi })
    };
    assert_eq!(rows(0), [row(StockState::Sellable, 4, 0, [17 + 5 + 10 + 9, 17 + 5 + 8 + 9, 17 + 5 + 10 + 9])]);
    let sellable = row(StockState::Sellable, 4, 1, [17 + 5 + 10, 17 + 5 + 8, 17 + 5 + 10]);
    assert_eq!(rows(1), [sellable, row(StockState::Damaged, 1, 0, [1, 1, 1])]);
}
