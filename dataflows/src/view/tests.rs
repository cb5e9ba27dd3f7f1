//! A column that comes to a view in the middle of a run: rows that are out keep their bytes, wherever they went, and also
//! after a restart. No view of ours has such a column, so one is made here, with a fold of its own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use operators::checkpoint::{Checkpoints, Depot, Part, Piece, Restore};
use operators::clock::Mark;
use operators::fold::{Fold, Folded, Now, Table, rows};
use operators::index::Index;
use operators::route::route;
use operators::shard::PlaceKey;
use operators::time::Tick;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use timely::dataflow::operators::{Input, Inspect};

use super::*;
use crate::answer::Views;
use crate::answer::subscribe::{Frame, Hub, HubBounds, Page, RunId, Subscription, Taken};
use crate::answer::testing::{WIDE, ask, changes};
use crate::build::Changes;
use crate::names::Name;
use crate::views::Collections;

/// The pieces of each SKU; later also how many of them are promised, counted from the tick on from which that is told.
#[derive(Debug)]
struct Promises;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct PromisesRow {
    sku: Name,
    pieces: i64,
    promised: Option<i64>,
}

impl View for Promises {
    type Row = PromisesRow;
    const NAME: &'static str = "promises";
    const QUESTION: &'static str = "how many pieces of each SKU there are, and are promised";
    const STAYS: Stays = Stays::Always;

    fn columns(_: &Recorded) -> Columns<PromisesRow> {
        let columns = vec![
            Column::integer("promised", "pieces that are promised", |row: &PromisesRow, _| {
                Cell::or_omitted(row.promised, Cell::Integer)
            })
            .within("of")
            .added(),
            Column::text("sku", "the product", |row: &PromisesRow, _| Cell::Text(&row.sku)),
            Column::integer("pieces", "pieces that are there", |row: &PromisesRow, _| Cell::Integer(row.pieces)),
        ];
        // The key lies behind the added column, as nobody would have it: places move where that is not there.
        Columns::new(1, columns).with_key(&["sku"]).placed_by(|row| row.pieces.unsigned_abs())
    }

    fn example() -> PromisesRow {
        PromisesRow { sku: "milk".into(), pieces: 3, promised: Some(1) }
    }
}

/// Stands where another view does.
impl Listed for Promises {
    type Store = Index<PromisesRow>;
    const ID: ViewId = ViewId(0);
    fn slot<'a, 'scope>(_: &'a mut Collections<'scope>) -> &'a mut Option<Changes<'scope, PromisesRow>> {
        unreachable!("no graph of ours has it")
    }
}

const SINCE: Tick = 5;

/// What is recorded of a run to which the column came then; of one that does not have it.
fn recorded(since: Option<Tick>) -> Recorded {
    let columns = since.map(|since| (Promises::ID, BTreeMap::from([("promised".to_owned(), since)])));
    Recorded { columns: columns.into_iter().collect(), ..Recorded::default() }
}

/// Counts both.
struct Counts {
    /// Where the column is recorded.
    since: Option<Tick>,
}

/// What is kept of a SKU; `promised` also says whether its row has the column.
#[derive(Default, Serialize, Deserialize)]
struct Count {
    pieces: i64,
    promised: Option<i64>,
}

/// Some pieces of a SKU come, or are promised.
type Fact = (Tick, u64, i64, i64);

impl Fold for Counts {
    type Input = Fact;
    type Key = u64;
    type Event = (Tick, i64, i64);
    type State = Count;
    type Value = (i64, Option<i64>);
    type Table = Table<u64, Count>;

    fn name(&self) -> &'static str {
        "Counts"
    }

    fn keys(&self, (tick, sku, pieces, promised): &Fact, post: &mut dyn FnMut(u64, Self::Event)) {
        post(*sku, (*tick, *pieces, *promised));
    }

    fn apply(&self, count: &mut Count, _: &u64, (tick, pieces, promised): &Self::Event) {
        count.pieces += pieces;
        if self.since.is_some_and(|since| *tick >= since) {
            *count.promised.get_or_insert(0) += promised;
        }
    }

    fn seal(&self, count: &mut Count, _: &u64, now: &Now<'_>) {
        if self.since.is_some_and(|since| now.tick >= since) {
            count.promised.get_or_insert(0);
        }
    }

    fn values(&self, _: &u64, count: &Count, values: &mut Vec<Self::Value>) {
        values.extend((count.pieces != 0).then_some((count.pieces, count.promised)));
    }
}

/// Keeps the parts of a checkpoint.
#[derive(Default)]
struct Kept(Mutex<Vec<Part>>);

impl Depot for Kept {
    fn put(&self, _: Tick, _: usize, piece: Piece) {
        if let Piece::Part(part) = piece {
            self.0.lock().unwrap().push(part);
        }
    }

    fn has_room(&self) -> bool {
        true
    }
}

/// What comes at a tick: SKU 0 changes at each, 1 before the column and never again, 2 long after it, 3 is taken back then.
fn facts(tick: Tick) -> Vec<Fact> {
    let mut facts = vec![(tick, 0, 1, 1)];
    match tick {
        1 => facts.extend([1, 2, 3].map(|sku| (tick, sku, 10, 2))),
        9 => facts.extend([(tick, 2, 1, 1), (tick, 3, -10, 0)]),
        _ => {}
    }
    facts
}

type ByTick = BTreeMap<Tick, Vec<(PromisesRow, i64)>>;

/// The changes of ticks; a checkpoint is taken as of the last one.
fn run(since: Option<Tick>, ticks: Range<Tick>, restore: Option<Restore>) -> (ByTick, Vec<Part>) {
    let kept = Arc::new(Kept::default());
    let depot = Arc::clone(&kept);
    let shown = timely::execute::execute_directly(move |worker| {
        let shown: Rc<RefCell<ByTick>> = Rc::default();
        let checkpoints = Checkpoints::new(0, Some(depot), restore);
        let (mut facts_in, mut marks_in) = worker.dataflow::<Tick, _, _>(|scope| {
            let (facts_in, facts) = scope.new_input::<Vec<Fact>>();
            let (marks_in, marks) = scope.new_input::<Vec<Mark>>();
            let fold = Rc::new(Counts { since });
            let row = |_: &Counts, sku: &u64, (pieces, promised): &(i64, Option<i64>)| {
                Some(PromisesRow { sku: format!("sku-{sku}").into(), pieces: *pieces, promised: *promised })
            };
            let postings = route(facts, "RouteCounts", Rc::clone(&fold), PlaceKey::WRITTEN);
            let shown = Rc::clone(&shown);
            postings.fold_into(fold, marks, &checkpoints, rows(row)).0.inspect(move |(row, tick, diff)| {
                shown.borrow_mut().entry(*tick).or_default().push((row.clone(), *diff as i64));
            });
            (facts_in, marks_in)
        });
        for tick in ticks.clone() {
            facts_in.advance_to(tick);
            marks_in.advance_to(tick);
            facts(tick).into_iter().for_each(|fact| facts_in.send(fact));
            let checkpoint = tick + 1 == ticks.end;
            marks_in.send(Mark { tick, now_ms: 0, watermarks: [].into(), reached: [].into(), checkpoint });
        }
        drop((facts_in, marks_in));
        while worker.has_dataflows() {
            worker.step();
        }
        shown.take()
    });
    let parts = std::mem::take(&mut *kept.0.lock().unwrap());
    (shown, parts)
}

fn views(since: Option<Tick>) -> Views {
    let recorded = recorded(since);
    let codecs = Codecs::new(&recorded).with::<Promises>(&recorded);
    Views::new(codecs, &[Promises::ID], WIDE)
}

/// Texts of rows that came and went: an insertion and its retraction cancel only as the same bytes.
#[derive(Default)]
struct Texts(BTreeMap<String, i64>);

impl Texts {
    fn add(&mut self, row: &str, diff: i64) {
        let copies = self.0.entry(row.to_owned()).or_insert(0);
        *copies += diff;
        assert!(*copies >= 0, "{row} was never there");
        self.0.retain(|_, copies| *copies != 0);
    }

    fn rows(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

/// The text that a change's row has in a frame.
fn take_frame(texts: &mut Texts, frame: &Frame) {
    if let Some((head, row)) = frame.split_once(",\"row\":") {
        let diff = head.rsplit(':').next().unwrap().parse().unwrap();
        texts.add(row.strip_suffix('}').unwrap(), diff);
    }
}

const END: Tick = 12;

const IN_THE_END: [&str; 3] = [
    r#"{"of":{"promised":1},"sku":"sku-2","pieces":11}"#,
    r#"{"of":{"promised":7},"sku":"sku-0","pieces":12}"#,
    r#"{"sku":"sku-1","pieces":10}"#,
];

#[test]
fn every_retraction_cancels_its_insertion_where_a_column_comes_in_the_middle_of_a_run() {
    let (by_tick, _) = run(Some(SINCE), 0..END, None);
    let mut views = views(Some(SINCE));
    let mut hub = Hub::new(RunId::default(), HubBounds::default());
    let (mut files, mut messages) = (Texts::default(), Texts::default());
    let (mut followed, mut read) = (Texts::default(), Texts::default());
    let ring = hub.admit(Promises::ID).unwrap();
    let mut told = Vec::new();
    for tick in 0..END {
        let rows = by_tick.get(&tick).cloned().unwrap_or_default();
        let codec = views.codec_of(Promises::ID);
        codec.texts(&rows).iter().for_each(|text| files.add(&text.row, text.diff));
        for keyed in codec.keyed_texts(&rows) {
            messages.add(&keyed.row, keyed.diff);
            let sku: Value = serde_json::from_str(&keyed.row).unwrap();
            assert_eq!(keyed.key, format!(r#"{{"sku":{}}}"#, sku["sku"]), "the key is what it was");
        }
        views.apply_tick(tick, 0, vec![changes::<Promises>(rows)], vec![]).unwrap();
        hub.publish(&views);
        if tick == 0 {
            assert!(hub.follow(ring, 1));
            files.0.keys().for_each(|row| followed.add(row, 1));
        } else if let Taken::Frames(frames) = hub.take(ring, usize::MAX) {
            for frame in frames {
                let has_column = frame.contains("\"promised\":");
                assert!(!has_column || frame.starts_with("{\"columns\"") || !told.is_empty(), "told before: {frame}");
                told.extend(frame.starts_with("{\"columns\"").then_some((tick, frame.to_string())));
                take_frame(&mut followed, &frame);
            }
        }
    }
    let column = json!({
        "name": "promised", "says": "pieces that are promised", "holds": "integer", "unit": "count", "within": "of",
        "since": SINCE,
    });
    let told: Vec<(Tick, Value)> =
        told.into_iter().map(|(tick, frame)| (tick, serde_json::from_str(&frame).unwrap())).collect();
    assert_eq!(told, [(SINCE, json!({"columns": {"version": 2, "added": [column]}}))]);
    // From every tick on, by a snapshot and by a token.
    for from in 0..END {
        for query in [("as_of", from.to_string()), ("token", format!("session_minutes:0000000000000000:{from}"))] {
            let begins = [(query.0.to_owned(), query.1)];
            let mut subscription = Subscription::begin(&views, "session_minutes", &begins).unwrap();
            let mut frames = Vec::new();
            while let Page::Frames(page) = subscription.page(&views) {
                frames.extend(page);
            }
            let told = frames.iter().filter(|frame| frame.starts_with("{\"columns\"")).count();
            let expected = usize::from(query.0 == "as_of" || from <= SINCE);
            assert_eq!(told, expected, "{begins:?}");
            let first = frames.iter().position(|frame| frame.contains("\"promised\"")).unwrap();
            assert!(frames[first].starts_with("{\"columns\"") || from > SINCE, "{begins:?}");
            if begins[0].1 == "0" && query.0 == "as_of" {
                frames.iter().for_each(|frame| take_frame(&mut read, frame));
            }
        }
    }
    for texts in [&files, &messages, &followed, &read] {
        assert_eq!(texts.rows(), IN_THE_END);
    }
    let (_, body) = ask(&views, "/v1/views", &[]);
    assert_eq!((&body["views"][0]["version"], &body["views"][1]["version"]), (&2.into(), &1.into()));
    assert_eq!(body["views"][0]["columns"][0]["since"], 5);
    let (_, listing) = ask(&views, "/v1/views/session_minutes", &[]);
    let listed: BTreeSet<String> = listing["rows"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert!(listed.iter().eq(IN_THE_END), "{listed:?}");
}

/// What a restored fold shows, and every change from there on, has the bytes of the run that was not restarted.
#[test]
fn a_restored_run_takes_back_the_bytes_that_are_out() {
    let codec = codec::<Promises>(&recorded(Some(SINCE)));
    let mut texts = Texts::default();
    let mut expected = Vec::new();
    let (by_tick, _) = run(Some(SINCE), 0..END, None);
    for rows in by_tick.values() {
        let changes = codec.texts(rows);
        changes.iter().for_each(|text| texts.add(&text.row, text.diff));
        expected.push((changes, texts.0.clone()));
    }
    for upper in 2..END {
        // Whoever saved before the column came knew nothing of it.
        let saved_with = (upper > SINCE).then_some(SINCE);
        let (_, parts) = run(saved_with, 0..upper, None);
        let restore = Restore { upper, parts: parts.into_iter().map(Into::into).collect() };
        let (resumed, _) = run(Some(SINCE), upper - 1..END, Some(restore));
        let mut resumed = resumed.into_iter();
        let (at, shown) = resumed.next().unwrap();
        assert_eq!(at, upper - 1);
        let shown: BTreeMap<String, i64> = codec.texts(&shown).into_iter().map(|text| (text.row, text.diff)).collect();
        assert_eq!(shown, expected[at as usize].1, "restored as of {at}");
        for (tick, rows) in resumed {
            assert_eq!(codec.texts(&rows), expected[tick as usize].0, "tick {tick} after {at}");
        }
    }
}

#[test]
fn a_run_that_does_not_record_the_column_writes_what_it_wrote_before() {
    let codec = codec::<Promises>(&recorded(None));
    let names: Vec<_> = codec.columns().into_iter().map(|column| (column.name, column.is_key)).collect();
    assert_eq!(names, [("sku".to_owned(), true), ("pieces".to_owned(), false)]);
    assert_eq!((codec.version_at(Tick::MAX), codec.added()), (1, &[][..]));
    assert_eq!(codec.example(), r#"{"sku":"milk","pieces":3}"#);
    let (by_tick, _) = run(None, 0..END, None);
    assert!(by_tick.values().flatten().all(|(row, _)| row.promised.is_none()));
}
