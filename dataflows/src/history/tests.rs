//! Boundaries, and that neither a restart nor a checkpoint moves one: random histories, cut short at random ticks.

use super::*;
use crate::configuration::Recorded;
use crate::experiment::measures::Measures;
use crate::view::View;

const BOUNDARIES: Boundaries = Boundaries { file_ms: 600_000, rows_max: 12 };

fn row(tenant: &str, variant: &str, minute: i64, sessions_active: i64) -> VariantMinute {
    VariantMinute {
        tenant: Name::new(tenant),
        experiment: Name::new("button"),
        variant: Name::new(variant),
        minute_ms: minute * MINUTE_MS,
        sessions_active,
        sessions_started: 0,
        measures: Measures::default(),
    }
}

fn keeping(boundaries: Boundaries, written: Written) -> Keeping {
    Keeping::new(boundaries, written, Arc::new(VariantMinutes::columns(&Recorded::default())))
}

fn watermarks(of: &[(&str, TimeMs)]) -> BTreeMap<Name, TimeMs> {
    of.iter().map(|(tenant, watermark_ms)| (Name::new(tenant), *watermark_ms)).collect()
}

fn come(rows: &[VariantMinute]) -> Vec<(VariantMinute, i64)> {
    rows.iter().map(|row| (row.clone(), 1)).collect()
}

#[test]
fn files_end_where_time_enters_another_window() {
    let mut keeping = keeping(BOUNDARIES, Written::default());
    let rows = [row("a", "x", 1, 5), row("a", "x", 2, 6), row("a", "x", 3, 7)];
    let mut tick = |tick, now_ms, sealed_ms, changes: &[(VariantMinute, i64)]| {
        keeping.tick(Moment { tick, now_ms, watermarks: &watermarks(&[("a", sealed_ms)]) }, changes)
    };
    assert_eq!(tick(0, MINUS_INFINITY, MINUS_INFINITY, &[]), []);
    assert_eq!(tick(1, 300_000, 0, &come(&rows)), []);
    assert_eq!(tick(2, 599_999, 180_000, &[]), [], "two minutes are sealed, and the window is the same");
    let closed = tick(3, 600_000, 240_000, &[]);
    assert_eq!(closed.len(), 1);
    assert_eq!((closed[0].lower, closed[0].written.upper), (0, 3));
    assert_eq!(closed[0].rows, rows[..2], "what is sealed at the tick that ends a file belongs to the next one");
    assert_eq!(closed[0].written.sealed_through, watermarks(&[("a", 180_000)]));
    assert_eq!(tick(4, 1_199_999, 240_000, &[]), []);
    assert_eq!(tick(5, 5_000_000, 240_000, &[])[0].rows, rows[2..]);
    assert_eq!(tick(6, 9_000_000, 8_000_000, &[]), [], "nothing makes no file");
    let last = [row("a", "x", 150, 1)];
    let closed = tick(7, 9_000_000, PLUS_INFINITY, &come(&last));
    assert_eq!((closed[0].lower, closed[0].written.upper), (5, 8), "the end closes the last one at once");
    assert_eq!(closed[0].rows, last);
    assert_eq!(tick(8, 20_000_000, PLUS_INFINITY, &[]), []);
}

#[test]
fn many_rows_end_a_file_behind_their_tick() {
    let mut keeping = keeping(BOUNDARIES, Written::default());
    let rows: Vec<VariantMinute> = (0..30).map(|minute| row("a", "x", minute, 1)).collect();
    let closed =
        keeping.tick(Moment { tick: 4, now_ms: 0, watermarks: &watermarks(&[("a", 30 * MINUTE_MS)]) }, &come(&rows));
    assert_eq!(closed.len(), 1, "a tick is never divided");
    assert_eq!((closed[0].lower, closed[0].written.upper, closed[0].rows.len()), (0, 5, 30));
}

#[test]
fn names_are_read_as_they_are_written() {
    let closed = Closed {
        lower: 3,
        rows: vec![row("a", "x", 2, 1), row("b", "x", 1, 1)],
        written: Written { upper: 17, ..Written::default() },
    };
    let name = closed.name();
    assert_eq!(name.to_string(), "00000000000000000003-00000000000000000017-000000000060000-000000000120000.parquet");
    assert_eq!(FileName::parse(&name.to_string()), Some(name));
    for other in ["", "x.parquet", "3-17-60000-120000.parquet", "00000000000000000003-00000000000000000017.parquet"] {
        assert_eq!(FileName::parse(other), None, "{other}");
    }
    assert!(name.overlaps(0, 60_001) && name.overlaps(120_000, 120_001));
    assert!(!name.overlaps(0, 60_000) && !name.overlaps(120_001, 900_000));
    assert!(!Closed::beginning().name().overlaps(MINUS_INFINITY, PLUS_INFINITY));
}

/// What a dataflow gives in a tick.
struct Given {
    now_ms: TimeMs,
    watermarks: BTreeMap<Name, TimeMs>,
    changes: Vec<(VariantMinute, i64)>,
    /// The view as of the tick.
    view: BTreeSet<VariantMinute>,
}

/// Small numbers in no order, the same for every seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

const RETENTION_MS: i64 = 8 * MINUTE_MS;

/// Two tenants whose minutes change until they are sealed, and leave the view some minutes later.
fn history(seed: u64, ticks: usize) -> Vec<Given> {
    let mut chance = Chance(seed);
    let mut given: Vec<Given> = Vec::new();
    let (mut now_ms, mut view) = (0, BTreeSet::new());
    let mut sealed: BTreeMap<Name, TimeMs> = watermarks(&[("a", MINUS_INFINITY), ("b", MINUS_INFINITY)]);
    for tick in 0..ticks {
        let before: BTreeSet<VariantMinute> = BTreeSet::clone(&view);
        now_ms += chance.below(200_000) as i64 * i64::from(chance.below(3) > 0);
        let was_sealed = sealed.clone();
        for (tenant, sealed_ms) in &mut sealed {
            if chance.below(3) > 0 {
                *sealed_ms = (*sealed_ms).max(now_ms - 120_000 - chance.below(300_000) as i64);
            }
            if tick + 1 == ticks {
                *sealed_ms = PLUS_INFINITY;
            }
            for _ in 0..chance.below(4) {
                let minute = (now_ms - chance.below(400_000) as i64).max(0) / MINUTE_MS;
                if (minute + 1) * MINUTE_MS <= was_sealed[tenant] {
                    continue;
                }
                let variant = ["x", "y"][chance.below(2) as usize];
                let of = |row: &VariantMinute| {
                    row.tenant == *tenant && row.variant == variant && row.minute_ms == minute * MINUTE_MS
                };
                let old = view.iter().find(|row| of(row)).cloned();
                view.insert(row(tenant, variant, minute, 1 + old.as_ref().map_or(0, |old| old.sessions_active)));
                if let Some(old) = old {
                    view.remove(&old);
                }
            }
        }
        // A row is seen sealed before it leaves, as the module says: retention is that of the tick before.
        view.retain(|row| {
            let was_ms = was_sealed[&row.tenant];
            was_ms == MINUS_INFINITY || row.minute_ms + RETENTION_MS > was_ms
        });
        let gone = before.difference(&view).map(|row| (row.clone(), -1));
        let new = view.difference(&before).map(|row| (row.clone(), 1));
        let changes = gone.chain(new).collect();
        given.push(Given { now_ms, watermarks: sealed.clone(), changes, view: view.clone() });
    }
    given
}

fn give(keeping: &mut Keeping, tick: usize, given: &Given, changes: &[(VariantMinute, i64)]) -> Vec<Closed> {
    keeping.tick(Moment { tick: tick as Tick, now_ms: given.now_ms, watermarks: &given.watermarks }, changes)
}

/// Wherever a run is cut, however much of what was complete is written, whichever checkpoint that may be restored is: the files
/// that are written then, and those that were, are the files of a run that was never cut.
#[test]
fn no_restart_moves_a_boundary() {
    let (mut cuts, mut within, mut held_back) = (0, 0, 0);
    for seed in 0..300 {
        let ticks = 60;
        let history = history(seed, ticks);
        let mut whole = keeping(BOUNDARIES, Written::default());
        let mut files: Vec<Closed> = Vec::new();
        // By tick: how many files were complete, and what the keeping still needed.
        let mut progress = Vec::new();
        for (tick, given) in history.iter().enumerate() {
            files.extend(give(&mut whole, tick, given, &given.changes));
            progress.push((files.len(), whole.needed_from()));
        }
        let mut kept: Vec<&VariantMinute> = files.iter().flat_map(|file| &file.rows).collect();
        kept.sort();
        let count = kept.len();
        kept.dedup();
        assert!(count > 20 && kept.len() == count, "seed {seed}: every row is in one file, {count} rows");

        let mut chance = Chance(seed + 1_000_000);
        for _ in 0..20 {
            // A checkpoint is acknowledged once the first `acknowledging` ticks are published...
            let acknowledging = 1 + chance.below(ticks as u64) as usize;
            let (complete, needed) = progress[acknowledging - 1];
            let durable = complete - chance.below(2).min(complete as u64) as usize;
            let unwritten = files.get(durable).filter(|_| durable < complete).map(|file| file.lower);
            let acknowledged = [Some(acknowledging as Tick), needed, unwritten].into_iter().flatten().min().unwrap();
            held_back += usize::from(acknowledged < acknowledging as Tick);
            let upper = chance.below(acknowledged + 1) as usize;
            // ...and the run is cut at some tick behind that, with at least as many files.
            let cut = acknowledging + chance.below((ticks - acknowledging + 1) as u64) as usize;
            let more = progress[cut - 1].0 - durable;
            let durable = durable + chance.below(more as u64 + 1) as usize;

            let written = durable.checked_sub(1).map(|last| files[last].written.clone()).unwrap_or_default();
            within += usize::from(upper as Tick > written.upper);
            let mut again = keeping(BOUNDARIES, written);
            let mut found = files[..durable].to_vec();
            if let Some(restored) = upper.checked_sub(1) {
                let view: Vec<VariantMinute> = history[restored].view.iter().cloned().collect();
                found.extend(give(&mut again, restored, &history[restored], &come(&view)));
            }
            for (tick, given) in history.iter().enumerate().skip(upper) {
                found.extend(give(&mut again, tick, given, &given.changes));
            }
            assert_eq!(found, files, "seed {seed}: restored {upper}, cut at {cut}, {durable} files written");
            cuts += 1;
        }
    }
    assert!(within > cuts / 50 && held_back > cuts / 50, "{within} within a file, {held_back} held back, of {cuts}");
}
