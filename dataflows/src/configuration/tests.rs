//! What is parsed, and that every default is the documented one. The files beside this one hold the rest.

use operators::disorder::EventTimes;

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
    FileRecord {
        path: path.to_owned(),
        size_bytes: path.len() as u64,
        sha256: format!("{:064x}", path.len()),
        times: None,
    }
}

/// The plan where each source has two files.
fn plan(settings: &Settings) -> Plan {
    let names = settings.recorded.sources.iter().map(|source| &source.name);
    let partitions = settings.inputs.iter().zip(names).map(|(input, name)| match input {
        SourceInput::Files(files) => files_of(files.partitioned(
            vec![file(&format!("{name}-2.ndjson")), file(&format!("{name}-1.ndjson"))],
            0,
            true,
        )),
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

/// A file with these event times, in order.
fn timed(path: &str, times: std::ops::RangeInclusive<i64>) -> FileRecord {
    FileRecord { times: Some(times.collect::<EventTimes>()), ..file(path) }
}

#[test]
fn files_are_read_in_the_order_of_their_times_and_none_of_their_records_is_late() {
    let files = SourceFiles { pattern: String::new(), parallel: false, span: 0..0 };
    let paths = |partitions: &[Vec<FileRecord>]| -> Vec<Vec<String>> {
        partitions.iter().map(|files| files.iter().map(|file| file.path.clone()).collect()).collect()
    };
    let days = vec![timed("day-10", 100..=109), timed("day-2", 20..=29), timed("day-1", 10..=19)];
    let divided = files.partitioned(days, 0, true);
    assert_eq!(paths(&divided), [["day-1", "day-2", "day-10"]]);
    let halves = || vec![timed("a", 10..=19), timed("b", 12..=21)];
    let beside = files.partitioned(halves(), 0, true);
    assert_eq!(paths(&beside), [["a"], ["b"]]);
    let behind = files.partitioned(halves(), 0, false);
    assert_eq!(paths(&behind), [["a", "b"]]);

    let settings = settings(OWN);
    let plan_of = |partitions| settings.plan(vec![files_of(partitions)], 0);
    let ordered = plan_of(divided);
    assert_eq!((ordered.recorded.sources[0].lateness_ms, ordered.topology.ends_ms), (0, Some(109)));
    assert_eq!(plan_of(beside).parameters.lanes.iter().map(|lane| lane.lateness_ms).collect::<Vec<_>>(), [0, 0]);
    let disordered = plan_of(behind);
    assert_eq!(disordered.parameters.lanes[0].lateness_ms, 7, "19 before 12");
    assert_eq!(Plan::from_canonical(&disordered.canonical()).unwrap(), disordered);
    // A folder of before keeps what it recorded, and goes on.
    let mut before = plan(&settings);
    before.recorded.sources[0].measured = false;
    let before = Plan::from_canonical(&before.canonical()).unwrap();
    assert_eq!((before.recorded.sources[0].lateness_ms, before.topology.ends_ms), (600_000, None));
    let again = |name: &str, times| FileRecord { times: Some(times), ..file(name) };
    let far = EventTimes { earliest_ms: 0, latest_ms: 9, disorder_ms: 5 };
    let now = plan_of(vec![vec![again("own-2.ndjson", far)], vec![again("own-1.ndjson", far)]]);
    assert_eq!(compatible(&before, &now), Ok(Change::None));
    assert_eq!(before.continued(&now, 3), before);
    // What was ahead of the clock is not for ever: files that overlap by it now stay divided as they were.
    let in_turn = plan_of(files.partitioned(vec![timed("a", 10..=19), timed("b", 20..=29)], 0, true));
    let overlapping = plan_of(files.partitioned(vec![timed("a", 10..=25), timed("b", 20..=29)], 0, true));
    assert_eq!((in_turn.partitions.len(), overlapping.partitions.len()), (1, 2));
    assert_eq!(compatible(&in_turn, &overlapping), Ok(Change::None));
    assert_eq!(in_turn.continued(&overlapping, 3), in_turn);
    // A run that measured goes on with what it measured, whatever the clock says by now.
    let later = plan_of(vec![vec![again("own-2.ndjson", far)], vec![again("own-1.ndjson", EventTimes::from(7))]]);
    assert_eq!(compatible(&now, &later), Ok(Change::None));
    assert_eq!(now.continued(&later, 3), now);
}

#[test]
fn files_are_read_in_the_order_of_their_names_where_no_times_are_known() {
    let files = |parallel| SourceFiles { pattern: String::new(), parallel, span: 0..0 };
    let found = || vec![file("b"), file("a")];
    assert_eq!(files(false).partitioned(found(), 0, true), [[file("a"), file("b")]]);
    assert_eq!(files(true).partitioned(found(), 0, true), [[file("a")], [file("b")]]);
}
