//! What looks wrong at the end of a run, although every record is accounted for.

use crate::inputs::Looked;
use crate::terminal::say;
use dataflows::answer::Views;
use dataflows::configuration::{Plan, SourceSettings};
use dataflows::dead_letters::DeadLetters;
use dataflows::source_health::SourceHealth;

/// What a person should look at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Doubts {
    told: Vec<String>,
    /// Whether no record of some source could be taken.
    pub(super) takes_nothing: bool,
}

/// The records of a source, added up over its partitions.
#[derive(Default)]
struct Read {
    read: i64,
    late: i64,
    dead: i64,
}

impl Doubts {
    /// Those of a plan, by what was found in its files and by its published views.
    pub(super) fn of(plan: &Plan, looked: &[Looked], views: &Views) -> Doubts {
        let mut doubts = Doubts::default();
        for (place, source) in plan.recorded.sources.iter().enumerate() {
            let in_files = looked.get(place).cloned().unwrap_or_default();
            doubts.told.extend(in_files.doubts(&source.name));
            let Read { read, late, dead } = read_of(source, views);
            // Of files it was told just now, with its reasons.
            if read > 0 && dead == read && !in_files.takes_nothing() {
                let reasons: String = reasons_of(source, views).iter().map(|reason| format!("\n  {reason}")).collect();
                doubts
                    .told
                    .push(format!("none of the {read} records of source \"{}\" was taken{reasons}", source.name));
            }
            doubts.takes_nothing |= read > 0 && dead == read;
            doubts.told.extend((late > read / 100).then(|| lateness(source, late, read)));
        }
        doubts
    }

    /// Says them on standard error.
    pub(super) fn tell(&self) {
        self.told.iter().for_each(|doubt| say(&format!("WARNING: {doubt}")));
        if self.takes_nothing {
            say("`aisle dead-letters list` shows every record that was not taken, with its reason and its bytes");
        }
    }
}

fn is_of(source: &SourceSettings, partition: &str) -> bool {
    partition.strip_prefix(source.name.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

fn read_of(source: &SourceSettings, views: &Views) -> Read {
    let rows = views.rows::<SourceHealth>().into_iter().filter(|row| is_of(source, &row.partition));
    rows.fold(Read::default(), |sum, row| Read {
        read: sum.read + row.read,
        late: sum.late + row.late,
        dead: sum.dead + row.dead_letters,
    })
}

/// The commonest reasons, each with its first example.
fn reasons_of(source: &SourceSettings, views: &Views) -> Vec<String> {
    let mut looked = Looked::default();
    for letter in views.rows::<DeadLetters>().into_iter().filter(|letter| is_of(source, &letter.partition)) {
        looked.refuses(&letter.code, &letter.detail, &letter.file, letter.line);
    }
    looked.reasons()
}

fn lateness(source: &SourceSettings, late: i64, read: i64) -> String {
    let SourceSettings { name, lateness_ms, .. } = source;
    let percent = late * 100 / read;
    format!(
        "{late} of {read} records of source \"{name}\" ({percent} %) were late, behind `lateness_ms = {lateness_ms}`: raise it; of a \
         source of files leave it out, and all of its records count (a new run, with --fresh)"
    )
}
