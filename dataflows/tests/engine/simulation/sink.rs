//! A simulated sink: one file a shard of a view, per complete tick its changes in the order in which they were emitted and
//! then the progress. It resumes behind the last progress that a crash left whole.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use crate::rows::{Row, rows_of};
use dataflows::build::Publication;
use dataflows::view::ViewId;
use operators::disk::Disk;
use operators::time::Tick;

use super::disk::FusedDisk;
use crate::history::History;
use crate::trial::Snapshot;

/// A shard of a view, and what was published for it and is not written.
struct Shard {
    name: String,
    /// The first tick that the file does not hold.
    next: Tick,
    /// The first tick that the file may lose in a crash.
    durable: Tick,
    waiting: BTreeMap<Tick, String>,
}

/// All files of a run.
pub struct Sink {
    disk: FusedDisk,
    shards: BTreeMap<(ViewId, u32), Shard>,
    /// Files that were longer than their progress.
    pub torn: u64,
}

impl Sink {
    /// Looks at the files and cuts off what lies behind the last progress.
    pub fn resume(mut disk: FusedDisk, history: &History) -> Self {
        let (mut shards, mut torn) = (BTreeMap::new(), 0);
        for (view, shard) in shards_of(history) {
            let name = name_of(view, shard);
            let text = String::from_utf8(disk.read(&name).unwrap().unwrap_or_default()).unwrap();
            let (length, next) = whole(&text);
            if length < text.len() {
                disk.truncate(&name, length as u64).unwrap();
                torn += 1;
            }
            shards.insert((view, shard), Shard { name, next, durable: next, waiting: BTreeMap::new() });
        }
        Sink { disk, shards, torn }
    }

    /// Takes what was published. What the file holds already is published again after a restart, and passed over.
    pub fn take(&mut self, publications: Vec<Publication>) {
        for publication in publications {
            let Publication::Changes(mut changes) = publication else { continue };
            changes.rows.make_canonical();
            let tick = changes.tick;
            let shard = self.shards.get_mut(&(changes.view, changes.shard)).expect("only shards that there are emit");
            if tick >= shard.next {
                let text = lines(tick, rows_of(&changes).iter().map(|(row, diff)| (row, *diff)));
                let again = shard.waiting.insert(tick, text);
                assert!(again.is_none(), "{} emitted tick {tick} twice", shard.name);
            }
        }
    }

    /// Appends every tick below `done`.
    pub fn write(&mut self, done: Tick) -> io::Result<()> {
        for shard in self.shards.values_mut() {
            while shard.next < done {
                let mut text = shard.waiting.remove(&shard.next).unwrap_or_default();
                text.push_str(&progress(shard.next));
                shard.next += 1;
                self.disk.append(&shard.name, text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Makes one file durable, or all.
    pub fn sync(&mut self, which: Option<u64>) -> io::Result<()> {
        let count = self.shards.len() as u64;
        for (number, shard) in (0..).zip(self.shards.values_mut()) {
            if shard.next > 0 && which.is_none_or(|which| which % count == number) {
                self.disk.sync(&shard.name)?;
                shard.durable = shard.next;
            }
        }
        Ok(())
    }

    /// The first tick that is not durable in every file.
    pub fn acknowledged(&self) -> Tick {
        self.shards.values().map(|shard| shard.durable).min().unwrap_or(Tick::MAX)
    }

    /// Whether every tick below `upper` is written.
    pub fn holds(&self, upper: Tick) -> bool {
        self.shards.values().all(|shard| shard.next >= upper)
    }
}

/// The files of a run that was never interrupted, from its views at each tick.
pub fn expected(history: &History, snapshots: &[Snapshot]) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<String, Vec<u8>> =
        shards_of(history).into_iter().map(|(view, shard)| (name_of(view, shard), Vec::new())).collect();
    for (tick, before, after) in steps(snapshots) {
        for (view, shard) in shards_of(history) {
            let mut changes = differences(view, before, after);
            let count = u64::from(history.plan.views[view.index()].shards);
            changes.retain(|row, _| row.place() % count == u64::from(shard));
            let text = lines(tick, changes.into_iter()) + &progress(tick);
            files.get_mut(&name_of(view, shard)).unwrap().extend(text.as_bytes());
        }
    }
    files
}

/// Each tick with what the views were before and after it.
pub fn steps(snapshots: &[Snapshot]) -> impl Iterator<Item = (Tick, &Snapshot, &Snapshot)> {
    static NOTHING: Snapshot = Snapshot::new();
    let before = std::iter::once(&NOTHING).chain(snapshots);
    (0..).zip(before.zip(snapshots)).map(|(tick, (before, after))| (tick, before, after))
}

/// The changes of a view, in canonical order.
pub fn differences<'a>(view: ViewId, before: &'a Snapshot, after: &'a Snapshot) -> BTreeMap<&'a Row, i64> {
    let mut changes: BTreeMap<&Row, i64> = BTreeMap::new();
    let [before, after] = [before, after].map(|snapshot| snapshot.get(&view).into_iter().flatten());
    after.for_each(|(row, count)| *changes.entry(row).or_default() += count);
    before.for_each(|(row, count)| *changes.entry(row).or_default() -= count);
    changes.retain(|_, diff| *diff != 0);
    changes
}

fn shards_of(history: &History) -> Vec<(ViewId, u32)> {
    let enabled = ViewId::all().filter(|view| history.plan.views[view.index()].enabled);
    enabled.flat_map(|view| (0..history.plan.views[view.index()].shards).map(move |shard| (view, shard))).collect()
}

fn name_of(view: ViewId, shard: u32) -> String {
    format!("{}-{shard}", view.name())
}

fn lines<'a>(tick: Tick, changes: impl Iterator<Item = (&'a Row, i64)>) -> String {
    changes.fold(String::new(), |mut text, (row, diff)| {
        let _ = writeln!(text, "{tick} {diff:+} {}", row.to_json());
        text
    })
}

fn progress(tick: Tick) -> String {
    format!("progress {tick}\n")
}

/// How long the file is through its last whole progress, and the tick after it.
fn whole(text: &str) -> (usize, Tick) {
    let (mut length, mut next, mut at) = (0, 0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        let tick = line.strip_prefix("progress ").and_then(|rest| rest.strip_suffix('\n'));
        if let Some(tick) = tick {
            (length, next) = (at, tick.parse::<Tick>().unwrap() + 1);
        }
    }
    (length, next)
}
