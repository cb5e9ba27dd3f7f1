//! Rows that change by time alone: in exactly the tick in which they should, also where the fold was restored meanwhile.

use std::marker::PhantomData;
use std::sync::Arc;

use dataflows::experiment::assignments::VariantKey;
use dataflows::experiment::rollups::{MinuteDelta, VariantMinuteKey, VariantMinutesFold};
use dataflows::inventory::availability::Policy;
use dataflows::inventory::availability::Reason;
use dataflows::inventory::fact::StockState;
use dataflows::inventory::ledger::fold::{LedgerFold, LedgerRow};
use dataflows::inventory::ledger::{Count, Entry, LedgerKey};
use operators::clock::Mark;
use operators::retain::{Retain, Until};
use operators::time::{MINUTE_MS, Tick, TimeMs};
use operators::topology::GroupId;

use super::running::{Run, rows};
use super::shown::Shown;
use super::streams;

/// One mark for each of these times; every watermark and `now` stand there.
fn marks(times_ms: &[TimeMs]) -> Vec<Mark> {
    let mark = |(tick, time_ms): (usize, &TimeMs)| {
        let watermarks: Arc<[TimeMs]> = vec![*time_ms; 6].into();
        Mark { tick: tick as Tick, now_ms: *time_ms, reached: Arc::clone(&watermarks), watermarks, checkpoint: false }
    };
    times_ms.iter().enumerate().map(mark).collect()
}

/// A run in which everything comes at tick 0.
fn all_at_first<F: Shown>(
    make: impl Fn() -> F + Send + Sync + 'static,
    first: Vec<(F::Key, F::Event)>,
    times_ms: &[TimeMs],
) -> Run<F> {
    let mut records = vec![Vec::new(); times_ms.len()];
    records[0] = vec![first];
    Run::new(make, records, &marks(times_ms))
}

/// What each tick's rows say, without an interruption and with one before each tick but the first.
fn said<F: Shown, S: PartialEq + std::fmt::Debug>(run: &Run<F>, say: impl Fn(&F::Row) -> Option<S>) -> Vec<Vec<S>> {
    let ticks = run.marks.len();
    let say = |rows: Vec<std::collections::BTreeMap<F::Row, isize>>| -> Vec<Vec<S>> {
        rows.iter().map(|rows| rows.keys().filter_map(&say).collect()).collect()
    };
    let whole = say(rows(&run.whole(2, 0), 0..ticks));
    for at in 1..ticks {
        let (before, parts) = run.with_checkpoint(at, 2, 1);
        let after = run.restored(at, &parts, 3, 2);
        let mut resumed = say(rows(&before, 0..ticks)[..at - 1].to_vec());
        resumed.extend(say(rows(&after, at - 1..ticks)));
        assert_eq!(resumed, whole, "restored at {at}");
    }
    whole
}

#[test]
fn a_row_leaves_when_it_is_out_of_retention() {
    let by_watermark = |_: &u64| Until::Watermark(GroupId(1), 30);
    let retain = move || Retain { name: "Retain", until: by_watermark, rows: PhantomData::<u64> };
    let run = all_at_first(retain, vec![(7, 1)], &[0, 29, 30, 31]);
    assert_eq!(said(&run, |row| Some(*row)), [vec![7], vec![7], vec![], vec![]]);

    let by_now = |_: &u64| Until::AfterMs(30);
    let retain = move || Retain { name: "Retain", until: by_now, rows: PhantomData::<u64> };
    let run = all_at_first(retain, vec![(7, 1)], &[5, 34, 35, 36]);
    assert_eq!(said(&run, |row| Some(*row)), [vec![7], vec![7], vec![], vec![]]);
}

#[test]
fn a_count_becomes_stale_with_no_fact() {
    let catalog = streams::catalog();
    let policy = Policy { safety_stock: 0, count_trusted_ms: 100 };
    let key = LedgerKey { tenant: 1, state: StockState::Sellable, node: "depot".into(), sku: "cup".into() };
    let count = Count { at_ms: 1_000, from_ms: 1_000, epsilon_ms: 0, rank: 0, id: 1.into(), quantity: 4 };
    let fold = move || LedgerFold { catalog: Arc::clone(&catalog), policy };
    let run = all_at_first(fold, vec![(key, Entry::Count(count))], &[1_000, 1_100, 1_101, 2_000]);
    let reasons = said(&run, |row| match row {
        LedgerRow::Availability(row) => Some((row.reason, row.quantity, row.fresh_through_ms)),
        LedgerRow::Stock(_) => None,
    });
    let (fresh, stale) = ((Reason::InStock, 4, Some(1_100)), (Reason::Stale, 0, None));
    assert_eq!(reasons, [vec![fresh], vec![fresh], vec![stale], vec![stale]]);
}

#[test]
fn a_minute_of_a_variant_leaves_when_it_is_out_of_retention() {
    let catalog = streams::catalog();
    let key = VariantMinuteKey { variant: VariantKey { experiment: 3, variant: 1 }, minute: 2 };
    let delta = MinuteDelta { active: 3, started: 1, ..MinuteDelta::default() };
    let fold = move || VariantMinutesFold { catalog: Arc::clone(&catalog), retention_ms: 500 };
    let end_ms = 3 * MINUTE_MS;
    let run = all_at_first(fold, vec![(key, delta)], &[0, end_ms, end_ms + 499, end_ms + 500, end_ms + 501]);
    let active = said(&run, |row| Some((row.minute_ms, row.sessions_active)));
    let there = vec![(2 * MINUTE_MS, 3)];
    assert_eq!(active, [there.clone(), there.clone(), there, vec![], vec![]]);
}
