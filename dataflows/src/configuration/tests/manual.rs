//! The manual says what the comments of the structs say, of every key; and the defaults that it prints are the defaults.

use super::super::sections;
use super::*;

const MANUAL: &str = include_str!("../../../../docs/configuration.md");

/// The structs within sections; the first of a section's file is the section itself.
const WITHIN: [(&str, &str); 3] = [
    ("WrittenKafkaTls", "`[kafka.tls]`"),
    ("WrittenKafkaSasl", "`[kafka.sasl]`"),
    ("WrittenVariant", "`variants` of an experiment"),
];

/// A struct of what may be written, as its source has it.
struct Written {
    name: &'static str,
    comment: String,
    /// Each key, and its comment.
    keys: Vec<(&'static str, String)>,
}

/// The structs of a source file whose names begin with `Written`.
fn written_in(text: &'static str) -> Vec<Written> {
    let mut structs: Vec<Written> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut is_within = false;
    for line in text.lines() {
        let code = line.trim().trim_start_matches("pub(super) ");
        if let Some(words) = code.strip_prefix("/// ") {
            comment.push(words);
        } else if let Some(name) = code.strip_prefix("struct ").filter(|name| name.starts_with("Written")) {
            let name = name.strip_suffix(" {").expect("a struct with fields");
            structs.push(Written { name, comment: std::mem::take(&mut comment).join("\n"), keys: Vec::new() });
            is_within = true;
        } else if code.starts_with("#[") {
        } else if is_within && code != "}" {
            let (key, _) = code.split_once(": ").expect("a field");
            let last = structs.last_mut().expect("the struct of the field");
            last.keys.push((key, std::mem::take(&mut comment).join("\n  ")));
        } else {
            comment.clear();
            is_within = false;
        }
    }
    structs
}

/// The reference: each struct a part, each field an entry, in the words of their comments.
fn reference() -> Vec<String> {
    let entry = |(key, comment): &(&str, String)| format!("- `{key}`: {comment}\n");
    let part = |heading: &str, written: &Written| {
        let keys: String = written.keys.iter().map(entry).collect();
        format!("{heading}\n\n{}\n\n{keys}", written.comment)
    };
    let sections = sections::manual();
    let [file] = &mut written_in(sections::FILE)[..] else { panic!("one struct of the file") };
    file.keys.extend(sections.iter().map(|section| {
        let says: Vec<&str> = section.says.iter().map(|line| line.trim()).collect();
        (section.name, says.join("\n  "))
    }));
    let mut parts = vec![part("The file", file)];
    for section in &sections {
        for (place, written) in written_in(section.text).iter().enumerate() {
            if place == 0 {
                assert!(written.keys.iter().map(|(key, _)| key).eq(section.keys), "{}", written.name);
                parts.push(part(&format!("`{}`", section.heading), written));
            } else {
                let heading = WITHIN.iter().find(|(known, _)| *known == written.name);
                parts.push(part(heading.expect(written.name).1, written));
            }
        }
    }
    parts
}

#[test]
fn the_manual_repeats_the_comments_of_every_key() {
    let (_, printed) = MANUAL.split_once("\n### The file\n").expect("the manual has a reference");
    let printed = format!("The file\n{printed}");
    let mut printed: Vec<&str> = printed.split("\n### ").collect();
    let mut reference = reference();
    printed.sort();
    reference.sort();
    for part in &reference {
        assert!(printed.contains(&part.as_str()), "docs/configuration.md has to say:\n<<<<### {part}>>>>");
    }
    assert_eq!(printed, reference, "docs/configuration.md says more than there is");
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
