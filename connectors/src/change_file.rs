//! Changes as files: one for each shard of a view, every line a JSON object.
//!
//! ```text
//! {"tick":7,"diff":-1,"row":{...}}                             a change
//! {"progress":8,"sealed_through":{"north/events":1700000040000,"north/facts":null}}
//!                                                              every tick below 8 is complete
//! ```
//!
//! In `sealed_through`, `null` is before every event time and `"end"` after all of them. A tick that changes nothing and
//! seals nothing leaves no line. So the bytes of a file depend on the ticks alone as long as each is written by a call of
//! its own, and a run that was killed and resumed leaves the same file as one that was not.
//!
//! The file is its own progress: what follows the last progress line is cut off on resuming.

use std::collections::BTreeMap;
use std::fmt::Write;

use operators::disk::Disk;
use operators::sink::{Changes, Sink, SinkError};
use operators::time::{MINUS_INFINITY, PLUS_INFINITY, Tick, TimeMs};

use crate::change_file::tail::{Tail, read_tail};

mod tail;
#[cfg(test)]
mod tests;

/// Writes each shard of a view to `sinks/<view>/shard-<number>.ndjson`.
#[derive(Debug)]
pub struct ChangeFileSink<D> {
    disk: D,
    shards: BTreeMap<(String, u32), ShardFile>,
}

#[derive(Debug)]
struct ShardFile {
    name: String,
    /// Lines that are not in the file yet.
    buffer: String,
    /// Whether the file holds something that a crash might take.
    unsynced: bool,
    /// Ticks below are written already.
    next_tick: Tick,
    /// How far the last progress line was sealed, as it stands there.
    sealed_through: Option<String>,
}

impl<D: Disk> ChangeFileSink<D> {
    /// A sink of files on this disk.
    pub fn new(disk: D) -> Self {
        ChangeFileSink { disk, shards: BTreeMap::new() }
    }

    /// The shard's file as it was left, cut off behind its last progress line.
    fn open(&mut self, view: &str, shard: u32) -> Result<ShardFile, SinkError> {
        let name = format!("sinks/{view}/shard-{shard}.ndjson");
        let unwritable = |doing| {
            let name = name.clone();
            move |source| SinkError::Unwritable { name, doing, source }
        };
        let file = self.disk.read(&name).map_err(unwritable("read"))?.unwrap_or_default();
        let Tail { bytes, progress, sealed_through } =
            read_tail(&file).map_err(|what| SinkError::Foreign { name: name.clone(), what })?;
        if bytes < file.len() {
            tracing::warn!(
                file = name,
                offset = bytes,
                bytes = file.len() - bytes,
                "cut off changes that a crash had left incomplete"
            );
            self.disk.truncate(&name, bytes as u64).map_err(unwritable("cut the torn tail off"))?;
        }
        if !file.is_empty() {
            // What the last process wrote may not be on the disk yet, and whoever resumes counts on it.
            self.disk.sync(&name).map_err(unwritable("synchronise"))?;
        }
        let sealed_through = sealed_through.map(str::to_owned);
        Ok(ShardFile { name, buffer: String::new(), unsynced: false, next_tick: progress, sealed_through })
    }
}

impl<D: Disk> Sink for ChangeFileSink<D> {
    fn resume(&mut self, view: &str, shard: u32) -> Result<Tick, SinkError> {
        let file = self.open(view, shard)?;
        let progress = file.next_tick;
        self.shards.insert((view.to_owned(), shard), file);
        Ok(progress)
    }

    fn write(&mut self, changes: &Changes) -> Result<(), SinkError> {
        let key = (changes.view.clone(), changes.shard);
        if !self.shards.contains_key(&key) {
            self.resume(&changes.view, changes.shard)?;
        }
        self.shards.get_mut(&key).expect("it was resumed just now").write(changes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        for file in self.shards.values_mut() {
            let unwritable = |doing| {
                let name = file.name.clone();
                move |source| SinkError::Unwritable { name, doing, source }
            };
            if !file.buffer.is_empty() {
                self.disk.append(&file.name, file.buffer.as_bytes()).map_err(unwritable("append to"))?;
                file.buffer.clear();
                file.unsynced = true;
            }
            if file.unsynced {
                self.disk.sync(&file.name).map_err(unwritable("synchronise"))?;
                file.unsynced = false;
            }
        }
        Ok(())
    }
}

impl ShardFile {
    fn write(&mut self, changes: &Changes) {
        if changes.upper <= self.next_tick {
            return;
        }
        let wanted = changes.changes.iter().filter(|(tick, _)| *tick >= self.next_tick);
        let mut is_quiet = true;
        for (tick, change) in wanted {
            is_quiet = false;
            writeln!(self.buffer, "{{\"tick\":{tick},\"diff\":{},\"row\":{}}}", change.diff, change.row)
                .expect("a string takes everything");
        }
        self.next_tick = changes.upper;
        let sealed_through = sealed_through_as_json(&changes.sealed_through);
        if is_quiet && self.sealed_through.as_ref() == Some(&sealed_through) {
            return;
        }
        writeln!(self.buffer, "{{\"progress\":{},\"sealed_through\":{sealed_through}}}", changes.upper)
            .expect("a string takes everything");
        self.sealed_through = Some(sealed_through);
    }
}

fn sealed_through_as_json(sealed_through: &[(String, TimeMs)]) -> String {
    let mut json = String::from("{");
    for (index, (group, time_ms)) in sealed_through.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let group = serde_json::to_string(group).expect("every string has a form in JSON");
        match *time_ms {
            MINUS_INFINITY => write!(json, "{comma}{group}:null"),
            PLUS_INFINITY => write!(json, "{comma}{group}:\"end\""),
            finite => write!(json, "{comma}{group}:{finite}"),
        }
        .expect("a string takes everything");
    }
    json.push('}');
    json
}
