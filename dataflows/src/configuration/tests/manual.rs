//! The manual says what the comments of the structs say, of every key; and the defaults that it prints are the defaults.

use serde::de::DeserializeOwned;

use super::super::section::fields_of;
use super::super::written::*;
use super::*;

const MANUAL: &str = include_str!("../../../../docs/configuration.md");
const STRUCTS: &str = include_str!("../written.rs");

const HEADINGS: [(&str, &str); 19] = [
    ("WrittenFile", "The file"),
    ("WrittenCheckpoints", "`[checkpoints]`"),
    ("WrittenHistory", "`[history]`"),
    ("WrittenTime", "`[time]`"),
    ("WrittenKafka", "`[kafka]`"),
    ("WrittenKafkaTls", "`[kafka.tls]`"),
    ("WrittenKafkaSasl", "`[kafka.sasl]`"),
    ("WrittenLogs", "`[logs]`"),
    ("WrittenRegistry", "`[registry]`"),
    ("WrittenSource", "`[[sources]]`"),
    ("WrittenTenant", "`[[tenants]]`"),
    ("WrittenExperiment", "`[[experiments]]`"),
    ("WrittenVariant", "`variants` of an experiment"),
    ("WrittenFactSource", "`[fact_sources.…]`"),
    ("WrittenSessions", "`[sessions]`"),
    ("WrittenInventory", "`[inventory]`"),
    ("WrittenView", "`[views.…]`"),
    ("WrittenUnitOverlap", "`[unit_overlap]`"),
    ("WrittenSink", "`[[sinks]]`"),
];

/// The reference: each struct a section, each field an entry, in the words of their comments.
fn reference() -> String {
    let mut text = String::new();
    let mut comment = String::new();
    for line in STRUCTS.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("/// ") {
            comment.push_str(if comment.is_empty() { "" } else { "\n  " });
            comment.push_str(words);
        } else if let Some(name) = line.strip_prefix("pub(super) struct ").and_then(|rest| rest.strip_suffix(" {")) {
            let heading = HEADINGS.iter().find(|(known, _)| *known == name).map(|(_, heading)| *heading);
            let comment = std::mem::take(&mut comment).replace("\n  ", "\n");
            text.push_str(&format!("\n### {}\n\n{comment}\n\n", heading.expect(name)));
        } else if let Some((name, _)) = line.strip_prefix("pub(super) ").and_then(|rest| rest.split_once(": ")) {
            text.push_str(&format!("- `{name}`: {}\n", std::mem::take(&mut comment)));
        } else if !line.starts_with("#[") {
            comment.clear();
        }
    }
    text
}

#[test]
fn the_manual_repeats_the_comments_of_every_key() {
    let reference = reference();
    assert!(MANUAL.ends_with(&reference), "docs/configuration.md has to end with:\n<<<<{reference}>>>>");
    fn named<T: DeserializeOwned>() {
        let fields = fields_of::<T>();
        assert!(!fields.is_empty());
        assert!(fields.iter().all(|name| MANUAL.contains(&format!("\n- `{name}`: "))), "{fields:?}");
    }
    named::<WrittenFile>();
    named::<WrittenTime>();
    named::<WrittenKafka>();
    named::<WrittenKafkaTls>();
    named::<WrittenKafkaSasl>();
    named::<WrittenRegistry>();
    named::<WrittenSource>();
    named::<WrittenTenant>();
    named::<WrittenExperiment>();
    named::<WrittenVariant>();
    named::<WrittenFactSource>();
    named::<WrittenSessions>();
    named::<WrittenInventory>();
    named::<WrittenCheckpoints>();
    named::<WrittenHistory>();
    named::<WrittenView>();
    named::<WrittenUnitOverlap>();
    named::<WrittenSink>();
}

/// The blocks of TOML in the manual: the shortest configuration, and the same with every default written out.
#[test]
fn the_defaults_in_the_manual_are_the_defaults() {
    let blocks: Vec<&str> = MANUAL.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [shortest, whole] = blocks[..] else { panic!("{} blocks", blocks.len()) };
    let (shortest, whole) = (settings(shortest), settings(whole));
    assert_eq!(shortest.local, whole.local);
    assert_eq!(plan(&shortest).canonical(), plan(&whole).canonical());
}

#[test]
fn the_sample_says_where_the_manual_is() {
    assert!(SAMPLE.contains("docs/configuration.md"));
}
