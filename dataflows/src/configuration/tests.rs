//! What is parsed, and that every default is the documented one. The files beside this one hold the rest.

use super::*;
use crate::catalog::Population;
use crate::kind::KindId;
use crate::view::ViewId;

mod manual;
mod mistakes;
mod plans;
mod restarts;
mod sinks;
mod topics;

/// A user's own records: five lines are enough.
const OWN: &str = r#"[[sources]]
name = "own"
kind = "experiment"
files = "*.ndjson"
tenants = ["me"]
"#;

const SAMPLE: &str = include_str!("../../../samples/aisle.toml");

fn settings(text: &str) -> Settings {
    parse(text, "aisle.toml", Built::ALL).unwrap_or_else(|mistakes| panic!("{text}\n{}", told(&mistakes)))
}

fn told(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}

/// A file whose hash is made of its path.
fn file(path: &str) -> FileRecord {
    FileRecord { path: path.to_owned(), size_bytes: path.len() as u64, sha256: format!("{:064x}", path.len()) }
}

/// The plan where each source has two files.
fn plan(settings: &Settings) -> Plan {
    let names = settings.recorded.sources.iter().map(|source| &source.name);
    let partitions = settings.inputs.iter().zip(names).map(|(input, name)| match input {
        SourceInput::Files(files) => {
            files_of(files.partitioned(vec![file(&format!("{name}-2.ndjson")), file(&format!("{name}-1.ndjson"))]))
        }
        SourceInput::Topic(topic) => (0..2).map(|number| partition_of(&topic.topic, number)).collect(),
    });
    settings.plan(partitions.collect(), 1_736_000_000_000)
}

fn files_of(partitions: Vec<Vec<FileRecord>>) -> Vec<PartitionInput> {
    partitions.into_iter().map(PartitionInput::Files).collect()
}

/// A partition of a topic, which is read from ten times its number.
fn partition_of(topic: &str, partition: u32) -> PartitionInput {
    let first_offset = 10 * u64::from(partition);
    PartitionInput::Topic(TopicRecord { topic: topic.to_owned(), topic_id: "id".to_owned(), partition, first_offset })
}

#[test]
fn five_lines_are_enough() {
    let settings = settings(OWN);
    assert_eq!(settings.recorded.tenants, ["me"]);
    assert!(matches!(&settings.inputs[0], SourceInput::Files(files) if files.pattern == "*.ndjson"));
    assert_eq!(settings.local.listen.to_string(), "127.0.0.1:7171");
    let source = &settings.recorded.sources[0];
    assert_eq!(
        (source.name.as_str(), source.kind, source.weight),
        ("own", KindId::of::<crate::experiment::ExperimentEvents>(), 1)
    );
    assert_eq!(settings.recorded.views.len(), ViewId::count());
}

#[test]
fn the_sample_has_seven_sources_and_three_experiments() {
    let settings = settings(SAMPLE);
    let catalog = settings.catalog();
    assert_eq!(settings.recorded.tenants, ["complete-journey", "online-retail", "generated"]);
    assert_eq!(settings.recorded.sources.len(), 7);
    let experiments: Vec<_> =
        catalog.experiments.iter().map(|each| (each.tenant, each.name.as_str(), each.population)).collect();
    assert_eq!(
        experiments,
        [
            (0, "checkout-button", Population::Assigned),
            (1, "search-ranking", Population::Assigned),
            (2, "free-delivery", Population::Exposed)
        ]
    );
    let handheld = catalog.fact_source("handheld");
    assert_eq!((handheld.rank, handheld.epsilon_ms, handheld.class_b), (1, 60_000, false));
    assert!(catalog.fact_source("back-office").authority_for_snapshots);
    let lateness: Vec<i64> = settings.recorded.sources.iter().map(|source| source.lateness_ms).collect();
    assert_eq!(lateness, [600_000, 600_000, 600_000, 600_000, 600_000, 600_000, 300_000]);
}

#[test]
fn an_experiment_needs_its_tenant_its_name_and_its_variants_only() {
    let text = format!(
        "{OWN}[[experiments]]\ntenant = \"me\"\nname = \"x\"\nvariants = [{{ name = \"a\" }}, {{ name = \"b\", weight = 3 }}]\n"
    );
    let settings = settings(&text);
    let experiment = &settings.recorded.experiments[0];
    assert_eq!((experiment.layer.as_str(), experiment.seed.as_str(), experiment.traffic), ("x", "x", (0, 1_000_000)));
    assert_eq!(experiment.population, PopulationSetting::Assigned);
    assert_eq!(experiment.variants.iter().map(|variant| variant.weight).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn what_a_source_says_of_time_wins_over_what_all_say() {
    let text = format!("{OWN}idle_ms = 5\n[time]\nidle_ms = 7\nhold_ms = 8\n");
    let source = &settings(&text).recorded.sources[0];
    assert_eq!((source.idle_ms, source.hold_ms, source.lateness_ms, source.skew_max_ms), (5, 8, 600_000, 60_000));
}

#[test]
fn tenants_of_the_configuration_come_first_and_whoever_names_none_has_all() {
    let text =
        format!("{OWN}[[sources]]\nname = \"all\"\nkind = \"inventory\"\nfiles = \"f\"\n[[tenants]]\nname = \"you\"\n");
    let settings = settings(&text);
    assert_eq!(settings.recorded.tenants, ["you", "me"]);
    assert_eq!(settings.recorded.tenants_of(&settings.recorded.sources[0]), [1]);
    assert_eq!(settings.recorded.tenants_of(&settings.recorded.sources[1]), [0, 1]);
}

#[test]
fn files_are_read_in_the_order_of_their_names() {
    let files = |parallel| SourceFiles { pattern: String::new(), parallel, span: 0..0 };
    let found = || vec![file("b"), file("a")];
    assert_eq!(files(false).partitioned(found()), [[file("a"), file("b")]]);
    assert_eq!(files(true).partitioned(found()), [[file("a")], [file("b")]]);
}
