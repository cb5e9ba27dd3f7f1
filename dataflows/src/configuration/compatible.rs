//! Whether a run may go on with another configuration than it began with.
//!
//! Compared are the recorded forms, key by key, so that a key added later can't be forgotten here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::plan::{FileRecord, Plan, TopicRecord};
use super::sections::SourceSettings;
use super::settings::Recorded;
use operators::time::Tick;

/// What a restart changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// How much disorder and silence sources may have, more partitions of topics, or views, columns and sinks that are new: a new
    /// entry of the remap log.
    Entry,
}

/// The keys of a source that may change at a restart.
const CHANGEABLE: [&str; 5] = ["lateness_ms", "measured", "hold_ms", "idle_ms", "skew_max_ms"];

/// What a restart with `wanted` changes, or else each difference that it can't have, with what to do.
///
/// When the run first started is no difference, so `wanted` may have any start; recorded again has to be the first one.
pub fn compatible(current: &Plan, wanted: &Plan) -> Result<Change, Vec<String>> {
    let mut differences = Vec::new();
    let joined = current.joined(wanted, Tick::MAX);
    compare("", Some(&unchangeable(&current.recorded)), Some(&unchangeable(&joined)), &mut differences);
    let files = wanted.recorded.sources.iter().zip(wanted.files_by_source());
    let after: BTreeMap<&str, _> = files.map(|(source, files)| (source.name.as_str(), (source, files))).collect();
    for (source, before) in current.recorded.sources.iter().zip(current.files_by_source()) {
        if let Some((wanted, after)) = after.get(source.name.as_str()) {
            compare_files(wanted, &before, after, &mut differences);
        }
    }
    for (place, source) in current.recorded.sources.iter().enumerate() {
        if let Some(after) = wanted.recorded.sources.iter().position(|after| after.name == source.name) {
            let before: Vec<_> = current.topic_records(place).collect();
            let after: Vec<_> = wanted.topic_records(after).collect();
            compare_topics(source, &before, &after, &mut differences);
        }
    }
    if !differences.is_empty() {
        let advice = |difference| format!("{difference}; put it back, or start a new run with --fresh");
        return Err(differences.into_iter().map(advice).collect());
    }
    // With partitions that were added the lanes are more, whatever their order is otherwise.
    let is_same = current.continued(wanted, 0).parameters.lanes == current.parameters.lanes;
    let has_added = joined.views.keys().any(|view| !current.recorded.views.contains_key(view))
        || joined.columns.values().flat_map(BTreeMap::values).any(|since| *since == Tick::MAX)
        || joined.sinks.iter().any(|sink| sink.since == Tick::MAX);
    Ok(if is_same && !has_added { Change::None } else { Change::Entry })
}

/// Recorded settings without what may change, and without what is added, which holds from no tick yet.
fn unchangeable(recorded: &Recorded) -> Value {
    let mut recorded = recorded.clone();
    recorded.views.retain(|_, settings| settings.since < Tick::MAX);
    recorded.columns.values_mut().for_each(|columns| columns.retain(|_, since| *since < Tick::MAX));
    recorded.columns.retain(|_, columns| !columns.is_empty());
    recorded.sinks.retain(|sink| sink.since < Tick::MAX);
    let recorded = recorded.of_views_that_are();
    let mut value = serde_json::to_value(&recorded).expect("settings are strings, integers and flags");
    let sources = value["sources"].as_array_mut().into_iter().flatten();
    for source in sources.filter_map(Value::as_object_mut) {
        source.retain(|key, _| !CHANGEABLE.contains(&key.as_str()));
    }
    value
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, differences: &mut Vec<String>) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => compare_objects(path, before, after, differences),
        (Some(Value::Array(before)), Some(Value::Array(after))) if is_named(before) && is_named(after) => {
            compare_lists(path, before, after, differences);
        }
        (Some(before), Some(after)) if before != after => {
            differences.push(format!("`{path}` was {before} and is {after}"));
        }
        (None, Some(_)) => differences.push(format!("`{path}` is new")),
        (Some(_), None) => differences.push(format!("`{path}` is gone")),
        _ => {}
    }
}

fn compare_objects(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, differences: &mut Vec<String>) {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        compare(&path, before.get(key), after.get(key), differences);
    }
}

/// Compares lists of what has names: by name, and then the order, since places in lists are numbers elsewhere.
fn compare_lists(path: &str, before: &[Value], after: &[Value], differences: &mut Vec<String>) {
    let count = differences.len();
    let by_name = |list: &[Value]| list.iter().map(|each| (name_of(each), each.clone())).collect::<Map<_, _>>();
    let (before, after) = (by_name(before), by_name(after));
    compare_objects(path, &before, &after, differences);
    if differences.len() == count && !before.keys().eq(after.keys()) {
        differences.push(format!("the order of `{path}` has changed"));
    }
}

fn is_named(list: &[Value]) -> bool {
    list.iter().all(|each| each.get("name").is_some())
}

/// The name, with the tenant where there is one: experiments of two tenants may have the same.
fn name_of(value: &Value) -> String {
    let text = |key| value.get(key).and_then(Value::as_str);
    let name = text("name").unwrap_or_default();
    text("tenant").map_or_else(|| format!("\"{name}\""), |tenant| format!("\"{tenant}/{name}\""))
}

fn compare_topics(
    source: &SourceSettings,
    before: &[&TopicRecord],
    after: &[&TopicRecord],
    differences: &mut Vec<String>,
) {
    let name = &source.name;
    let (Some(first), Some(now)) = (before.first(), after.first()) else {
        match (before.first(), after.first()) {
            (Some(topic), None) => {
                differences.push(format!("source \"{name}\" no longer has the topic {}", topic.topic))
            }
            (None, Some(topic)) => {
                differences.push(format!("source \"{name}\" did not have the topic {}", topic.topic))
            }
            _ => {}
        }
        return;
    };
    let (old, new) = (before.len(), after.len());
    if first.topic != now.topic {
        differences.push(format!("source \"{name}\" had the topic {} and has {}", first.topic, now.topic));
    } else if first.topic_id != now.topic_id {
        let (topic, old, new) = (&first.topic, &first.topic_id, &now.topic_id);
        differences.push(format!("topic {topic} of source \"{name}\" was created anew: its id was {old} and is {new}"));
    } else if new < old {
        differences.push(format!("topic {} of source \"{name}\" had {old} partitions and has {new}", first.topic));
    } else if new > old && source.identity_fixes_partition == Some(true) {
        differences.push(format!(
            "topic {} of source \"{name}\" had {old} partitions and has {new}, and `identity_fixes_partition = true` was \
             promised: an id may now be in two of them",
            first.topic
        ));
    }
}

fn compare_files(
    SourceSettings { name: source, measured: is_measured, .. }: &SourceSettings,
    before: &[Vec<FileRecord>],
    after: &[Vec<FileRecord>],
    differences: &mut Vec<String>,
) {
    let count = differences.len();
    let by_path = |partitions: &[Vec<FileRecord>]| -> BTreeMap<String, FileRecord> {
        partitions.iter().flatten().map(|file| (file.path.clone(), file.clone())).collect()
    };
    let (old, new) = (by_path(before), by_path(after));
    for (path, file) in &old {
        match new.get(path) {
            None => differences.push(format!("source \"{source}\" no longer has the file {path}")),
            Some(now) if now.size_bytes != file.size_bytes => {
                let (old, new) = (file.size_bytes, now.size_bytes);
                differences.push(format!("file {path} of source \"{source}\" had {old} bytes and now has {new}"));
            }
            Some(now) if now.sha256 != file.sha256 => {
                differences.push(format!("file {path} of source \"{source}\" has the same size but other content"));
            }
            Some(_) => {}
        }
    }
    for path in new.keys().filter(|path| !old.contains_key(*path)) {
        differences.push(format!("source \"{source}\" did not have the file {path}"));
    }
    // Where times are known the order follows from them, and from when they were looked at: a record that was ahead of the clock
    // is not for ever. It was recorded, so only what no clock decides is compared.
    let are_timed = |partitions: &[Vec<FileRecord>]| partitions.iter().flatten().any(|file| file.times.is_some());
    let differ = match (are_timed(before), are_timed(after)) {
        (false, false) => before != after,
        (true, true) => !is_measured && before.len() != after.len(),
        _ => false,
    };
    if differences.len() == count && differ {
        differences.push(format!("the files of source \"{source}\" are divided into partitions differently"));
    }
}
